"""From committed trial folders to an answer."""
