"""Intermediate evaluations on the validation benchmark, at given numbers of examples: rungs.

Pruning (ASHA and other rules) compares trials at rungs and may stop one; a trial only evaluates.
Evaluations change nothing that training reads, so a trial gives the same numbers with and without
rungs, and rungs are not part of a spec. Each leaves `rung-<step>.json` and its ranks in the
attempt; an attempt that resumes from a checkpoint copies the rungs of earlier attempts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables import faults
from trainables.evaluation.evaluate import Evaluation
from trainables.evaluation.ranks import save_ranks
from trainables.storage import atomic as storage
from trainables.storage.paths import AnyPath, staging_folder
from trainables.trial.trial_folder import FORMAT, Attempt, NotCommittedError, TrialFolder, read_json


@dataclass(frozen=True)
class IntermediateEvaluation:
    """Evaluation of a trial at a rung.

    Attributes:
        examples: The rung, the same number for trials of every batch size.
        step: Optimizer steps taken: the first step with at least so many examples.
        metrics: Metrics of that encoder on the validation benchmark.
    """

    examples: int
    step: int
    metrics: Mapping[str, float]


def milestones(rungs: Iterable[int], batch_size: int, steps: int) -> dict[int, int]:
    """Map steps to rungs, ascending: the highest rung of each step, none at or past the end."""
    reached = {-(-rung // batch_size): rung for rung in sorted(rungs)}
    return {step: rung for step, rung in reached.items() if 0 < step < steps}


class IntermediateEvaluations:
    """Rungs of one attempt.

    Attributes:
        due: Rungs by step.
        reached: Evaluations by step, of this attempt or earlier ones.
    """

    def __init__(self, due: Mapping[int, int], attempt: Attempt) -> None:
        """Copy the rungs that earlier attempts reached."""
        self.due, self.attempt = dict(due), attempt
        self.reached: dict[int, IntermediateEvaluation] = {}
        for step in self.due:
            if (content := _latest_record(attempt.trial, step)) is not None:
                _copy_rung(attempt, step, content)
                self.reached[step] = _evaluation(self.due[step], content)

    def behind(self, step: int) -> list[IntermediateEvaluation]:
        """List the known evaluations at rungs up to `step`, ascending."""
        return [self.reached[past] for past in sorted(self.reached) if past <= step]

    def look(self, step: int, evaluate: Callable[[], Evaluation]) -> IntermediateEvaluation | None:
        """Evaluate the rung at `step`, unless an earlier attempt did; None without a rung there."""
        if step not in self.due:
            return None
        if step not in self.reached:
            content = _write_rung(self.attempt, self.due[step], step, evaluate())
            self.reached[step] = _evaluation(self.due[step], content)
        return self.reached[step]


def intermediate_evaluations(trial: TrialFolder) -> dict[int, IntermediateEvaluation]:
    """Read the evaluations at all rungs that a trial reached, by step, with or without result."""
    steps = {
        int(name[1])
        for attempt in trial.attempts()
        for path in attempt.path.glob("rung-*.json")
        if (name := re.fullmatch(r"rung-(\d{1,18})\.json", path.name))
    }
    contents = {step: _latest_record(trial, step) for step in sorted(steps)}
    return {
        s: _evaluation(content["examples"], content) for s, content in contents.items() if content
    }


def intermediate_ranks(trial: TrialFolder, step: int) -> list[AnyPath]:
    """List the rank files of a rung, two with pictures; empty if it was not reached.

    A rung with a damaged file counts as not reached.
    """
    content = _latest_record(trial, step)
    return [] if content is None else [content["folder"] / name for name in content["ranks"]]


def _files_of(step: int) -> tuple[str, str]:
    """Name the rank files of a rung: to passages or pictures, and from pictures to texts."""
    return f"rung-{step}.npz", f"rung-{step}-i2t.npz"


def _latest_record(trial: TrialFolder, step: int) -> dict[str, Any] | None:
    """Return the latest attempt's record of a rung, and its folder; None if there is none.

    Records that are damaged or of another trial are skipped.
    """
    if trial.foreign():
        return None
    for attempt in trial.attempts():
        try:
            content = read_json(attempt.path / f"rung-{step}.json")
            names = {name for name in _files_of(step) if name in content["ranks"]}
            ranks = {name: storage.sha256(attempt.path / name) for name in names}
            # older records do not name their trial
            ours = content.get("digest", trial.digest) == trial.digest and content["step"] == step
        except (NotCommittedError, OSError, KeyError, TypeError):
            continue
        if ours and ranks == content["ranks"]:
            return content | {"folder": attempt.path}
    return None


def _copy_rung(attempt: Attempt, step: int, content: Mapping[str, Any]) -> None:
    """Copy a rung into `attempt`, since a commit removes all earlier attempts."""
    folder = content["folder"]
    if folder == attempt.path:
        return
    for name in (*content["ranks"], f"rung-{step}.json"):
        storage.write(attempt.path / name, storage.read(folder / name))


def _write_rung(attempt: Attempt, rung: int, step: int, evaluation: Evaluation) -> dict[str, Any]:
    """Write a rung, its JSON file last: where that exists, the ranks do too."""
    names: list[str] = []
    with staging_folder(attempt.path) as folder:
        for name, ranks in zip(_files_of(step), (evaluation.ranks, evaluation.i2t), strict=True):
            if ranks is not None:
                names.append(name)
                save_ranks(ranks, Path(folder) / name)
    faults.at("rung.ranks", digest=attempt.trial.digest, attempt=attempt.number, step=step)
    content: dict[str, Any] = {
        "format": FORMAT,
        "digest": attempt.trial.digest,
        "examples": rung,
        "step": step,
        "metrics": evaluation.metrics,
        "ranks": {name: storage.sha256(attempt.path / name) for name in names},
    }
    storage.write(attempt.path / f"rung-{step}.json", storage.seal(content))
    faults.at("rung.written", digest=attempt.trial.digest, attempt=attempt.number, step=step)
    return content


def _evaluation(rung: int, content: Mapping[str, Any]) -> IntermediateEvaluation:
    return IntermediateEvaluation(rung, int(content["step"]), content["metrics"])
