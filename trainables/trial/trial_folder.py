"""What one trial leaves on disk, and when it counts.

    trials/<digest>/
        spec.json                  written first
        attempts/<n>/claim.json    creating it claims attempt n; the highest n is the live one
        attempts/<n>/…             history, checkpoint, weights, ranks, result, environment, failure
        manifest.json              created last: names the attempt that counts, with checksums
        damaged/…                  what could not be believed, and why

A trial without a manifest has no result. The first commit wins; files of other attempts are
never read again. Weights may be dropped later, so the manifest lists them apart.

The folder's name says which trial it is. Manifest, result and spec name the same one, or nothing
of the folder is believed: a copy under another trial's name is damage.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables import faults
from trainables.errors import UserError
from trainables.spec import Spec
from trainables.storage import atomic as storage
from trainables.storage import paths as places
from trainables.storage.paths import AnyPath
from trainables.trial.result import misshapen

FORMAT = 2
"""Of all files of a trial; 2 seals manifests and specs, which 1 did not."""

OLDEST_FORMAT = 1
"""The oldest format that is still read."""

RESULT = "result.json"


class NotCommittedError(Exception):
    """The trial has no result that may be believed; the message says why."""


class UnreadableError(NotCommittedError):
    """A file of the trial could not be read, so that nobody knows what it holds."""


@dataclass(frozen=True)
class Attempt:
    """One try at a trial, writing in its own folder."""

    trial: TrialFolder
    number: int

    @property
    def path(self) -> AnyPath:
        """Where this attempt writes."""
        return self.trial.path / f"attempts/{self.number:03d}"

    @property
    def is_live(self) -> bool:
        """Whether no later attempt has been claimed and nothing is committed."""
        return self.trial.latest_attempt() == self.number and not self.trial.is_committed

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Write one file of this attempt in one step."""
        storage.write_json(self.path / name, {"format": FORMAT} | value)

    def fail(self, facts: Mapping[str, Any]) -> None:
        """Write why this attempt has no result; the first writer is right."""
        storage.create_json(self.path / "failure.json", {"format": FORMAT} | dict(facts))

    def failure(self) -> dict[str, Any] | None:
        """Why this attempt has no result, where that is known and readable."""
        try:
            return read_json(self.path / "failure.json")
        except NotCommittedError:
            return None

    def claimed_by(self) -> dict[str, Any]:
        """Who runs this attempt, as far as the claim can be read."""
        try:
            return read_json(self.path / "claim.json")
        except NotCommittedError:
            return {}

    def commit(self, names: Iterable[str], weights: Iterable[str] = ()) -> bool:
        """Make the named files of this attempt the trial's result.

        Args:
            names: Files that the result consists of.
            weights: Files that may be dropped later.

        Returns:
            False where another attempt was committed before; the result is then that one's.
        """
        files = {name: storage.sha256(self.path / name) for name in names}
        heavy = {name: storage.sha256(self.path / name) for name in weights}
        manifest = {
            "format": FORMAT,
            "digest": self.trial.digest,
            "attempt": self.number,
            "files": files,
            "weights": heavy,
        }
        return storage.create(self.trial.manifest_path, storage.seal(manifest))


@dataclass(frozen=True)
class TrialFolder:
    """The folder of one trial under a root."""

    path: AnyPath

    @classmethod
    def of(cls, root: AnyPath, digest: str) -> TrialFolder:
        """The folder of the trial with this digest, whether it exists or not."""
        return cls(root / f"trials/{places.name_of_folder(digest, 'trial')}")

    @property
    def digest(self) -> str:
        """The trial's name."""
        return self.path.name

    @property
    def manifest_path(self) -> AnyPath:
        """The file whose existence is the commit."""
        return self.path / "manifest.json"

    @property
    def is_committed(self) -> bool:
        """Whether a result was committed (not whether its files are still whole)."""
        return self.manifest_path.exists()

    def latest_attempt(self) -> int:
        """The number of the last attempt claimed; 0 for none."""
        return max((attempt.number for attempt in self.attempts()), default=0)

    def _numbered(self, pattern: str) -> list[AnyPath]:
        """What matches in folders of attempts; copies of them under other names are none."""
        matches = self.path.glob(pattern)
        return [p for p in matches if re.search(r"/attempts/(\d{3}|[1-9]\d{3,8})(/|$)", str(p))]

    def attempts(self) -> list[Attempt]:
        """All attempts claimed so far, latest first."""
        claims = self._numbered("attempts/*/claim.json")
        numbers = sorted((int(claim.parent.name) for claim in claims), reverse=True)
        return [Attempt(self, number) for number in numbers]

    def claim(self, spec: Spec, holder: dict[str, Any]) -> Attempt:
        """Open a new attempt; of concurrent callers each gets its own, the last one is live."""
        self.ensure_spec(spec)
        faults.at("spec.written", digest=self.digest)
        number = self.latest_attempt() + 1
        while not storage.create_json(
            Attempt(self, number).path / "claim.json", {"format": FORMAT} | holder
        ):
            number += 1
        faults.at("attempt.claimed", digest=self.digest, attempt=number)
        return Attempt(self, number)

    def committed(self) -> AnyPath:
        """The folder of the attempt that counts, every file of it checked.

        Raises:
            NotCommittedError: There is no manifest, a file is missing or not as committed, or one
                names another trial.
            UserError: It was written by a newer version.
        """
        return self._checked()[0]

    def result(self, needed: Set[str] = frozenset()) -> dict[str, Any]:
        """The committed result.

        Args:
            needed: Keys that it must have.

        Raises:
            NotCommittedError: As for `committed`, or it is not as results are.
        """
        folder, result = self._checked()
        if wrong := misshapen(result, needed):
            raise NotCommittedError(f"{folder}/result.json is no result: {wrong}")
        return result

    def _checked(self) -> tuple[AnyPath, dict[str, Any]]:
        """As `committed`, and the result, which is read once."""
        if (link := self._stray()) is not None:
            raise NotCommittedError(f"{link} is a link to what is not this trial's")
        manifest = read_json(self.manifest_path)
        try:
            attempt = Attempt(self, int(manifest["attempt"]))
            files, weights = dict(manifest["files"]), dict(manifest.get("weights", {}))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise NotCommittedError(f"{self.manifest_path} lacks what it should say") from None
        if not all(map(places.is_within, files | weights)):
            raise NotCommittedError(f"{self.manifest_path} lists files outside of its attempt")
        folder, content = attempt.path, b""
        # joined as text: ten thousand trials have seventy thousand files
        prefix = f"{folder}/" if isinstance(folder, Path) else None
        for name, expected in (files | weights).items():
            path = f"{prefix}{name}" if prefix else folder / name
            try:
                if name == RESULT:
                    content = storage.read(path)
                    actual = hashlib.sha256(content).hexdigest()
                else:
                    actual = storage.sha256(path)
            except OSError as error:
                if name in weights and isinstance(error, FileNotFoundError):
                    continue
                raise _unread(folder / name, error) from error
            except ValueError:
                raise NotCommittedError(f"{self.manifest_path}: {name!r} names no file") from None
            if actual != expected:
                raise NotCommittedError(f"{folder / name} is not as it was committed")
        result = parse_json(f"{folder}/{RESULT}", content) if RESULT in files else {}
        # manifests of before name no trial, but each result does
        named = {str(one["digest"]) for one in (manifest, result) if "digest" in one}
        if (named := named | self.foreign()) != {self.digest}:
            other = ", ".join(sorted(named - {self.digest})) or "that name none"
            raise NotCommittedError(f"{self.path} holds files of another trial: {other}")
        return folder, result

    def foreign(self) -> set[str]:
        """The other trial that `spec.json` is of; empty for its own, or where none can be read."""
        try:
            digest = self._named_spec().digest
        except NotCommittedError:
            return set()
        return {digest} - {self.digest}

    def spec(self) -> Spec:
        """The spec this folder belongs to.

        Raises:
            NotCommittedError: The file is missing, or not the spec of this digest.
        """
        spec = self._named_spec()
        if spec.digest != self.digest:
            raise NotCommittedError(f"{self.path / 'spec.json'} is the spec of {spec.digest}")
        return spec

    def _named_spec(self) -> Spec:
        """The spec in the folder, whatever trial it is of."""
        path = self.path / "spec.json"
        try:
            return Spec.model_validate(read_json(path)["spec"])
        except (KeyError, ValueError) as error:
            raise NotCommittedError(f"{path} is no spec: {error}") from None

    def _stray(self) -> AnyPath | None:
        """A link in the place of the trial's folder, or of its attempts, to what is not its own."""
        inner = self.path / "attempts"
        if places.leads_elsewhere(self.path):
            return self.path
        return inner if isinstance(inner, Path) and os.path.islink(inner) else None

    def quarantine(self, needed: Set[str] = frozenset()) -> str:
        """Set the commit aside if it cannot be believed, so that the trial can run again.

        Args:
            needed: As for `result`.

        Returns:
            What was wrong with it; empty for a commit that can be believed, or none.

        Raises:
            UserError: A file of it cannot be read now, so that nobody knows whether it is damaged.
        """
        if (link := self._stray()) is not None:
            places.remove(link)  # it holds nothing itself
            return self.quarantine(needed) or f"{link} was a link to what is not this trial's"
        try:
            content = storage.read(self.manifest_path)
            self.result(needed)
        except FileNotFoundError:
            return ""
        except (UnreadableError, OSError) as unknown:
            raise UserError(
                f"{unknown}; the trial may be complete. Make it readable, or remove {self.path} to "
                "run the trial again"
            ) from unknown
        except NotCommittedError as damage:
            why = str(damage)
        else:
            return ""
        if not isinstance(self.path, Path) and storage.read(self.manifest_path) != content:
            return ""  # a store's move is no single step: looked at just before it
        aside = storage.set_aside(self.manifest_path, self.path / "damaged")
        if aside is not None and storage.read(aside) != content:
            # another driver was faster, and this is the commit of the trial run again
            storage.create(self.manifest_path, storage.read(aside))
            aside.unlink()
            return ""
        for attempt in self.attempts():
            if (attempt.path / "environment.json").exists():  # it had finished
                storage.set_aside(attempt.path, self.path / "damaged")
        if aside is not None:
            storage.write_json(aside.with_suffix(".why.json"), {"format": FORMAT, "why": why})
        return why

    def forget_unfinished(self) -> None:
        """Remove, after a commit, the attempts that do not count and what is no longer needed."""
        number = int(read_json(self.manifest_path)["attempt"])
        for path in self._numbered("attempts/*"):
            if path.name != f"{number:03d}":
                places.remove(path)
        places.remove(Attempt(self, number).path / "checkpoint")
        storage.remove_leftovers(self.path)

    def weights(self) -> AnyPath | None:
        """The folder with the fine-tuned encoder, if it was kept."""
        folder = self.committed() / "encoder"
        return folder if folder.is_dir() else None

    def drop_weights(self) -> None:
        """Remove the fine-tuned encoder; the result stays."""
        with suppress(NotCommittedError):
            places.remove(self.committed() / "encoder")

    def ensure_spec(self, spec: Spec) -> None:
        """Write the spec unless it is there and whole; the digest says what must be in it.

        With another trial's spec its attempts are set aside too: nothing of them is this trial's.
        """
        path = self.path / "spec.json"
        try:
            self.spec()
        except UnreadableError:
            return
        except NotCommittedError:
            if self.foreign() and not self.is_committed:
                storage.set_aside(self.path / "attempts", self.path / "damaged")
            if path.exists():
                storage.set_aside(path, self.path / "damaged")
            named = {"format": FORMAT, "spec": spec.model_dump(mode="json", exclude_none=True)}
            storage.create(path, storage.seal(named))


def read_json(path: AnyPath) -> dict[str, Any]:
    """Read a file that this project wrote.

    Raises:
        NotCommittedError: It is missing, torn, or not what its name says.
        UnreadableError: It could not be read, and may be whole.
        UserError: It was written by a newer version.
    """
    try:
        content = storage.read(path)
    except OSError as error:
        raise _unread(path, error) from error
    return parse_json(path, content)


def _unread(path: AnyPath, error: OSError) -> NotCommittedError:
    """What to raise of a file that was not read: it is no such file, or it may yet be whole."""
    missing = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
    if missing or error.errno == errno.ELOOP:
        return NotCommittedError(f"{path} is missing")
    return UnreadableError(f"{path} cannot be read: {error}")


def parse_json(path: AnyPath | str, content: bytes) -> dict[str, Any]:
    """As `read_json`, of a file whose bytes are known."""
    try:
        value = storage.unseal(content)
    except ValueError as error:
        raise NotCommittedError(f"{path} cannot be read: {error}") from None
    if not isinstance(value.get("format"), int) or value["format"] < OLDEST_FORMAT:
        raise NotCommittedError(f"{path} is not a file of this project: no known format number")
    if value["format"] > FORMAT:
        raise UserError(
            f"{path} has format {value['format']}, this version reads up to {FORMAT}; "
            "update this project to read it"
        )
    return value
