"""Lines that are only ever added, whichever kind of place they are added to."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trainables import places, storage
from trainables.places import Place

if TYPE_CHECKING:
    from upath import UPath

LINES_PER_OBJECT = 200
"""An object is written whole for every line added to it, so it must stay small."""


DIGITS = 20
"""Of a writer's time, in nanoseconds."""


class Journal(Protocol):
    """JSON objects, a line each, in the order in which they were added."""

    def append(self, value: dict[str, Any]) -> None:
        """Add a line; it is there when this returns."""

    def lines(self, having: str = "") -> Iterator[dict[str, Any]]:
        """All of them, or those with this text; what a crash left torn is passed over."""


@dataclass(frozen=True)
class FileJournal:
    """A file that is appended to."""

    path: Path

    def append(self, value: dict[str, Any]) -> None:
        """Add a line, in one write; after a torn line, on a new one."""
        line = (json.dumps(value) + "\n").encode()
        with open(self.path, "ab+", opener=storage.unlinked) as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line)

    def lines(self, having: str = "") -> Iterator[dict[str, Any]]:
        """All of them, or those with this text; what a crash left torn is passed over."""
        if self.path.exists():
            yield from _parsed(storage.read(self.path).splitlines(), having)


@dataclass
class ObjectJournal:
    """A prefix of objects: stores cannot append, so every writer fills objects of its own.

    Their names begin with the time of a writer's first line, which orders them: later than that of
    any other there, even where the clock was set back.
    """

    folder: UPath
    _writer: str = ""
    _full: int = 0
    _lines: list[bytes] = field(default_factory=list)

    def append(self, value: dict[str, Any]) -> None:
        """Add a line, by writing the object it belongs to anew."""
        if not self._writer:
            latest = [
                int(n) for name in self._names() if (n := Path(name).name[:DIGITS]).isdecimal()
            ]
            began = max([time.time_ns() - 1, *latest]) + 1
            self._writer = f"{began:0{DIGITS}d}-{uuid.uuid4().hex[:8]}"
        if len(self._lines) == LINES_PER_OBJECT:
            self._full, self._lines = self._full + 1, []
        self._lines.append(json.dumps(value).encode() + b"\n")
        name = f"{self._writer}-{self._full:06d}.jsonl"
        places.put(self.folder / name, b"".join(self._lines))

    def lines(self, having: str = "") -> Iterator[dict[str, Any]]:
        """As above, read at once; those of a writer that began later come later."""
        names = self._names()
        contents = self.folder.fs.cat(names) if names else {}
        for name in names:
            yield from _parsed(contents[name].splitlines(), having)

    def _names(self) -> list[str]:
        """The objects there are, in their order."""
        try:
            return sorted(self.folder.fs.find(self.folder.path))
        except FileNotFoundError:
            return []


def journal(folder: Place, name: str) -> Journal:
    """The journal `name` of a folder."""
    if isinstance(folder, Path):
        return FileJournal(folder / f"{name}.jsonl")
    return ObjectJournal(folder / name)


def _parsed(lines: Iterable[bytes], having: str) -> Iterator[dict[str, Any]]:
    word = having.encode()
    for line in lines:
        if word not in line:
            continue
        try:
            value = storage.parsed(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
