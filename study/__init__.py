"""Questions about training choices, planned as trials and answered from what those leave."""
