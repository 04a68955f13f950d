"""Turn a study's answer and committed results into one page for people."""
