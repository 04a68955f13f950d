"""Which cell a study tries next; every suggestion is a pure function of the history."""
