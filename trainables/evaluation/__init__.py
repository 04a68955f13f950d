"""Compute exact ranks from embeddings, and every metric from ranks."""
