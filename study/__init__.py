"""Ask questions about training choices, plan them as trials, and answer them from the results."""
