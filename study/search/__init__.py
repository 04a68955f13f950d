"""Search a space: propose cells as a pure function of the history, and stop trials early."""
