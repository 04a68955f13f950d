"""From embeddings to exact ranks, and from ranks to every metric."""
