"""Readers of published data sets that have their own formats."""
