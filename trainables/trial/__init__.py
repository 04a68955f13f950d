"""One trial between its folder, its checkpoints and its result."""
