"""What one trial leaves on disk, and when it counts.

    trials/<digest>/
        spec.json                  written first
        attempts/<n>/claim.json    creating it claims attempt n; the highest n is the live one
        attempts/<n>/…             history.jsonl, checkpoint, ranks, result.json, environment.json
        manifest.json              created last: names the attempt that counts, with checksums

A trial without a manifest has no result. The first commit wins; files of other attempts are
never read again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables import storage
from trainables.errors import UserError
from trainables.spec import Spec

FORMAT = 1


class NotCommittedError(Exception):
    """The trial has no result that may be believed; the message says why."""


@dataclass(frozen=True)
class Attempt:
    """One try at a trial, writing in its own folder."""

    trial: TrialFolder
    number: int

    @property
    def path(self) -> Path:
        """Where this attempt writes."""
        return self.trial.path / "attempts" / f"{self.number:03d}"

    @property
    def is_live(self) -> bool:
        """Whether no later attempt has been claimed and nothing is committed."""
        return self.trial.latest_attempt() == self.number and not self.trial.is_committed

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Write one file of this attempt in one step."""
        storage.write_json(self.path / name, {"format": FORMAT} | value)

    def commit(self, names: Iterable[str]) -> bool:
        """Make the named files of this attempt the trial's result.

        Returns:
            False where another attempt was committed before; the result is then that one's.
        """
        files = {name: storage.sha256(self.path / name) for name in names}
        return storage.create_json(
            self.trial.manifest_path,
            {"format": FORMAT, "attempt": self.number, "files": files},
        )


@dataclass(frozen=True)
class TrialFolder:
    """The folder of one trial under a root."""

    path: Path

    @classmethod
    def of(cls, root: Path, digest: str) -> TrialFolder:
        """The folder of the trial with this digest, whether it exists or not."""
        return cls(root / "trials" / digest)

    @property
    def digest(self) -> str:
        """The trial's name."""
        return self.path.name

    @property
    def manifest_path(self) -> Path:
        """The file whose existence is the commit."""
        return self.path / "manifest.json"

    @property
    def is_committed(self) -> bool:
        """Whether a result was committed (not whether its files are still whole)."""
        return self.manifest_path.exists()

    def latest_attempt(self) -> int:
        """The number of the last attempt claimed; 0 for none."""
        claims = self.path.glob("attempts/*/claim.json")
        return max((int(claim.parent.name) for claim in claims), default=0)

    def attempts(self) -> list[Attempt]:
        """All attempts claimed so far, latest first."""
        return [Attempt(self, number) for number in range(self.latest_attempt(), 0, -1)]

    def claim(self, spec: Spec, holder: dict[str, Any]) -> Attempt:
        """Open a new attempt; of concurrent callers each gets its own, the last one is live."""
        storage.create_json(
            self.path / "spec.json",
            {"format": FORMAT, "spec": spec.model_dump(mode="json", exclude_none=True)},
        )
        number = self.latest_attempt() + 1
        while not storage.create_json(
            Attempt(self, number).path / "claim.json", {"format": FORMAT} | holder
        ):
            number += 1
        return Attempt(self, number)

    def committed(self) -> Path:
        """The folder of the attempt that counts, every file of it checked.

        Raises:
            NotCommittedError: There is no manifest, or a file is missing or not as committed.
        """
        manifest = read_json(self.manifest_path)
        attempt = Attempt(self, int(manifest["attempt"]))
        for name, expected in manifest["files"].items():
            file = attempt.path / name
            if not file.exists():
                raise NotCommittedError(f"{file} is missing")
            if storage.sha256(file) != expected:
                raise NotCommittedError(f"{file} is not as it was committed")
        return attempt.path

    def result(self) -> dict[str, Any]:
        """The committed result.

        Raises:
            NotCommittedError: As for `committed`.
        """
        return read_json(self.committed() / "result.json")

    def spec(self) -> Spec:
        """The spec this folder belongs to."""
        return Spec.model_validate(read_json(self.path / "spec.json")["spec"])

    def forget_unfinished(self) -> None:
        """Remove the attempts that do not count, after a commit."""
        number = int(read_json(self.manifest_path)["attempt"])
        for attempt in self.attempts():
            if attempt.number != number:
                shutil.rmtree(attempt.path, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that this project wrote.

    Raises:
        NotCommittedError: It is missing, torn, or not what its name says.
        UserError: It was written by a newer version.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotCommittedError(f"{path} does not exist") from None
    except (ValueError, OSError) as error:
        raise NotCommittedError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("format"), int):
        raise NotCommittedError(f"{path} is not a file of this project: no format number")
    if value["format"] > FORMAT:
        raise UserError(
            f"{path} has format {value['format']}, this version reads up to {FORMAT}; "
            "update this project to read it"
        )
    return value
