"""What went wrong, in words that say what to do next."""

from __future__ import annotations

import re


class UserError(Exception):
    """A mistake a person can mend: shown as one message, without a traceback, with exit code 2.

    The message names the file or key, the value found, what is allowed and the next step.
    """


def redacted(text: str) -> str:
    """`text` with the secrets of URLs replaced by `***`: passwords, and tokens of HTTP."""

    def hide(found: re.Match[str]) -> str:
        user, colon, _ = found[2].partition(":")
        if colon:
            return f"{found[1]}://{user}:***@"
        return f"{found[1]}://***@" if found[1].startswith("http") else found[0]

    return re.sub(r"(\w+)://([^/@\s]+)@", hide, text)
