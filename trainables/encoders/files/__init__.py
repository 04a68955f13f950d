"""Files of a checkpoint, read as sentence-transformers reads them."""
