"""Run the trials of a study and report every event to its observers."""
