"""Caveats beside the numbers: executions that differ, and values that depend on tie-breaking."""

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
"""Digest to the executions of a trial: one, or several if it was resumed with another."""

RARE = 1e-3
"""Largest fraction of tied queries that is ignored, since it cannot move the third decimal."""

LEAST = 5e-4
"""Smallest reported difference between the best and the worst value."""


@dataclass(frozen=True)
class ExecutionGroup:
    """Trials with the same execution.

    Attributes:
        differs: Device and library versions that not all trials share; empty if unknown.
        trials: Number of trials.
    """

    differs: tuple[str, ...]
    trials: int


@dataclass(frozen=True)
class Mixture:
    """Trials with different executions, so that their last digits may differ.

    Attributes:
        groups: Trials grouped by execution.
        resumed: Number of trials that were resumed with another execution.
    """

    groups: tuple[ExecutionGroup, ...]
    resumed: int


@dataclass(frozen=True)
class Tied:
    """A value that depends on the order of equal scores.

    Attributes:
        trial: Digest of the trial.
        label: Label of the trial for people.
        metric: Name of the metric.
        value: Value in the trial's result, where ties break by candidate index (law 7).
        worst: Value under the worst order of equal scores.
        best: Value under the best order.
    """

    trial: str
    label: str
    metric: str
    value: float
    worst: float
    best: float


def executions(results: Mapping[str, Mapping[str, Any]]) -> Executions:
    """Return executions of each trial from its result; old results name only the device."""
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
    """Return differences between the executions of trials; None if there are none."""
    counts = Counter(execution for several in computed.values() for execution in several)
    if len(counts) < 2:
        return None
    shared = set.intersection(*map(set, counts))
    groups = (
        ExecutionGroup(tuple(part for part in execution if part not in shared), number)
        for execution, number in sorted(counts.items())
    )
    return Mixture(tuple(groups), sum(len(several) > 1 for several in computed.values()))


def coinciding(plan: Plan, coefficients: Mapping[str, float], computed: Executions) -> str:
    """Return why arm and execution cannot be told apart in a contrast; empty if they can (law 1).

    Args:
        plan: Plan with the cells of the contrast.
        coefficients: Label of a cell to its weight in the contrast.
        computed: Executions of each trial.
    """
    more, less = (
        {
            execution
            for cell in plan.cells
            if sign * coefficients.get(cell.label, 0) > 0
            for trial in cell.trials
            for execution in computed.get(trial.digest, ())
            if len(execution) > 1
        }
        for sign in (1, -1)
    )
    if not more or not less or more & less:
        return ""
    return "its arms have no library versions and device in common, so the difference may be theirs"


def tied(plan: Plan, root: AnyPath, results: Mapping[str, dict[str, Any]]) -> list[Tied]:
    """Find trials whose value of the primary metric depends on the order of ties.

    Args:
        plan: Plan of the study.
        root: Root of the trial folders.
        results: Committed results by digest.

    Raises:
        UserError: A committed file of ranks cannot be read.
    """
    role, _, metric = plan.primary.rpartition(":")
    if metric.partition("/")[0] in DISTANCES:
        return []
    groups, decided = language_groups(plan), []
    for cell in plan.cells:
        for trial in cell.trials:
            counts = results.get(trial.digest, {}).get("counts", {}).get(role or "test", {})
            chose = cell.proposal is not None and trial.phase != "confirm"  # law 5: hide its test
            if chose or not _has_ties(counts):
                continue
            folder = TrialFolder.of(root, trial.digest).committed()
            for ranks in both_directions(folder, role or "test"):
                try:
                    worst, value, best = (
                        scores(ordered, metric, groups).value
                        for ordered in (
                            reordered(ranks, best=False),
                            ranks,
                            reordered(ranks, best=True),
                        )
                    )
                except UserError:  # of pictures, the other direction has this metric
                    continue
                if best - worst >= LEAST:
                    label = trial_label(cell.label, trial.seed)
                    decided.append(Tied(trial.digest, label, plan.primary, value, worst, best))
    return decided


def _has_ties(counts: Mapping[str, int]) -> bool:
    ties = max((n for key, n in counts.items() if key.startswith("ties/")), default=0)
    queries = max((n for key, n in counts.items() if key.startswith("queries/")), default=0)
    return ties > RARE * queries


def converted_offsets(plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Count answers whose offsets were converted, for each benchmark that has some."""
    numbers: dict[str, int] = {}
    for digest, result in results.items():
        for role, counts in result["counts"].items():
            name = plan.specs[digest].test.name if role == "test" else role
            number = sum(n for key, n in counts.items() if key.startswith(f"source/{CONVERTED}"))
            numbers[name] = max(numbers.get(name, 0), number)
    return {name: number for name, number in sorted(numbers.items()) if number}
