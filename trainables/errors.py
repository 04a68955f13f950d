"""What went wrong, in words that say what to do next."""

from __future__ import annotations


class UserError(Exception):
    """A mistake a person can mend: shown as one message, without a traceback, with exit code 2.

    The message names the file or key, the value found, what is allowed and the next step.
    """
