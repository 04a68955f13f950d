"""The authoritative record of a study: its plan, its journal and committed results."""
