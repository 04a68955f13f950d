"""From a study's answer and committed results to one page that people read."""
