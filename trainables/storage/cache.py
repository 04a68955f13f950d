"""What is made once and read by many: entries named by their content, in one folder of a machine.

    cache/<name>/         an entry, whole; its time of change says when it was last taken
    cache/<name>/name     which entry it is: a copy under another name is made anew
    cache/.<name>/        the same while it is made, or as an interrupted call left it
    cache/<name>.lock     held alone by who makes or removes the entry, together by who uses it;
                          holds the checksums of its files: a damaged entry is made anew
    cache/limit.json      how large all of it may grow

The locks are the kernel's (`flock`), so they go with the process however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from trainables.storage import atomic as storage
from trainables.storage import paths as places

NAME = "name"
"""A file in each entry."""

DEFAULT_LIMIT = 20_000_000_000
"""Bytes; a cache that nobody limited otherwise."""


@dataclass(frozen=True)
class Entry:
    """One entry as `clean` shows it.

    Attributes:
        name: Of kind and content.
        size: Bytes.
        used: Unix time at which it was last taken.
    """

    name: str
    size: int
    used: float


@dataclass(frozen=True)
class Cache:
    """A folder of entries; what was taken stays while this object lives.

    Attributes:
        folder: Made when first needed; entries may be removed at any time that nobody uses them.
    """

    folder: Path
    _held: dict[str, BinaryIO] = field(default_factory=dict, repr=False, compare=False)
    _turn: Lock = field(default_factory=Lock, repr=False, compare=False)

    def take(self, name: str, build: Callable[[Path], None]) -> Path:
        """The folder of an entry, made if it is not there.

        Of many processes that ask at once one makes it, and the others wait for that.

        Args:
            name: What decides the content must decide the name.
            build: Fills a folder, which may hold what an interrupted call of it left.

        Raises:
            UserError: No entry can have this name.
        """
        places.name_of_folder(name, "cache entry")
        path = self.folder / name
        with self._turn:
            while not (name in self._held and path.is_dir()):
                if name in self._held:  # it was removed by hand
                    self._held.pop(name).close()
                lock = self._lock(name, fcntl.LOCK_SH)
                if _is(path, name) and _is_whole(path, lock):
                    self._held[name] = lock
                else:
                    lock.close()
                    self._make(name, build)
                    self.trim(keep=name)
            with suppress(PermissionError):  # another user's entry
                now = self._now()
                os.utime(path, ns=(now, now))
            return path

    def _now(self) -> int:
        """A time later than that of any entry, even where the clock was set back."""
        latest = time.time_ns()
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                latest = max(latest, path.stat().st_mtime_ns + 1)
        return latest

    def _make(self, name: str, build: Callable[[Path], None]) -> None:
        """Make an entry, alone, unless another process was faster."""
        path, draft = self.folder / name, self.folder / f".{name}"
        with self._alone(name) as lock:
            if _is(path, name) and _is_whole(path, lock):
                return
            places.remove(path)  # a copy of another, or damaged
            if draft.is_symlink() or (draft.is_dir() and not _is(draft, name)):
                places.remove(draft)
            draft.mkdir(exist_ok=True)
            (draft / NAME).write_text(name, encoding="utf-8")
            try:
                build(draft)
                for file in draft.rglob("*"):
                    _flush(file)
                lock.truncate(0)
                lock.write(storage.seal(_sums(draft)))
                _flush(Path(lock.name))
                draft.rename(path)
            finally:
                if [file.name for file in draft.glob("*")] == [NAME]:
                    shutil.rmtree(draft)  # nothing to resume

    def limit(self) -> int:
        """Bytes that all entries may have together."""
        with suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
            return int(json.loads(storage.read(self.folder / "limit.json"))["bytes"])
        return DEFAULT_LIMIT

    def set_limit(self, size: int) -> None:
        """Limit all users of this folder, and make room if it is too large."""
        storage.write_json(self.folder / "limit.json", {"bytes": size})
        self.trim()

    def entries(self) -> list[Entry]:
        """All of them, the least recently used first, unfinished ones included."""
        every = []
        for path in self.folder.glob("*"):
            with suppress(FileNotFoundError):
                if path.is_dir():
                    every.append(Entry(path.name, places.size(path), path.stat().st_mtime))
        return sorted(every, key=lambda entry: entry.used)

    def trim(self, keep: str = "") -> None:
        """Remove the least recently used entries, but for those in use, until all fit."""
        entries = self.entries()
        total, limit = sum(entry.size for entry in entries), self.limit()
        for entry in entries:
            if total <= limit:
                return
            if entry.name != keep and self.remove(entry.name):
                total -= entry.size

    def remove(self, name: str, dry_run: bool = False) -> bool:
        """Remove an entry or an unfinished one; False where a living process uses it."""
        try:
            with self._alone(name.removeprefix("."), fcntl.LOCK_NB):
                if not dry_run:
                    places.remove(self.folder / name)
        except BlockingIOError:
            return False
        return True

    @contextmanager
    def _alone(self, name: str, how: int = 0) -> Iterator[BinaryIO]:
        """Nobody uses, makes or removes an entry meanwhile; its lock goes when it is gone."""
        with self._lock(name, fcntl.LOCK_EX | how) as lock:
            try:
                yield lock
            finally:
                if not any((self.folder / entry).is_dir() for entry in (name, f".{name}")):
                    Path(lock.name).unlink(missing_ok=True)

    def _lock(self, name: str, how: int) -> BinaryIO:
        """Lock an entry until the file is closed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.lock"
        while True:
            file = open(path, "ab+", buffering=0, opener=storage.unlinked)  # noqa: SIM115 - kept
            try:
                fcntl.flock(file, how)
                if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                    return file
            except FileNotFoundError:
                pass  # removed with its entry while this waited: lock the new one
            except OSError:
                file.close()
                raise
            file.close()


def _is(folder: Path, name: str) -> bool:
    """Whether this is the entry, or the draft of it.

    Raises:
        OSError: That cannot be read now.
    """
    try:
        return storage.read(folder / NAME) == name.encode()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return False


def _is_whole(folder: Path, lock: BinaryIO) -> bool:
    """Whether the files of an entry are as they were made.

    Raises:
        OSError: One cannot be read now.
    """
    lock.seek(0)
    try:
        return storage.unseal(lock.read()) == _sums(folder)
    except (FileNotFoundError, ValueError):
        return False


def _sums(folder: Path) -> dict[str, str]:
    """Checksums of all files of a folder, by their names in it."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): storage.sha256(file) for file in files}


def _flush(file: Path) -> None:
    if file.is_file():
        with file.open("rb") as content:
            os.fsync(content.fileno())


def shared_cache(folder: Path) -> Cache | None:
    """The driver's cache, or one at the same path of another machine; None where that is no place.

    Trials do without: each then makes what it needs for itself.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return Cache(folder) if os.access(folder, os.W_OK) else None
