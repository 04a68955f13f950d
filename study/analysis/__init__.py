"""Turn committed trial folders into the answer of a study."""
