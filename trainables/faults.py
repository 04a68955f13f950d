"""Faults planted on purpose, by tests, at named points of a study's life; inert when unset.

`STUDY_FAULTS` holds faults separated by `;`, each an act and conditions:

    kill point=completion.noted hit=2; oom point=step step=2 attempt=1 digest=3f9a

Acts: `kill` and `term` (SIGKILL and SIGTERM to this process), `error` (RuntimeError), `oom`
(torch.OutOfMemoryError), `hang` (for ever), `nan` and `save` (returned to the caller, which knows
what they mean). `hit=n` means the n-th time that all the other conditions hold in this process;
`digest` may be a prefix.
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
"""Between each two durable writes of the driver."""

SEARCH_POINTS = ("asked.writing", "asked.written")
"""Likewise, of a driver that searches, around each trial that it asks for."""

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
"""Between each two durable writes of a trial; `step` is passed after every optimizer step."""

RUNG_POINTS = ("rung.ranks", "rung.written", "rung.noted", "pruning.noted")
"""Between each two durable writes of what stops a trial early, of worker and driver."""

RANK_POINTS = ("rank.step",)
"""Passed by ranks other than 0, before they take a step: `rank` says which, `step` which."""

POINTS = DRIVER_POINTS + SEARCH_POINTS + WORKER_POINTS + RUNG_POINTS + RANK_POINTS

ACTS = ("kill", "term", "error", "oom", "hang", "nan", "save")

Condition = str | int


class PlantedError(RuntimeError):
    """What the act `error` raises."""


def at(point: str, **facts: Condition) -> Literal["", "nan", "save"]:
    """Pass a named point: act if a planted fault's conditions hold here.

    Args:
        point: One of the names above.
        facts: What conditions may ask for, such as `digest`, `step` and `attempt`.
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
    """The faults in `text`, each an act and its conditions.

    Raises:
        ValueError: An act or point that there is not; a test that plants it could not fail.
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
