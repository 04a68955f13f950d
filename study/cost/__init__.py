"""Cost of a plan before anything runs: time, memory, disk, data and checkpoints."""
