"""Looks at the validation benchmark on the way, after given numbers of examples.

Who compares trials at these rungs may stop one early; a trial itself only looks. A look moves
nothing that training reads, so a trial with rungs and one without give the same numbers, and rungs
are no part of a spec. Each leaves `rung-<step>.json` and the ranks behind it in its attempt; an
attempt that goes on from a checkpoint takes the rungs of earlier ones along.
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
    """A rung that a trial came to.

    Attributes:
        examples: The rung: the same number for trials of every batch size.
        step: Optimizer steps taken there, the first at which so many examples were seen.
        metrics: Of the encoder then, on the validation benchmark.
    """

    examples: int
    step: int
    metrics: Mapping[str, float]


def milestones(rungs: Iterable[int], batch_size: int, steps: int) -> dict[int, int]:
    """Step to rung, ascending; of rungs at the same step the highest, none at or past the end."""
    reached = {-(-rung // batch_size): rung for rung in sorted(rungs)}
    return {step: rung for step, rung in reached.items() if 0 < step < steps}


class IntermediateEvaluations:
    """The rungs of one attempt.

    Attributes:
        due: Step to rung.
        reached: By step, those that this or an earlier attempt looked at.
    """

    def __init__(self, due: Mapping[int, int], attempt: Attempt) -> None:
        """Take along what earlier attempts found."""
        self.due, self.attempt = dict(due), attempt
        self.reached: dict[int, IntermediateEvaluation] = {}
        for step in self.due:
            if (content := _found(attempt.trial, step)) is not None:
                _take_along(attempt, step, content)
                self.reached[step] = _reached(self.due[step], content)

    def behind(self, step: int) -> list[IntermediateEvaluation]:
        """Rungs known already of a training that stands at `step`, in their order."""
        return [self.reached[each] for each in sorted(self.reached) if each <= step]

    def look(self, step: int, evaluate: Callable[[], Evaluation]) -> IntermediateEvaluation | None:
        """The rung at `step`, looked at unless an earlier attempt did; None where there is none."""
        if step not in self.due:
            return None
        if step not in self.reached:
            content = _write(self.attempt, self.due[step], step, evaluate())
            self.reached[step] = _reached(self.due[step], content)
        return self.reached[step]


def intermediate_evaluations(trial: TrialFolder) -> dict[int, IntermediateEvaluation]:
    """All rungs that a trial was looked at, by step, whether it has a result or not."""
    steps = {
        int(name[1])
        for attempt in trial.attempts()
        for path in attempt.path.glob("rung-*.json")
        if (name := re.fullmatch(r"rung-(\d{1,18})\.json", path.name))
    }
    contents = {step: _found(trial, step) for step in sorted(steps)}
    return {s: _reached(content["examples"], content) for s, content in contents.items() if content}


def intermediate_ranks(trial: TrialFolder, step: int) -> list[AnyPath]:
    """Files of the ranks behind a rung, checked; of pictures two; empty where it was not reached.

    Raises:
        NotCommittedError: A file is not as it was written.
    """
    content = _found(trial, step)
    return [] if content is None else [content["folder"] / name for name in content["ranks"]]


def _files_of(step: int) -> tuple[str, str]:
    """Names of the ranks of a rung: of texts to pictures or passages, and the other way."""
    return f"rung-{step}.npz", f"rung-{step}-i2t.npz"


def _found(trial: TrialFolder, step: int) -> dict[str, Any] | None:
    """What an attempt wrote of a rung, latest first, and where.

    Damaged ones are passed over, and those of another trial.
    """
    if trial.foreign():
        return None
    for attempt in trial.attempts():
        try:
            content = read_json(attempt.path / f"rung-{step}.json")
            names = {name for name in _files_of(step) if name in content["ranks"]}
            ranks = {name: storage.sha256(attempt.path / name) for name in names}
            # those of before name no trial
            ours = content.get("digest", trial.digest) == trial.digest and content["step"] == step
        except (NotCommittedError, OSError, KeyError, TypeError):
            continue
        if ours and ranks == content["ranks"]:
            return content | {"folder": attempt.path}
    return None


def _take_along(attempt: Attempt, step: int, content: Mapping[str, Any]) -> None:
    """Copy a rung into `attempt`: after a commit the earlier attempts are removed."""
    folder = content["folder"]
    if folder == attempt.path:
        return
    for name in (*content["ranks"], f"rung-{step}.json"):
        storage.write(attempt.path / name, storage.read(folder / name))


def _write(attempt: Attempt, rung: int, step: int, evaluation: Evaluation) -> dict[str, Any]:
    """Write a rung, the ranks first: where the JSON is, all is."""
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


def _reached(rung: int, content: Mapping[str, Any]) -> IntermediateEvaluation:
    return IntermediateEvaluation(rung, int(content["step"]), content["metrics"])
