"""Results of committed trials by cell: the only source of figures."""

from __future__ import annotations

import re
import statistics
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.state.plan import Cell, Plan, label_of
from trainables.data.languages import base_language
from trainables.data.resources import by_level, by_pretraining
from trainables.evaluation.metric_names import MEANS, best_value

COLUMNS = (*(f"map/{name}" for name, mean in MEANS.items() if not mean.micro), "rank_distance")
"""Macro means that the results table shows if the trials have them."""

Groups = Mapping[str, tuple[str, ...]]
"""Name of a group to its languages, in ascending order."""

TRAINED_IN_ALL, TRAINED_IN_NONE = "trained-in-all", "trained-in-none"

BETWEEN = re.compile(r"-(?=[a-z])")
"""Hyphen between two codes: scripts and regions begin with a capital or digit, languages do not."""


@dataclass(frozen=True)
class CellResult:
    """Committed results of one cell.

    Attributes:
        cell: The cell.
        results: `result.json` of each committed trial, in seed order, without confirmations.
        groups: Language groups that metrics may name.
        pruned: Number of trials stopped early; if any, the mean is biased towards survivors.
        fresh: Results of confirmations, for a cell that a search proposed. Only these count on the
            test, because `results` chose the cell, by the validation benchmark.
    """

    cell: Cell
    results: tuple[dict[str, Any], ...]
    groups: Groups
    pruned: int = 0
    fresh: tuple[dict[str, Any], ...] = ()

    def values(self, metric: str, of: str = "metrics") -> list[float]:
        """Return the metric of each trial that has it; `of` is `metrics` (test) or `validation`."""
        tested = self.cell.proposal is not None and of == "metrics"
        results = self.fresh if tested else self.results
        numbers = (metric_of(result[of], metric, self.groups) for result in results)
        return [value for value in numbers if value is not None]

    def summary(self, metric: str) -> tuple[float, float | None] | None:
        """Return mean and standard deviation over seeds; the deviation is None for one trial."""
        if not (values := self.values(metric)):
            return None
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def by_cell(
    plan: Plan, results: dict[str, dict[str, Any]], pruned: Container[str] = ()
) -> list[CellResult]:
    """Group results by the cells of a plan, in its order.

    Args:
        plan: Plan of the study.
        results: Committed results by digest.
        pruned: Digests of trials that were stopped early.
    """
    groups = language_groups(plan)

    def committed(cell: Cell, *, confirming: bool) -> tuple[dict[str, Any], ...]:
        trials = (t for t in cell.trials if (t.phase == "confirm") is confirming)
        return tuple(results[trial.digest] for trial in trials if trial.digest in results)

    return [
        CellResult(
            cell,
            committed(cell, confirming=False),
            groups,
            sum(t.digest in pruned and t.digest not in results for t in cell.trials),
            committed(cell, confirming=True),
        )
        for cell in plan.cells
    ]


def best_cell(plan: Plan, cells: list[CellResult]) -> dict[str, Any] | None:
    """Find the trained cell with the best mean of the primary metric on the validation benchmark.

    None without a validation benchmark: nothing is selected on the test (law 5). A cell with a
    pruned trial is skipped, because the mean of its surviving seeds is biased.
    """
    scored = [
        (statistics.fmean(values), cell.cell.params)
        for cell in cells
        if (values := cell.values(plan.primary, "validation"))
        and cell.cell.is_arm
        and not cell.pruned
    ]
    if not scored:
        return None
    value = best_value(plan.primary, (mean for mean, _ in scored))
    params = next(params for mean, params in scored if mean == value)
    return {"params": params, "metric": f"validation/{plan.primary}", "value": value}


def answering(plan: Plan, cells: Sequence[CellResult]) -> list[Cell]:
    """Select the cell that stands for each arm: the best on the validation benchmark.

    Candidates of an arm differ only in tuned parameters. The mean of the primary metric over seeds
    decides, and the first of equals; the test is not read (law 5). Every arm has the same number of
    candidates. An arm with a candidate that lacks a trial has no answer yet: it could be the best.
    """
    if not plan.tuned:
        return [cell.cell for cell in cells]
    selected = []
    for candidates in _arms(plan, cells).values():
        values = [cell.values(plan.primary, "validation") for cell in candidates]
        if len(candidates) == 1:
            selected.append(candidates[0].cell)
        elif all(len(v) == len(c.cell.trials) for v, c in zip(values, candidates, strict=True)):
            means = [statistics.fmean(v) for v in values]
            best = means.index(best_value(plan.primary, means))
            selected.append(candidates[best].cell)
    return selected


def waiting(plan: Plan, cells: Sequence[CellResult]) -> list[Cell]:
    """Return the first candidate of each arm without an answering cell, in the plan's order.

    Comparisons need them to know that an arm is missing, instead of using the others alone.
    """
    answered = {arm_label(plan, cell) for cell in answering(plan, cells)}
    arms = _arms(plan, cells) if plan.tuned else {}
    return [candidates[0].cell for label, candidates in arms.items() if label not in answered]


def _arms(plan: Plan, cells: Sequence[CellResult]) -> dict[str, list[CellResult]]:
    """Group cells that differ only in tuned parameters, by the label of their arm."""
    by_arm: dict[str, list[CellResult]] = {}
    for cell in cells:
        by_arm.setdefault(arm_label(plan, cell.cell), []).append(cell)
    return by_arm


def arm_label(plan: Plan, cell: Cell) -> str:
    """Return the label of a cell's arm: its parameters without the tuned ones."""
    return label_of({k: v for k, v in cell.params.items() if k not in plan.tuned})


def metric_of(metrics: Mapping[str, float], name: str, groups: Groups) -> float | None:
    """Return a metric of a benchmark, or its mean over a language group; None if absent."""
    if name in metrics:
        return metrics[name]
    macro, _, group = name.rpartition("/")
    if group not in groups:
        return None
    measure = macro.partition("/")[0]
    members = [
        value
        for setting, value in metrics.items()
        if setting.startswith(f"{macro}/")
        and in_group(setting.removeprefix(f"{measure}/"), groups[group])
    ]
    return sum(members) / len(members) if members else None


def language_groups(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Group the test benchmark's languages; empty groups and groups of all languages are left out.

    `low-resource` and `high-resource` are by Joshi's classes, `xlm-r-read-little` and `-much` by
    the amount of pre-training text (`trainables.data.resources`). `trained-in-all` and
    `trained-in-none` are by the training languages of the arms; languages that only some arms train
    on are in neither. A language counts as trained on in any script or region: `zh-Hant` and
    `zh-HK` if an arm trains on `zh`.
    """
    specs = list(plan.specs.values())
    languages = (specs[0].test.languages or ()) if specs else ()
    groups = {f"{level}-resource": members for level, members in by_level(languages).items()}
    groups |= by_pretraining(languages)
    trained = {frozenset(map(base_language, spec.languages)) for spec in specs if spec.languages}
    if trained:
        everywhere, anywhere = frozenset.intersection(*trained), frozenset.union(*trained)
        groups[TRAINED_IN_ALL] = tuple(x for x in languages if base_language(x) in everywhere)
        groups[TRAINED_IN_NONE] = tuple(x for x in languages if base_language(x) not in anywhere)
    return {name: codes for name, codes in groups.items() if 0 < len(codes) < len(languages)}


def in_group(setting: str, languages: Iterable[str]) -> bool:
    """Return whether queries of a setting, `cross/de-en` or `de`, are in one of these languages."""
    kind, _, rest = setting.rpartition("/")
    query = BETWEEN.split(rest)[0] if kind == "cross" else rest
    return query in set(languages)
