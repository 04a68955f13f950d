"""Saving the state of training so that any later attempt can go on from it."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from typing import Any

import torch

from trainables import storage
from trainables.trial_folder import Attempt, NotCommittedError, TrialFolder, read_json

SHORTEST_INTERVAL = 30.0
"""Seconds between checkpoints, at least."""

SAVES_PER_INTERVAL = 20
"""The interval is this many times the last save's time: at most 5 % overhead."""


class Clock:
    """Says when the next checkpoint is due."""

    def __init__(self) -> None:
        """Start counting now, with the shortest interval."""
        self.interval = SHORTEST_INTERVAL
        self.last = time.monotonic()

    def due(self) -> bool:
        """Whether the interval has passed since the last save."""
        return time.monotonic() - self.last >= self.interval

    def saved(self, seconds: float) -> None:
        """Note a save that took `seconds`."""
        self.last = time.monotonic()
        self.interval = max(SHORTEST_INTERVAL, SAVES_PER_INTERVAL * seconds)


def save_checkpoint(attempt: Attempt, state: Mapping[str, Any]) -> float:
    """Write `state` as the attempt's checkpoint, replacing its earlier one.

    Returns:
        Seconds it took.
    """
    began = time.monotonic()
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    folder, name = attempt.path / "checkpoint", f"step-{state['step']}.pt"
    storage.write(folder / name, buffer.getbuffer())
    attempt.write_json(
        "checkpoint/manifest.json",
        {"file": name, "sha256": storage.sha256(folder / name), "step": state["step"]},
    )
    for old in folder.glob("step-*.pt"):
        if old.name != name:
            old.unlink()
    return time.monotonic() - began


def latest_checkpoint(trial: TrialFolder) -> dict[str, Any] | None:
    """The state saved at the highest step by any attempt, if one is whole; torn ones are passed."""
    found: list[tuple[int, Any]] = []
    for attempt in trial.attempts():
        folder = attempt.path / "checkpoint"
        try:
            manifest = read_json(folder / "manifest.json")
            if storage.sha256(folder / manifest["file"]) == manifest["sha256"]:
                found.append((int(manifest["step"]), folder / manifest["file"]))
        except (NotCommittedError, OSError, KeyError):
            continue
    if not found:
        return None
    state: dict[str, Any] = torch.load(max(found)[1], weights_only=True)
    return state
