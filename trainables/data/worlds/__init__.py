"""The embedded world: languages and scenes that are made here, without any file."""
