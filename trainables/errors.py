"""What went wrong, in words that say what to do next."""

from __future__ import annotations

import re


class UserError(Exception):
    """A mistake a person can mend: shown as one message, without a traceback, with exit code 2.

    The message names the file or key, the value found, what is allowed and the next step.
    """


SECRET_KEYS = r"password|passwd|pwd|token|secret|access_?key|signature|sig|credential"
"""What names a secret in the part of a URL behind its question mark."""


def redacted(text: str) -> str:
    """`text` with the secrets of URLs replaced by `***`: passwords, and tokens of HTTP."""

    def hide(found: re.Match[str]) -> str:
        user, colon, _ = found[2].partition(":")
        if colon:
            return f"{found[1]}://{user}:***@"
        return f"{found[1]}://***@" if found[1].startswith("http") else found[0]

    text = re.sub(r"(\w+)://([^/@\s]+)@", hide, text)
    return re.sub(rf"(?i)([?&][\w.-]*(?:{SECRET_KEYS})[\w.-]*=)[^&\s'\"]+", r"\1***", text)
