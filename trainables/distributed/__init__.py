"""Several processes of one trial, on one machine or more."""
