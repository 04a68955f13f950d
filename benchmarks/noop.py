"""A no-op trial: no training, but all files of a trial, to measure the cost of launching one.

Workers import it as `LaunchConfig.work`. Each trial notes its process, the times of its first step
and of its commit, and whether it found anything left over from another trial.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import transformers

from trainables import faults
from trainables.failures import TrialFailedError, describe
from trainables.spec import Execution, Spec
from trainables.storage import atomic as storage
from trainables.trial.loop import Event
from trainables.trial.trial_folder import Attempt, TrialFolder

NOTES = "NOOP_NOTES"
"""Environment variable with the path of the file of notes."""

MODULES = (torch.__name__, transformers.__name__)
"""Modules that the workers must have imported, as real trials do."""

SOILED = "noop_soiled"
"""Attribute of `sys` that a trial sets, and removes only if it succeeds."""

FILES = (
    *("history.json", "result.json", "environment.json"),
    *("ranks-test.npz", "ranks-validation.npz"),
)


def work(
    spec: Spec, folder: TrialFolder, *, holder: Mapping[str, Any] | None = None, **_: Any
) -> Iterator[Event]:
    """Take one empty step, then commit; the actor calls this in place of `finetune`."""
    assert all(name in sys.modules for name in MODULES)
    began = time.time()
    attempt = folder.claim(spec, dict(holder or {}))
    yield Event("claimed", 0, 1, attempt=attempt.number)
    note(spec, "began", began)
    setattr(sys, SOILED, spec.digest)
    try:
        faults.at("step", digest=spec.digest, attempt=attempt.number, step=1)
        yield Event("stepped", 1, 1, 0.0)
        leave(spec, attempt, began)
    except RuntimeError as error:
        facts = describe(error)
        attempt.fail(facts)
        raise TrialFailedError(facts["reason"], facts["detail"]) from error
    folder.forget_unfinished()
    delattr(sys, SOILED)
    note(spec, "ended", time.time())
    yield Event("committed", 1, 1)


def leave(spec: Spec, attempt: Attempt, began: float) -> None:
    """Write and commit the files of a trial."""
    metrics = {name: 0.5 for name in ("map/mono", "map/cross", "map/multi")}
    attempt.write_json("history.json", {"points": [{"step": 1, "train/loss": 1.0}]})
    result = {
        "digest": spec.digest,
        "metrics": metrics,
        "validation": metrics,
        "counts": {"test": {}},
        "zero_shot": {"verdict": "not checkable"},
        "training": {},
        "execution": Execution().to_json(),
    }
    attempt.write_json("result.json", result)
    seconds = time.time() - began
    attempt.write_json("environment.json", {"seconds": seconds, "began": began, "versions": {}})
    for role in ("test", "validation"):
        storage.write(attempt.path / f"ranks-{role}.npz", bytes(20_000))
    attempt.commit(FILES)


def note(spec: Spec, what: str, at: float) -> None:
    """Append a line to the benchmark's notes."""
    line = {
        "trial": spec.digest,
        "what": what,
        "at": at,
        "process": os.getpid(),
        "soiled": getattr(sys, SOILED, ""),
    }
    with open(os.environ[NOTES], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
