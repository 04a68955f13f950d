"""What went wrong, in words that say what to do next."""

from __future__ import annotations

import re


class UserError(Exception):
    """A mistake a person can mend: shown as one message, without a traceback, with exit code 2.

    The message names the file or key, the value found, what is allowed and the next step.
    """

    exit_code = 2


class NotNowError(UserError):
    """What another process or a full disk prevents now: the same command goes on later."""

    exit_code = 130


class DataError(UserError):
    """A row, or a whole file, that is not as its format says.

    Attributes:
        file: Path of the file.
        row: Its number from 1, or where it stands in a JSON document; None for the whole file.
        key: The key or column that is wrong; None where it is the row as a whole.
    """

    def __init__(
        self, message: str, file: object, row: int | str | None = None, key: str | None = None
    ) -> None:
        """Say what is wrong in `message`; the rest is for programs."""
        super().__init__(message)
        self.file, self.row, self.key = str(file), row, key

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Exceptions are pickled by their arguments, of which the base class knows one."""
        return type(self), (str(self), self.file, self.row, self.key)


SECRET_KEYS = r"password|passwd|pwd|token|secret|access_?key|signature|sig|credential"
"""What names a secret in the part of a URL behind its question mark."""


def redacted(text: str) -> str:
    """`text` with the secrets of URLs replaced by `***`: passwords, and tokens of HTTP."""

    def hide(match: re.Match[str]) -> str:
        user, colon, _ = match[2].partition(":")
        if colon:
            return f"{match[1]}://{user}:***@"
        return f"{match[1]}://***@" if match[1].startswith("http") else match[0]

    text = re.sub(r"(\w+)://([^/@\s]+)@", hide, text)
    return re.sub(rf"(?i)([?&][\w.-]*(?:{SECRET_KEYS})[\w.-]*=)[^&\s'\"]+", r"\1***", text)
