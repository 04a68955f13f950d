"""Keep the trials of a study running, and tell its observers."""
