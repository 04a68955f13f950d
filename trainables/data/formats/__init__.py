"""Readers of file formats: SQuAD, TREC and MTEB folders, JSON lines, tables, captions."""
