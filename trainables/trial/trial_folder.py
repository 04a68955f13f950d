"""Files of one trial on disk, and when its result counts.

    trials/<digest>/
        spec.json                  written first
        attempts/<n>/claim.json    creating it claims attempt n; the highest n is the live one
        attempts/<n>/…             history, checkpoint, weights, ranks, result, environment, failure
        manifest.json              created last: names the attempt that counts, with checksums
        damaged/…                  files set aside because they cannot be trusted, and why

A trial without a manifest has no result. The first commit wins; files of other attempts are not
read after it. Weights may be dropped later, so the manifest lists them apart.

The folder's name identifies the trial. Manifest, result and spec must name the same one, or
nothing in the folder is trusted: a copy under another trial's name is damage.
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
from trainables.spec.spec import Spec, canonical_text, digest_of
from trainables.storage import atomic as storage
from trainables.storage import paths as places
from trainables.storage.paths import AnyPath
from trainables.trial.result import misshapen

FORMAT = 2
"""Format number of all files of a trial; since 2, manifests and specs are sealed (`seal`)."""

OLDEST_FORMAT = 1
"""Oldest format that can still be read."""

RESULT = "result.json"


class NotCommittedError(Exception):
    """The trial has no result that can be trusted; the message says why."""


class UnreadableError(NotCommittedError):
    """A file of the trial could not be read, so its content is unknown."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a trial, which writes to its own folder."""

    trial: TrialFolder
    number: int

    @property
    def path(self) -> AnyPath:
        """Folder that this attempt writes to."""
        return self.trial.path / f"attempts/{self.number:03d}"

    @property
    def is_live(self) -> bool:
        """Whether no later attempt has been claimed and nothing is committed."""
        return self.trial.latest_attempt() == self.number and not self.trial.is_committed

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Write one file of this attempt atomically."""
        storage.write_json(self.path / name, {"format": FORMAT} | value)

    def fail(self, facts: Mapping[str, Any]) -> None:
        """Record why this attempt has no result; a later record does not replace the first."""
        storage.create_json(self.path / "failure.json", {"format": FORMAT} | dict(facts))

    def failure(self) -> dict[str, Any] | None:
        """Read why this attempt has no result; None if that is unknown or unreadable."""
        try:
            return read_json(self.path / "failure.json")
        except NotCommittedError:
            return None

    def claimed_by(self) -> dict[str, Any]:
        """Read who runs this attempt; empty if the claim cannot be read."""
        try:
            return read_json(self.path / "claim.json")
        except NotCommittedError:
            return {}

    def commit(self, names: Iterable[str], weights: Iterable[str] = ()) -> bool:
        """Commit the named files of this attempt as the trial's result.

        Args:
            names: Files of the result.
            weights: Files that may be dropped later.

        Returns:
            False if another attempt was committed first; its result counts.
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
    """Folder of one trial under a root."""

    path: AnyPath

    @classmethod
    def of(cls, root: AnyPath, digest: str) -> TrialFolder:
        """Return the folder for a digest, whether or not it exists."""
        return cls(root / f"trials/{places.name_of_folder(digest, 'trial')}")

    @property
    def digest(self) -> str:
        """Digest of the trial's spec, which is the folder's name."""
        return self.path.name

    @property
    def manifest_path(self) -> AnyPath:
        """File whose existence is the commit."""
        return self.path / "manifest.json"

    @property
    def is_committed(self) -> bool:
        """Whether a result was committed; its files may have been damaged since."""
        return self.manifest_path.exists()

    def latest_attempt(self) -> int:
        """Return the number of the latest claimed attempt; 0 if there is none."""
        return max((attempt.number for attempt in self.attempts()), default=0)

    def _numbered(self, pattern: str) -> list[AnyPath]:
        """List matching paths in the folders of attempts, without copies under other names."""
        matches = self.path.glob(pattern)
        return [
            path for path in matches if re.search(r"/attempts/(\d{3}|[1-9]\d{3,8})(/|$)", str(path))
        ]

    def attempts(self) -> list[Attempt]:
        """List all claimed attempts, latest first."""
        claims = self._numbered("attempts/*/claim.json")
        numbers = sorted((int(claim.parent.name) for claim in claims), reverse=True)
        return [Attempt(self, number) for number in numbers]

    def claim(self, spec: Spec, holder: dict[str, Any]) -> Attempt:
        """Claim a new attempt; concurrent callers get one each, of which the last is live."""
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
        """Return the folder of the committed attempt, after checking all its files.

        Raises:
            NotCommittedError: The manifest or a file is missing, was changed or names another
                trial.
            UserError: A file was written by a newer version.
        """
        return self._checked()[0]

    def result(self, needed: Set[str] = frozenset()) -> dict[str, Any]:
        """Return the committed result.

        Args:
            needed: Keys that it must have.

        Raises:
            NotCommittedError: As for `committed`, or the result has the wrong shape.
        """
        folder, result = self._checked()
        if wrong := misshapen(result, needed):
            raise NotCommittedError(f"{folder}/result.json is no result: {wrong}")
        return result

    def _checked(self) -> tuple[AnyPath, dict[str, Any]]:
        """Return the same folder as `committed`, and the result, which is read only once."""
        if (link := self._foreign_link()) is not None:
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
        # paths are joined as text for speed: ten thousand trials have seventy thousand files
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
                raise _read_error(folder / name, error) from error
            except ValueError:
                raise NotCommittedError(f"{self.manifest_path}: {name!r} names no file") from None
            if actual != expected:
                raise NotCommittedError(f"{folder / name} is not as it was committed")
        result = parse_json(f"{folder}/{RESULT}", content) if RESULT in files else {}
        # older manifests do not name their trial, but every result does
        named = {str(document["digest"]) for document in (manifest, result) if "digest" in document}
        if (named := named | self.foreign()) != {self.digest}:
            other = ", ".join(sorted(named - {self.digest})) or "that name none"
            raise NotCommittedError(f"{self.path} holds files of another trial: {other}")
        return folder, result

    def foreign(self) -> set[str]:
        """Return the digest in `spec.json` if it is another trial's; empty if own or unreadable."""
        with suppress(NotCommittedError, KeyError, TypeError, ValueError):
            # without validation, which takes most of the time for ten thousand trials
            if digest_of(canonical_text(read_json(self.path / "spec.json")["spec"])) == self.digest:
                return set()
        try:
            digest = self._named_spec().digest
        except NotCommittedError:
            return set()
        return {digest} - {self.digest}

    def spec(self) -> Spec:
        """Read the trial's spec.

        Raises:
            NotCommittedError: The file is missing, or is not the spec of this digest.
        """
        spec = self._named_spec()
        if spec.digest != self.digest:
            raise NotCommittedError(f"{self.path / 'spec.json'} is the spec of {spec.digest}")
        return spec

    def _named_spec(self) -> Spec:
        """Read the spec in the folder, whichever trial it describes."""
        path = self.path / "spec.json"
        try:
            return Spec.model_validate(read_json(path)["spec"])
        except (KeyError, ValueError) as error:
            raise NotCommittedError(f"{path} is no spec: {error}") from None

    def _foreign_link(self) -> AnyPath | None:
        """Return the folder, or its attempts, if that is a link that leads elsewhere, else None."""
        attempts = self.path / "attempts"
        if places.leads_elsewhere(self.path):
            return self.path
        return attempts if isinstance(attempts, Path) and os.path.islink(attempts) else None

    def quarantine(self, needed: Set[str] = frozenset()) -> str:
        """Set a commit that cannot be trusted aside, so that the trial can run again.

        Args:
            needed: As for `result`.

        Returns:
            What was wrong with it; empty for a sound commit, or without one.

        Raises:
            UserError: A file cannot be read now, so it is unknown whether it is damaged.
        """
        if (link := self._foreign_link()) is not None:
            places.remove(link)  # removes the link, not its target
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
            return ""  # an object store moves in several steps, so check just before
        aside = storage.set_aside(self.manifest_path, self.path / "damaged")
        if aside is not None and storage.read(aside) != content:
            # another driver set it aside first, and this is the commit of the repeated trial
            storage.create(self.manifest_path, storage.read(aside))
            aside.unlink()
            return ""
        for attempt in self.attempts():
            if (attempt.path / "environment.json").exists():  # written when an attempt ends
                storage.set_aside(attempt.path, self.path / "damaged")
        if aside is not None:
            storage.write_json(aside.with_suffix(".why.json"), {"format": FORMAT, "why": why})
        return why

    def forget_unfinished(self) -> None:
        """Remove the attempts that do not count, checkpoints and leftovers, after a commit."""
        number = int(read_json(self.manifest_path)["attempt"])
        for path in self._numbered("attempts/*"):
            if path.name != f"{number:03d}":
                places.remove(path)
        places.remove(Attempt(self, number).path / "checkpoint")
        storage.remove_leftovers(self.path)

    def weights(self) -> AnyPath | None:
        """Return the folder of the fine-tuned encoder; None if it was not kept."""
        folder = self.committed() / "encoder"
        return folder if folder.is_dir() else None

    def drop_weights(self) -> None:
        """Remove the fine-tuned encoder, but not the result."""
        with suppress(NotCommittedError):
            places.remove(self.committed() / "encoder")

    def ensure_spec(self, spec: Spec) -> None:
        """Write the spec unless it is already there and undamaged.

        If the folder holds another trial's spec, its attempts are set aside too.
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
    """Read a JSON file written by this project.

    Raises:
        NotCommittedError: It is missing, damaged or not a file of this project.
        UnreadableError: It could not be read, but may be undamaged.
        UserError: It was written by a newer version.
    """
    try:
        content = storage.read(path)
    except OSError as error:
        raise _read_error(path, error) from error
    return parse_json(path, content)


def _read_error(path: AnyPath, error: OSError) -> NotCommittedError:
    """Return the error for a file that was not read: it is missing, or may be undamaged."""
    missing = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
    if missing or error.errno == errno.ELOOP:
        return NotCommittedError(f"{path} is missing")
    return UnreadableError(f"{path} cannot be read: {error}")


def parse_json(path: AnyPath | str, content: bytes) -> dict[str, Any]:
    """Parse the content of a file as `read_json` does."""
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
