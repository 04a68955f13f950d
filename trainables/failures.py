"""Why a trial failed: the reasons that journal, trial folder and MLflow share."""

from __future__ import annotations

import errno
import os
import sqlite3
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from trainables.errors import NotNowError, UserError

Reason = Literal[
    "error",
    "input",
    "nan",
    "out of memory",
    "killed",
    "node lost",
    "timed out",
    "not committed",
    "not now",
]
"""`error`: an exception in the trial. `input`: unusable data or settings. `nan`: loss or parameters
are NaN or infinite. `out of memory`: reported by torch, by Ray's memory monitor or by the kernel's
OOM-kill counter. `killed`: the worker died for an unknown reason. `node lost`: its machine went
away. `timed out`: it exceeded the time limit. `not committed`: it ended without a result.
`not now`: its machine lacks something, such as disk space, which stops the study and fails no
trial."""

CPU_ALLOCATOR = ("can't allocate memory", "not enough memory", "Cannot allocate memory")
"""Messages of torch's CPU allocator, which raises a plain RuntimeError."""

NOT_NOW = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ESTALE,
}
"""Errors caused by the state of the machine: the same command can succeed later."""

NOT_NOW_SQLITE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}
"""The same for SQLite."""

TRACE_LINES = 40
"""Number of trailing traceback lines kept with a failure."""

CGROUP = Path("/sys/fs/cgroup")


class TrialFailedError(Exception):
    """A failure that leaves the trial without a result."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Store the reason; `detail` is the message for people."""
        super().__init__(detail)
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Pickle both arguments; the base class would keep only the message."""
        return type(self), (self.reason, str(self))


def reason_of(error: BaseException) -> Reason:
    """Classify an exception; `out of memory` needs evidence in the exception or its causes."""
    if isinstance(error, TrialFailedError):
        return error.reason
    if isinstance(error, NotNowError):
        return "not now"
    if isinstance(error, UserError):
        return "input"
    if any(map(_is_memory, behind(error))):
        return "out of memory"
    return "not now" if lacking(error) else "error"


def describe(error: BaseException) -> dict[str, Any]:
    """Describe an exception for `failure.json`: reason, detail and the end of its traceback."""
    reason, detail = reason_of(error), f"{type(error).__name__}: {error}"
    if isinstance(error, (TrialFailedError, UserError)):
        detail = str(error)
    elif reason == "not now":
        detail = lacking(error)
    lines = "".join(traceback.format_exception(error)).splitlines()
    return {"reason": reason, "detail": detail, "trace": lines[-TRACE_LINES:]}


def lacking(error: BaseException) -> str:
    """Name what the machine lacked, if that caused an exception; else return an empty string."""
    for cause in behind(error):
        if isinstance(cause, OSError) and cause.errno in NOT_NOW:
            return f"{os.strerror(cause.errno)}{f': {cause.filename}' if cause.filename else ''}"
        if isinstance(cause, sqlite3.Error) and _primary(cause) in NOT_NOW_SQLITE:
            return str(cause)
        if isinstance(cause, MemoryError):
            return "out of memory"
    return ""


def behind(error: BaseException) -> list[BaseException]:
    """Return an exception and its chain of causes and contexts, latest first."""
    chain = [error]
    while (earlier := chain[-1].__cause__ or chain[-1].__context__) and earlier not in chain:
        chain.append(earlier)
    return chain


def _is_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError, compared by name because importing this module must not import torch
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(word in str(error) for word in CPU_ALLOCATOR)


def _primary(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, the low byte of its extended one; 0 if there is none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def kernel_kills() -> int | None:
    """Count the OOM kills in this process's cgroup; None if no counter can be read."""
    for file in _counters():
        try:
            lines = file.read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        counts = dict(line.split() for line in lines)
        if "oom_kill" in counts:
            return int(counts["oom_kill"])
    return None


def _counters() -> list[Path]:
    """List where the counter may be: the cgroup's own folder and the mount's root, v2 and v1."""
    files = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
            _, kind, group = line.split(":", 2)
            for folder in (group.lstrip("/"), ""):
                if kind == "":
                    files.append(CGROUP / folder / "memory.events")
                if "memory" in kind.split(","):
                    files.append(CGROUP / "memory" / folder / "memory.oom_control")
    return files
