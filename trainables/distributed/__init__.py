"""Data-parallel training: several processes of one trial, on one machine or more."""
