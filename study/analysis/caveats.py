"""What must be said beside the numbers: libraries that differ, ties that the order decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.analysis.results import language_groups
from study.analysis.scores import both_directions, scores
from study.state.plan import Plan, trial_label
from trainables.data.formats.squad_json import CONVERTED
from trainables.errors import UserError
from trainables.evaluation.metric_names import DISTANCES, reordered
from trainables.spec import LIBRARIES
from trainables.storage.paths import AnyPath
from trainables.trial.trial_folder import TrialFolder

Executions = Mapping[str, frozenset[tuple[str, ...]]]
"""Digest to what computed a trial: one entry, or several where others went on with it."""

RARE = 1e-3
"""Ties of a smaller share of a trial's queries are not looked into: they move no third decimal."""

LEAST = 5e-4
"""From the worst value to the best; less is not said."""


@dataclass(frozen=True)
class ExecutionGroup:
    """Trials that were computed alike.

    Attributes:
        differs: Device and library versions that other trials do not share; empty where unknown.
        trials: How many.
    """

    differs: tuple[str, ...]
    trials: int


@dataclass(frozen=True)
class Mixture:
    """Trials that were not all computed alike, so that their last digits may differ.

    Attributes:
        groups: Of trials that were.
        resumed: Trials that began with one and went on with another.
    """

    groups: tuple[ExecutionGroup, ...]
    resumed: int


@dataclass(frozen=True)
class Tied:
    """A value that the order of equal scores decides.

    Attributes:
        trial: Digest of the trial.
        label: What people call it.
        metric: Which value.
        value: As the trial has it, equal scores in the order of their candidates.
        worst: Of any order of equal scores.
        best: Likewise.
    """

    trial: str
    label: str
    metric: str
    value: float
    worst: float
    best: float


def executions(results: Mapping[str, Mapping[str, Any]]) -> Executions:
    """What computed each trial, of results by digest; of old ones only the device is known."""
    return {
        digest: frozenset(
            (
                str(result["execution"].get("device", "cpu")),
                *(f"{name} {versions[name]}" for name in LIBRARIES if name in versions),
            )
            for versions in result.get("versions", [{}])
        )
        for digest, result in results.items()
    }


def mixed(computed: Executions) -> Mixture | None:
    """What differs between trials; None where all were computed alike."""
    counts = Counter(each for several in computed.values() for each in several)
    if len(counts) < 2:
        return None
    shared = set.intersection(*map(set, counts))
    groups = (
        ExecutionGroup(tuple(part for part in each if part not in shared), number)
        for each, number in sorted(counts.items())
    )
    return Mixture(tuple(groups), sum(len(several) > 1 for several in computed.values()))


def coinciding(plan: Plan, coefficients: Mapping[str, float], computed: Executions) -> str:
    """Why a contrast tells nothing of its arms, where no execution is common to both; else empty.

    Args:
        plan: With the cells of the contrast.
        coefficients: Label of a cell to its part in the contrast.
        computed: What computed each trial.
    """
    more, less = (
        {
            each
            for cell in plan.cells
            if sign * coefficients.get(cell.label, 0) > 0
            for trial in cell.trials
            for each in computed.get(trial.digest, ())
            if len(each) > 1
        }
        for sign in (1, -1)
    )
    if not more or not less or more & less:
        return ""
    return "its arms have no library versions and device in common, so the difference may be theirs"


def tied(plan: Plan, root: AnyPath, results: Mapping[str, dict[str, Any]]) -> list[Tied]:
    """Each trial whose value of the primary metric hangs on the order of ties.

    Args:
        plan: Of the study.
        root: Of the trial folders.
        results: By digest, of the trials that have one.

    Raises:
        UserError: A committed file of ranks that cannot be read.
    """
    role, _, metric = plan.primary.rpartition(":")
    if metric.partition("/")[0] in DISTANCES:
        return []
    groups, every = language_groups(plan), []
    for cell in plan.cells:
        for trial in cell.trials:
            counts = results.get(trial.digest, {}).get("counts", {}).get(role or "test", {})
            chose = cell.proposal is not None and trial.phase != "confirm"  # law 5: no figure of it
            if chose or not _has_ties(counts):
                continue
            folder = TrialFolder.of(root, trial.digest).committed()
            for ranks in both_directions(folder, role or "test"):
                try:
                    worst, value, best = (
                        scores(each, metric, groups).value
                        for each in (
                            reordered(ranks, best=False),
                            ranks,
                            reordered(ranks, best=True),
                        )
                    )
                except UserError:  # this direction of pictures has not that metric
                    continue
                if best - worst >= LEAST:
                    label = trial_label(cell.label, trial.seed)
                    every.append(Tied(trial.digest, label, plan.primary, value, worst, best))
    return every


def _has_ties(counts: Mapping[str, int]) -> bool:
    ties = max((n for key, n in counts.items() if key.startswith("ties/")), default=0)
    queries = max((n for key, n in counts.items() if key.startswith("queries/")), default=0)
    return ties > RARE * queries


def converted_offsets(plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Answers whose offsets were converted, by name of their benchmark."""
    numbers: dict[str, int] = {}
    for digest, result in results.items():
        for role, counts in result["counts"].items():
            name = plan.specs[digest].test.name if role == "test" else role
            number = sum(n for key, n in counts.items() if key.startswith(f"source/{CONVERTED}"))
            numbers[name] = max(numbers.get(name, 0), number)
    return {name: number for name, number in sorted(numbers.items()) if number}
