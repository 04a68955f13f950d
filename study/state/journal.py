"""The journal of a study: append-only JSON lines, each with its position and a checksum.

    journal/000001-000000.jsonl     generation 1, the lines of the first driver
    journal/000002-000000.jsonl     generation 2, those of the next driver

A driver claims the next generation by creating its file, which only one can. Lines are ordered by
(generation, line), never by a clock. Object stores cannot append, so a writer there fills objects
of up to `LINES_PER_OBJECT` lines and rewrites the last object for every addition.

Older studies have `asked`, `rungs` and `events` instead; they are read as generation 0.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables import faults
from trainables.errors import NotNowError
from trainables.storage import atomic as storage
from trainables.storage import paths as places
from trainables.storage.paths import AnyPath

if TYPE_CHECKING:
    from upath import UPath

FOLDER = "journal"

LINES_PER_OBJECT = 200
"""Lines of an object, which is rewritten for every line added and so must stay small."""

GATHERED_SECONDS = 1.0
"""Interval at which a store's writer writes lines that need not be durable."""

ALIVE_SECONDS = 40.0
"""Silence after which a store's writer rewrites its object, to show that the driver lives."""

SUM = b',"sum":"'
"""Separator between a line's content and its checksum, the last value."""

Line = dict[str, Any]


def sealed(value: Line) -> bytes:
    """Serialize a line of the journal and append its checksum."""
    content = json.dumps(value, separators=(",", ":")).encode()[:-1]
    return content + SUM + _checksum(content) + b'"}\n'


def unsealed(line: bytes) -> Line | None:
    """Parse a line that `sealed` wrote; None if it is damaged."""
    content, mark, rest = line.rpartition(SUM)
    if not mark or rest != _checksum(content) + b'"}':
        return None
    try:
        value = storage.parsed(content + b"}")
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    numbers = [value.get("generation"), value.get("line")]
    if numbers[1] == 0:
        after = value.get("after")
        numbers += after if isinstance(after, list) and len(after) == 2 else [None]
    return value if all(type(number) is int and number >= 0 for number in numbers) else None


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:16].encode()


@dataclass
class Reading:
    """Iterable over the lines of a journal in order, which also collects its faults.

    Attributes:
        folder: Study folder.
        faults: Why the journal is incomplete; known once all lines were read.
        newest: Latest generation; 0 if there is none.
        lines: Number of lines of that generation.
        opened: First line of that generation, which names its driver.
        last: Last line of the journal.
    """

    folder: AnyPath
    faults: list[str] = field(default_factory=list)
    newest: int = 0
    lines: int = 0
    opened: Line = field(default_factory=dict)
    last: Line = field(default_factory=dict)

    def __iter__(self) -> Iterator[Line]:
        """Yield all undamaged lines."""
        for line in _ungenerated(self.folder):
            self.last = line
            yield line
        lengths = {0: 0}
        for generation, files in generations(self.folder).items():
            if generation != self.newest + 1:
                self.faults.append(f"generation {self.newest + 1} is missing")
            self.newest, self.lines, self.opened, self.last = generation, 0, {}, {}
            for line in self._lines(
                b"".join(places.map_parallel(self.folder, storage.read, files))
            ):
                if line["line"] == 0:
                    self.opened = line
                    before, length = line["after"]
                    if lengths.get(before, 0) < length:
                        self.faults.append(f"generation {before} has lost its last lines")
                yield line
            lengths[generation] = self.lines
        if not self.last and (self.folder / "plan.json").exists():
            self.faults.append("there is a plan and no journal")

    @property
    def holder(self) -> str:
        """Host and process that wrote the newest generation."""
        return f"{self.opened.get('host')} by process {self.opened.get('process')}"

    def _lines(self, content: bytes) -> Iterator[Line]:
        """Yield the lines of the newest generation, without an unfinished last one."""
        for text in content.split(b"\n")[:-1]:
            line = unsealed(text)
            if line is None or line["generation"] != self.newest or line["line"] < self.lines:
                self.faults.append(f"line {self.lines} of generation {self.newest} is damaged")
                self.lines += line is None
                continue
            if line["line"] > self.lines:
                self.faults.append(f"line {self.lines} of generation {self.newest} is missing")
            self.lines, self.last = line["line"] + 1, line
            yield line


def generations(folder: AnyPath) -> dict[int, list[AnyPath]]:
    """List the journal files of each generation, in order."""
    files: dict[int, list[AnyPath]] = {}
    for path in places.matching(folder, f"{FOLDER}/*.jsonl"):
        if name := re.fullmatch(r"(\d{6,9})-\d{6}\.jsonl", path.name):
            files.setdefault(int(name[1]), []).append(path)
    return dict(sorted(files.items()))


class Writer:
    """Appends the events of one driver to the journal of a study.

    The first line claims the generation, so a driver without events leaves none.
    """

    def __init__(self, reading: Reading, holder: Line) -> None:
        """Prepare the next generation without claiming it.

        Args:
            reading: The journal, read to its end.
            holder: Description of this driver, for people.
        """
        self.folder, self.generation = reading.folder, reading.newest + 1
        after = [reading.newest, reading.lines]
        self._opening = holder | {"after": after, "faults": list(reading.faults)}
        self._sink: _File | _Objects | None = None
        self._line = 0

    def add(self, event: str, facts: Sequence[Line], *, durable: bool = False) -> list[Line]:
        """Append one line per element of `facts`, and return the lines.

        Args:
            event: Kind of event.
            facts: Fields of each line.
            durable: Whether something depends on the lines, so that they must be on disk before
                this returns.

        Raises:
            NotNowError: Another driver has claimed this generation.
            OSError: They cannot be written; no line counts.
        """
        if self._sink is None:
            self._sink = self._claim()
        lines = [
            self._line_of(event, number, fields) for number, fields in enumerate(facts, self._line)
        ]
        self._sink.add([sealed(line) for line in lines], durable)
        self._line += len(lines)
        return lines

    def refuse_superseded(self) -> None:
        """Stop if another driver has claimed a later generation.

        Raises:
            NotNowError: Another driver has claimed one.
        """
        mine = self.generation if self._sink else self.generation - 1
        if max(generations(self.folder), default=0) > mine:
            raise self._superseded()

    def close(self) -> None:
        """Note the end of this driver, if it has written anything."""
        if self._sink is not None:
            with suppress(Exception):  # else a driver elsewhere only waits longer
                self.add("closed", [{}], durable=True)
            self._sink.close()
            self._sink = None

    def _claim(self) -> _File | _Objects:
        path = self.folder / FOLDER / f"{self.generation:06d}-000000.jsonl"
        opened = sealed(self._line_of("opened", 0, self._opening))
        if not storage.create(path, opened):
            raise self._superseded()
        self._line = 1
        faults.at("journal.claimed")
        return _File(path) if isinstance(path, Path) else _Objects(path, [opened])

    def _line_of(self, event: str, number: int, facts: Line) -> Line:
        # the time of day is for people; durations come from the monotonic clock
        now = {"time": round(time.time(), 3), "monotonic": round(time.monotonic(), 3)}
        return {"generation": self.generation, "line": number} | now | {"event": event} | facts

    def _superseded(self) -> NotNowError:
        return NotNowError(
            f"study {self.folder.name} is driven by another command now; this one has stopped, and "
            "nothing is lost: `python -m study status` shows how it goes on"
        )


class _File:
    """File that is appended to; a partial write, as on a full disk, is truncated again."""

    def __init__(self, path: Path) -> None:
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        self._file = open(path, "ab", buffering=0, opener=storage.unlinked)  # noqa: SIM115 - kept
        self._size = self._file.tell()

    def add(self, lines: Sequence[bytes], durable: bool) -> None:
        content = b"".join(lines)
        try:
            if self._file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)
        except OSError:
            self._file.truncate(self._size)
            raise
        self._size += len(content)
        if durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class _Objects:
    """Objects of `LINES_PER_OBJECT` lines in a store; lines that need not be durable are buffered.

    A thread writes the buffer, and rewrites the object of a silent driver to show that it lives.
    """

    def __init__(self, path: UPath, lines: list[bytes]) -> None:
        self._first, self._part, self._lines = path, 0, lines
        self._unwritten, self._written_at = False, time.monotonic()
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="journal", daemon=True)
        self._thread.start()

    def add(self, lines: Sequence[bytes], durable: bool) -> None:
        with self._lock:
            for line in lines:
                if len(self._lines) >= LINES_PER_OBJECT:
                    self._put()
                    self._part, self._lines = self._part + 1, []
                self._lines.append(line)
            self._unwritten = True
            if durable:
                self._put()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _put(self) -> None:
        name = self._first.name.replace("000000.jsonl", f"{self._part:06d}.jsonl")
        places.put(self._first.parent / name, b"".join(self._lines))
        self._unwritten, self._written_at = False, time.monotonic()

    def _keep_up(self) -> None:
        while not self._closing.wait(GATHERED_SECONDS):
            is_silent = time.monotonic() - self._written_at > ALIVE_SECONDS
            with self._lock, suppress(Exception):  # errors of the store's client: retried
                if self._unwritten or is_silent:
                    self._put()


def _ungenerated(folder: AnyPath) -> Iterator[Line]:
    """Yield the lines of `asked`, `rungs` and `events` in the form of generation 0."""
    for line in _plain(folder, "asked"):
        yield {"event": "proposal", "proposal": line}
    for line in _plain(folder, "rungs"):
        if "complete" in line:
            yield {"event": "exempt", "trial": line["complete"]}
        else:
            yield {"event": "rung", "rung": line}
    yield from _plain(folder, "events")


def _plain(folder: AnyPath, name: str) -> Iterator[Line]:
    """Yield the lines of a file or, in a store, of objects under a prefix; skip broken ones."""
    pattern = f"{name}.jsonl" if isinstance(folder, Path) else f"{name}/*.jsonl"
    for content in places.map_parallel(folder, storage.read, places.matching(folder, pattern)):
        for text in content.splitlines():
            with suppress(ValueError):
                if isinstance(line := storage.parsed(text), dict):
                    yield line
