"""Which trials a store has been told of, so that a command tells it only of the others."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from study.state.databases import sqlite_path
from trainables.storage import atomic as storage


class Delivered:
    """A local file with a line for each trial that a store holds, in the state that it holds."""

    def __init__(self, path: Path, uri: str) -> None:
        """Keep where the lines are.

        Args:
            path: Of the file, which all stores of a study share.
            uri: Of the store; one that was moved is another one.
        """
        self._path, self._file = path, sqlite_path(uri)
        # without user and password
        self._at = hashlib.sha256(uri.rpartition("@")[2].encode()).hexdigest()[:12]

    def add(self, digest: str, state: str) -> None:
        """The store holds this state of a trial."""
        line = json.dumps({"at": self._at, "trial": digest, "state": state})
        with (
            suppress(OSError),
            open(self._path, "a", encoding="utf-8", opener=storage.unlinked) as file,
        ):
            file.write(f"{line}\n")

    def read(self) -> dict[str, str]:
        """Digest to state; of a file of a database that is gone, nothing."""
        if self._file is not None and not self._file.exists():
            return {}
        content, states = b"", dict[str, str]()
        with suppress(OSError):
            content = storage.read(self._path)
        for text in content.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                line = storage.parsed(text)
                if line["at"] == self._at:
                    states[str(line["trial"])] = str(line["state"])
        return states
