"""Checkpoints: the saved state of training, from which any later attempt can resume."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from trainables import faults
from trainables.spec import Execution
from trainables.storage import atomic as storage
from trainables.storage.paths import AnyPath
from trainables.trial.trial_folder import FORMAT, Attempt, NotCommittedError, TrialFolder, read_json

SHORTEST_INTERVAL = 30.0
"""Minimum number of seconds between checkpoints."""

SAVES_PER_INTERVAL = 20
"""Interval in multiples of the last save's duration: at most 5 % overhead."""


class Clock:
    """Timer that says when the next checkpoint is due."""

    def __init__(self) -> None:
        """Start counting now, with the shortest interval."""
        self.interval = SHORTEST_INTERVAL
        self.last = time.monotonic()

    def due(self) -> bool:
        """Whether the interval has passed since the last save."""
        return self.elapsed() >= self.interval

    def elapsed(self) -> float:
        """Seconds since the last save, or since the start."""
        return time.monotonic() - self.last

    def saved(self, seconds: float) -> None:
        """Record a save that took `seconds`, and set the next interval."""
        self.last = time.monotonic()
        self.interval = max(SHORTEST_INTERVAL, SAVES_PER_INTERVAL * seconds)


def save_checkpoint(attempt: Attempt, state: Mapping[str, Any]) -> float:
    """Write `state` as the attempt's checkpoint, replacing its earlier one.

    Returns:
        Duration in seconds.

    Raises:
        NoRoomError: The disk is too full; the earlier checkpoint stays.
    """
    began = time.monotonic()
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    folder, name = attempt.path / "checkpoint", f"step-{state['step']}.pt"
    storage.ensure_room(attempt.path, buffer.getbuffer().nbytes)
    storage.write(folder / name, buffer.getbuffer())
    facts = {"digest": attempt.trial.digest, "attempt": attempt.number, "step": state["step"]}
    faults.at("checkpoint.data", **facts)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    manifest = {
        "format": FORMAT,
        "digest": attempt.trial.digest,
        "file": name,
        "sha256": digest,
        "step": state["step"],
    }
    storage.write(folder / "manifest.json", storage.seal(manifest))
    faults.at("checkpoint.saved", **facts)
    for old in folder.glob("step-*.pt"):
        if old.name != name:
            old.unlink()
    return time.monotonic() - began


def latest_checkpoint(
    trial: TrialFolder, fits: Callable[[Execution], bool]
) -> dict[str, Any] | None:
    """Return the state saved at the highest step by any attempt; None if there is none.

    Checkpoints that are damaged or of another trial are skipped.

    Args:
        trial: Folder of the trial.
        fits: Whether training may resume in a saved execution: a trial keeps its execution from
            the first step to the last.
    """
    saved: list[tuple[int, AnyPath]] = []
    for attempt in trial.attempts():
        folder = attempt.path / "checkpoint"
        try:
            manifest = read_json(folder / "manifest.json")
            file = folder / f"step-{int(manifest['step'])}.pt"
            ours = manifest["digest"] == trial.digest and manifest["file"] == file.name
            if ours and storage.sha256(file) == manifest["sha256"]:
                saved.append((int(manifest["step"]), file))
        except (NotCommittedError, OSError, KeyError, TypeError, ValueError, OverflowError):
            continue
    for _, path in sorted(saved, reverse=True):
        try:
            content = path if isinstance(path, Path) else io.BytesIO(path.read_bytes())
            state: dict[str, Any] = torch.load(content, weights_only=True, map_location="cpu")
        except Exception:  # whatever a damaged file raises, or one removed meanwhile
            continue
        with suppress(KeyError, TypeError, ValueError):  # not a state that this project saved
            if fits(Execution(**state["execution"])):
                return state
    return None
