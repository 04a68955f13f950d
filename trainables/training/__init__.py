"""Batches, negatives, the loss and its gradient, one optimizer step at a time."""
