"""Readers of published data sets that have a format of their own."""
