"""Questions about training choices, planned as trials, run anywhere, answered from their folders."""
