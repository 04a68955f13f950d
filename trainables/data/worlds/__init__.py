"""The embedded worlds: generated languages and scenes that need no files."""
