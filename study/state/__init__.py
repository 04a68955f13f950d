"""The one record of a study: its plan, journal and committed results."""
