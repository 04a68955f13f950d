"""What the files of a checkpoint say, as sentence-transformers reads them."""
