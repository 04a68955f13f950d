"""Fault injection for tests at named points of a study's life; inert when unset.

`STUDY_FAULTS` holds faults separated by `;`, each an act with its conditions:

    kill point=completion.noted hit=2; oom point=step step=2 attempt=1 digest=3f9a

Acts: `kill` and `term` (SIGKILL and SIGTERM to this process), `error` (PlantedError), `oom`
(torch.OutOfMemoryError), `hang` (forever), `nan` and `save` (returned for the caller to act on).
`hit=n` means the n-th time that all other conditions hold in this process; `digest` may be a
prefix.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from functools import lru_cache
from typing import Literal

VARIABLE = "STUDY_FAULTS"

DRIVER_POINTS = (
    "study.leased",
    "plan.written",
    "plan.noted",
    "journal.claimed",
    "reconcile.completed",
    "launch.noted",
    "ray.starting",
    "ray.started",
    "start.noted",
    "trial.ended",
    "completion.noted",
    "storage.opened",
    "storage.written",
    "view.parent",
    "view.created",
    "view.logged",
    "view.stored",
    "view.ended",
    "view.noted",
    "launch.ended",
)
"""Points between consecutive durable writes of the driver."""

SEARCH_POINTS = ("asked.writing", "asked.written")
"""Points before and after a searching driver writes a proposal."""

WORKER_POINTS = (
    "spec.written",
    "attempt.claimed",
    "step",
    "checkpoint.data",
    "checkpoint.saved",
    "history.written",
    "weights.written",
    "ranks.written",
    "result.written",
    "environment.written",
    "committed",
)
"""Points between consecutive durable writes of a trial; `step` follows every optimizer step."""

RUNG_POINTS = ("rung.ranks", "rung.written", "rung.noted", "pruning.noted")
"""Points between the durable writes of early stopping, in worker and driver."""

RANK_POINTS = ("rank.step",)
"""Points before a step of process ranks other than 0, with conditions `rank` and `step`."""

POINTS = DRIVER_POINTS + SEARCH_POINTS + WORKER_POINTS + RUNG_POINTS + RANK_POINTS

ACTS = ("kill", "term", "error", "oom", "hang", "nan", "save")

Condition = str | int


class PlantedError(RuntimeError):
    """Error raised by the act `error`."""


def at(point: str, **facts: Condition) -> Literal["", "nan", "save"]:
    """Pass a named point and act if the conditions of a planted fault hold.

    Args:
        point: One of `POINTS`.
        facts: Values that conditions are compared with, such as `digest`, `step` and `attempt`.

    Returns:
        `nan` or `save` if a fault with that act applies, else an empty string.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return ""
    planted: Literal["", "nan", "save"] = ""
    for number, (act, conditions) in enumerate(parse(text)):
        expected = dict(conditions)
        hit = expected.pop("hit", None)
        if expected.pop("point") != point or not _hold(expected, facts):
            continue
        _hits[text, number] += 1
        if hit in (None, str(_hits[text, number])):
            planted = _act(act, point) or planted
    return planted


@lru_cache(maxsize=8)
def parse(text: str) -> tuple[tuple[str, dict[str, str]], ...]:
    """Parse faults, each an act and its conditions.

    Raises:
        ValueError: An act or point is unknown; a test with such a fault could never fail.
    """
    faults = []
    for part in filter(None, map(str.strip, text.split(";"))):
        act, *words = part.split()
        conditions = dict(word.split("=", 1) for word in words)
        known = conditions.get("point") in POINTS
        if act not in ACTS or not known:
            raise ValueError(f"{VARIABLE}: {part!r} is no known act at a known point")
        faults.append((act, conditions))
    return tuple(faults)


_hits: Counter[tuple[str, int]] = Counter()


def _hold(expected: dict[str, str], facts: dict[str, Condition]) -> bool:
    return all(
        str(facts.get(key, "")).startswith(value)
        if key == "digest"
        else str(facts.get(key)) == value
        for key, value in expected.items()
    )


def _act(act: str, point: str) -> Literal["", "nan", "save"]:
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    if act == "error":
        raise PlantedError(f"planted at {point}")
    if act == "oom":
        import torch

        raise torch.OutOfMemoryError(f"planted at {point}")
    while act == "hang":
        time.sleep(1)
    return "nan" if act == "nan" else "save" if act == "save" else ""
