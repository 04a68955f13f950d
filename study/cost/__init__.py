"""What a plan would cost: time, memory, disk, data and checkpoints, before anything runs."""
