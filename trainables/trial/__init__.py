"""Training of one trial: its folder, checkpoints, intermediate evaluations and result."""
