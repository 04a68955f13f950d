"""Folders and object stores: paths, atomic commits, the cache, inputs by digest."""
