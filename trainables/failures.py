"""Why a trial failed, in words that ledger, folder and MLflow share."""

from __future__ import annotations

import traceback
from typing import Any, Literal

from trainables.errors import UserError

Reason = Literal[
    "error", "input", "nan", "out of memory", "killed", "node lost", "timed out", "not committed"
]
"""`error`: an exception in the trial. `input`: data or settings that cannot be used. `nan`: the
loss is NaN or infinite. `out of memory`: said by torch, Ray's memory monitor or the kernel's
counter. `killed`: the worker died and nobody said why. `node lost`: its machine went away.
`timed out`: it ran past the time limit. `not committed`: it ended without a result."""

CPU_ALLOCATOR = ("can't allocate memory", "not enough memory", "Cannot allocate memory")
"""What torch's allocator for main memory says, in a plain RuntimeError."""

TRACE_LINES = 40
"""Last lines of a traceback that a failure keeps."""


class TrialFailedError(Exception):
    """The trial cannot have a result."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Keep the reason and what a person should know."""
        super().__init__(detail)
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Exceptions are pickled by their arguments, of which the base class knows one."""
        return type(self), (self.reason, str(self))


def reason_of(error: BaseException) -> Reason:
    """The reason behind an exception; out of memory only with evidence."""
    if isinstance(error, TrialFailedError):
        return error.reason
    if isinstance(error, UserError):
        return "input"
    # torch.OutOfMemoryError, by name: this module is read where torch must not be imported
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, RuntimeError) and any(word in str(error) for word in CPU_ALLOCATOR):
        return "out of memory"
    return "error"


def describe(error: BaseException) -> dict[str, Any]:
    """What `failure.json` says of an exception: reason, detail, and where it was raised."""
    planned = isinstance(error, (TrialFailedError, UserError))
    lines = "".join(traceback.format_exception(error)).splitlines()
    return {
        "reason": reason_of(error),
        "detail": str(error) if planned else f"{type(error).__name__}: {error}",
        "trace": lines[-TRACE_LINES:],
    }
