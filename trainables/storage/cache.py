"""Cache of entries named by their content, built once and read by many, in a folder per machine.

    cache/<name>/         a complete entry; its modification time says when it was last taken
    cache/<name>/name     name of the entry: a copy under another name is built anew
    cache/.<name>/        an entry while it is built, or as an interrupted call left it
    cache/<name>.lock     locked exclusively to build or remove the entry, shared to use it;
                          holds the checksums of its files: a damaged entry is built anew
    cache/limit.json      maximum size of the whole cache

The locks are the kernel's (`flock`), so they are released however a process ends.
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
"""File of each entry that holds its name."""

DEFAULT_LIMIT = 20_000_000_000
"""Maximum size of a cache in bytes, unless set otherwise."""


@dataclass(frozen=True)
class Entry:
    """Entry as listed by `clean`.

    Attributes:
        name: Kind and content digest.
        size: Bytes.
        used: Unix time at which it was last taken.
    """

    name: str
    size: int
    used: float


@dataclass(frozen=True)
class Cache:
    """Folder of entries; an entry that was taken is not removed while this object lives.

    Attributes:
        folder: Created when first needed; entries that nobody uses may be removed at any time.
    """

    folder: Path
    _held: dict[str, BinaryIO] = field(default_factory=dict, repr=False, compare=False)
    _turn: Lock = field(default_factory=Lock, repr=False, compare=False)

    def take(self, name: str, build: Callable[[Path], None]) -> Path:
        """Return the folder of an entry, building it if it is not there.

        If many processes ask at once, one builds it and the others wait.

        Args:
            name: Must change with anything that changes the content.
            build: Fills a folder, which may hold what an interrupted call of `build` left.

        Raises:
            UserError: The name is not valid as a folder's.
        """
        places.name_of_folder(name, "cache entry")
        path = self.folder / name
        with self._turn:
            while not (name in self._held and path.is_dir()):
                if name in self._held:  # the entry was removed by hand
                    self._held.pop(name).close()
                lock = self._lock(name, fcntl.LOCK_SH)
                if _has_name(path, name) and _is_intact(path, lock):
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
        """Return a time in ns after those of all entries, even if the clock was set back."""
        latest = time.time_ns()
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                latest = max(latest, path.stat().st_mtime_ns + 1)
        return latest

    def _make(self, name: str, build: Callable[[Path], None]) -> None:
        """Build an entry under an exclusive lock, unless another process has done so."""
        path, draft = self.folder / name, self.folder / f".{name}"
        with self._exclusively(name) as lock:
            if _has_name(path, name) and _is_intact(path, lock):
                return
            places.remove(path)  # damaged, or a copy of another entry
            if draft.is_symlink() or (draft.is_dir() and not _has_name(draft, name)):
                places.remove(draft)
            draft.mkdir(exist_ok=True)
            (draft / NAME).write_text(name, encoding="utf-8")
            try:
                build(draft)
                for file in draft.rglob("*"):
                    _flush(file)
                lock.truncate(0)
                lock.write(storage.seal(_checksums(draft)))
                _flush(Path(lock.name))
                draft.rename(path)
            finally:
                if [file.name for file in draft.glob("*")] == [NAME]:
                    shutil.rmtree(draft)  # nothing to resume

    def limit(self) -> int:
        """Return the maximum size of all entries together, in bytes."""
        with suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
            return int(json.loads(storage.read(self.folder / "limit.json"))["bytes"])
        return DEFAULT_LIMIT

    def set_limit(self, size: int) -> None:
        """Set the maximum size for all users of this folder, and remove entries beyond it."""
        storage.write_json(self.folder / "limit.json", {"bytes": size})
        self.trim()

    def entries(self) -> list[Entry]:
        """List all entries, unfinished ones included, least recently used first."""
        entries = []
        for path in self.folder.glob("*"):
            with suppress(FileNotFoundError):
                if path.is_dir():
                    entries.append(Entry(path.name, places.size(path), path.stat().st_mtime))
        return sorted(entries, key=lambda entry: entry.used)

    def trim(self, keep: str = "") -> None:
        """Remove the least recently used entries that nobody uses, until the rest fits."""
        entries = self.entries()
        total, limit = sum(entry.size for entry in entries), self.limit()
        for entry in entries:
            if total <= limit:
                return
            if entry.name != keep and self.remove(entry.name):
                total -= entry.size

    def remove(self, name: str, dry_run: bool = False) -> bool:
        """Remove an entry, finished or not; return False if a living process uses it."""
        try:
            with self._exclusively(name.removeprefix("."), fcntl.LOCK_NB):
                if not dry_run:
                    places.remove(self.folder / name)
        except BlockingIOError:
            return False
        return True

    @contextmanager
    def _exclusively(self, name: str, how: int = 0) -> Iterator[BinaryIO]:
        """Lock an entry exclusively; if the entry is gone afterwards, remove the lock file."""
        with self._lock(name, fcntl.LOCK_EX | how) as lock:
            try:
                yield lock
            finally:
                if not any((self.folder / entry).is_dir() for entry in (name, f".{name}")):
                    Path(lock.name).unlink(missing_ok=True)

    def _lock(self, name: str, how: int) -> BinaryIO:
        """Lock an entry until the returned file is closed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.lock"
        while True:
            file = open(path, "ab+", buffering=0, opener=storage.unlinked)  # noqa: SIM115 - kept
            try:
                fcntl.flock(file, how)
                if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                    return file
            except FileNotFoundError:
                pass  # the lock file was removed while this waited: lock the new one
            except OSError:
                file.close()
                raise
            file.close()


def _has_name(folder: Path, name: str) -> bool:
    """Whether this is the folder or draft of the entry with this name.

    Raises:
        OSError: The file with its name cannot be read now.
    """
    try:
        return storage.read(folder / NAME) == name.encode()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return False


def _is_intact(folder: Path, lock: BinaryIO) -> bool:
    """Whether the files of an entry match its checksums.

    Raises:
        OSError: A file cannot be read now.
    """
    lock.seek(0)
    try:
        return storage.unseal(lock.read()) == _checksums(folder)
    except (FileNotFoundError, ValueError):
        return False


def _checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of all files of a folder, by relative name."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): storage.sha256(file) for file in files}


def _flush(file: Path) -> None:
    if file.is_file():
        with file.open("rb") as content:
            os.fsync(content.fileno())


def shared_cache(folder: Path) -> Cache | None:
    """Open the driver's cache, or its path on another machine; None if that is not writable.

    Trials do not need it: without a cache, each builds what it needs for itself.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return Cache(folder) if os.access(folder, os.W_OK) else None
