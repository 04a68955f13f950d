"""Storage in folders and object stores: paths, atomic files, the cache, inputs by digest."""
