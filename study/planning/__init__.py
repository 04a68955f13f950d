"""Turn a space into a plan, compare the plan with the one on disk, and extend it."""
