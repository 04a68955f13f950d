"""Why a trial failed, in words that journal, folder and MLflow share."""

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
"""`error`: an exception in the trial. `input`: data or settings that cannot be used. `nan`: the
loss is NaN or infinite. `out of memory`: said by torch, Ray's memory monitor or the kernel's
counter. `killed`: the worker died and nobody said why. `node lost`: its machine went away.
`timed out`: it ran past the time limit. `not committed`: it ended without a result. `not now`: its
machine lacks what it needs, such as room on a disk; no trial fails of that, its study stops."""

CPU_ALLOCATOR = ("can't allocate memory", "not enough memory", "Cannot allocate memory")
"""What torch's allocator for main memory says, in a plain RuntimeError."""

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
"""What the machine lacks, through no fault of the command: the same one later can do it."""

NOT_NOW_SQLITE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}
"""The same, said by SQLite."""

TRACE_LINES = 40
"""Last lines of a traceback that a failure keeps."""

CGROUP = Path("/sys/fs/cgroup")


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
    if isinstance(error, NotNowError):
        return "not now"
    if isinstance(error, UserError):
        return "input"
    if any(map(_is_memory, behind(error))):
        return "out of memory"
    return "not now" if lacking(error) else "error"


def describe(error: BaseException) -> dict[str, Any]:
    """What `failure.json` says of an exception: reason, detail, and where it was raised."""
    reason, detail = reason_of(error), f"{type(error).__name__}: {error}"
    if isinstance(error, (TrialFailedError, UserError)):
        detail = str(error)
    elif reason == "not now":
        detail = lacking(error)
    lines = "".join(traceback.format_exception(error)).splitlines()
    return {"reason": reason, "detail": detail, "trace": lines[-TRACE_LINES:]}


def lacking(error: BaseException) -> str:
    """What the machine lacks, in words, where that is behind an exception; else nothing."""
    for one in behind(error):
        if isinstance(one, OSError) and one.errno in NOT_NOW:
            return f"{os.strerror(one.errno)}{f': {one.filename}' if one.filename else ''}"
        if isinstance(one, sqlite3.Error) and _primary(one) in NOT_NOW_SQLITE:
            return str(one)
        if isinstance(one, MemoryError):
            return "out of memory"
    return ""


def behind(error: BaseException) -> list[BaseException]:
    """An exception, and those that it followed from."""
    passed = [error]
    while (before := passed[-1].__cause__ or passed[-1].__context__) and before not in passed:
        passed.append(before)
    return passed


def _is_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError, by name: this module is read where torch must not be imported
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(word in str(error) for word in CPU_ALLOCATOR)


def _primary(error: sqlite3.Error) -> int:
    """SQLite's code without what it adds in the upper bits; 0 where it has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def kernel_kills() -> int | None:
    """How often the kernel has killed a process of this group for its memory."""
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
    """Where the count may stand: the group's own file or its mount's, in either version."""
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
