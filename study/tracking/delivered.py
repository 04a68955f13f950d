"""Remember which trials a store holds, so that a command sends it only the others."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from study.state.databases import sqlite_path
from trainables.storage import atomic as storage


class Delivered:
    """Local log of the trials that a store holds, one line per trial and state."""

    def __init__(self, path: Path, uri: str) -> None:
        """Identify the store.

        Args:
            path: Path of the log, which all stores of a study share.
            uri: URI of the store; a moved store counts as a new one.
        """
        self._path, self._file = path, sqlite_path(uri)
        # the hash leaves out user and password
        self._at = hashlib.sha256(uri.rpartition("@")[2].encode()).hexdigest()[:12]

    def add(self, digest: str, state: str) -> None:
        """Note that the store holds this state of a trial."""
        line = json.dumps({"at": self._at, "trial": digest, "state": state})
        with (
            suppress(OSError),
            open(self._path, "a", encoding="utf-8", opener=storage.unlinked) as file,
        ):
            file.write(f"{line}\n")

    def read(self) -> dict[str, str]:
        """Return the state of each trial by digest; empty if the store was a file that is gone."""
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
