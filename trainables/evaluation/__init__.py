"""Embeddings to exact ranks, and ranks to metrics."""
