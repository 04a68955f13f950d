"""Errors that a person can fix, with messages that say what to do next."""

from __future__ import annotations

import re


class UserError(Exception):
    """A mistake that a person can fix: shown as one message without traceback, with exit code 2.

    The message names the file or key, the value found, what is allowed and the next step.
    """

    exit_code = 2


class NotNowError(UserError):
    """Temporary obstacle, such as another process or a full disk; the same command works later."""

    exit_code = 130


class DataError(UserError):
    """A row or a whole file that does not match its format.

    Attributes:
        file: Path of the file.
        row: Row number from 1, or a position in a JSON document; None for the whole file.
        key: The wrong key or column; None if the row as a whole is wrong.
    """

    def __init__(
        self, message: str, file: object, row: int | str | None = None, key: str | None = None
    ) -> None:
        """Store the location in attributes, for programs; `message` is for people."""
        super().__init__(message)
        self.file, self.row, self.key = str(file), row, key

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle all arguments; the base class would keep only the message."""
        return type(self), (str(self), self.file, self.row, self.key)


SECRET_KEYS = r"password|passwd|pwd|token|secret|access_?key|signature|sig|credential"
"""Regular expression for names of secret URL query parameters."""


def redacted(text: str) -> str:
    """Replace the secrets of URLs in `text` by `***`: passwords, HTTP tokens, secret parameters."""

    def hide(match: re.Match[str]) -> str:
        user, colon, _ = match[2].partition(":")
        if colon:
            return f"{match[1]}://{user}:***@"
        return f"{match[1]}://***@" if match[1].startswith("http") else match[0]

    text = re.sub(r"(\w+)://([^/@\s]+)@", hide, text)
    return re.sub(rf"(?i)([?&][\w.-]*(?:{SECRET_KEYS})[\w.-]*=)[^&\s'\"]+", r"\1***", text)
