"""What committed trial folders say, by cell: the only source of figures."""

from __future__ import annotations

import re
import statistics
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.state.plan import Cell, Plan, label_of
from trainables.data.languages import base_language
from trainables.data.resources import by_level, by_pretraining
from trainables.evaluation.metric_names import best_value

COLUMNS = (
    "map/mono",
    "map/cross",
    "map/multi",
    "map/pool_same_language",
    "map/t2i",
    "map/i2t",
    "map/i2t_multi",
    "rank_distance",
)
"""Macro means that the table shows, where the trials have them."""

Groups = Mapping[str, tuple[str, ...]]
"""Name to languages, in ascending order."""

TRAINED_IN_ALL, TRAINED_IN_NONE = "trained-in-all", "trained-in-none"

BETWEEN = re.compile(r"-(?=[a-z])")
"""Between two codes: scripts and regions begin with a capital or a digit, languages do not."""


@dataclass(frozen=True)
class CellResult:
    """The committed results of one cell.

    Attributes:
        cell: Which cell.
        results: `result.json` of each committed trial, in the order of the seeds.
        groups: Languages that metrics may be asked of together.
        pruned: Trials of it that were stopped early: its mean is of those that did well.
        fresh: Of a cell that a search asked for, the results that confirm it. Only these are of
            the test: the others chose the cell, and `results` says how by the validation benchmark.
    """

    cell: Cell
    results: tuple[dict[str, Any], ...]
    groups: Groups
    pruned: int = 0
    fresh: tuple[dict[str, Any], ...] = ()

    def values(self, metric: str, of: str = "metrics") -> list[float]:
        """The metric of each trial that has it; `of` is `metrics` (test) or `validation`."""
        tested = self.cell.proposal is not None and of == "metrics"
        results = self.fresh if tested else self.results
        numbers = (metric_of(result[of], metric, self.groups) for result in results)
        return [value for value in numbers if value is not None]

    def summary(self, metric: str) -> tuple[float, float | None] | None:
        """Mean and standard deviation over seeds; no deviation below two trials."""
        if not (values := self.values(metric)):
            return None
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def by_cell(
    plan: Plan, results: dict[str, dict[str, Any]], pruned: Container[str] = ()
) -> list[CellResult]:
    """The cells of a plan in its order, with the results they have so far.

    Args:
        plan: Of the study.
        results: By digest.
        pruned: Digests of trials that were stopped early.
    """
    groups = language_groups(plan)

    def of(cell: Cell, *, confirming: bool) -> tuple[dict[str, Any], ...]:
        trials = (t for t in cell.trials if (t.phase == "confirm") is confirming)
        return tuple(results[trial.digest] for trial in trials if trial.digest in results)

    return [
        CellResult(
            cell,
            of(cell, confirming=False),
            groups,
            sum(t.digest in pruned and t.digest not in results for t in cell.trials),
            of(cell, confirming=True),
        )
        for cell in plan.cells
    ]


def best_cell(plan: Plan, cells: list[CellResult]) -> dict[str, Any] | None:
    """The trained cell with the best mean of the primary metric on the validation benchmark.

    None where the study has no validation benchmark: nothing is selected on the test (law 5). A
    cell with a pruned trial is passed over: the mean of its other seeds is of those that did well.
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
    """Of the cells that differ only in tuned parameters, the best on the validation benchmark.

    By the mean of the primary metric over seeds, of cells that have all of them; the first of
    equals. Every arm has the same number of candidates, and the test is not looked at (law 5). An
    arm with a candidate that lacks a trial has none yet: what is missing could be the best.
    """
    if not plan.tuned:
        return [cell.cell for cell in cells]
    cells_of = []
    for candidates in _arms(plan, cells).values():
        values = [cell.values(plan.primary, "validation") for cell in candidates]
        if len(candidates) == 1:
            cells_of.append(candidates[0].cell)
        elif all(len(v) == len(c.cell.trials) for v, c in zip(values, candidates, strict=True)):
            means = [statistics.fmean(v) for v in values]
            best = means.index(best_value(plan.primary, means))
            cells_of.append(candidates[best].cell)
    return cells_of


def waiting(plan: Plan, cells: Sequence[CellResult]) -> list[Cell]:
    """The first candidate of each arm for which no cell answers, in the plan's order.

    A comparison that the arm is meant in must not be made of the others alone.
    """
    answered = {arm_label(plan, cell) for cell in answering(plan, cells)}
    arms = _arms(plan, cells) if plan.tuned else {}
    return [held[0].cell for label, held in arms.items() if label not in answered]


def _arms(plan: Plan, cells: Sequence[CellResult]) -> dict[str, list[CellResult]]:
    """Cells that differ only in what was tuned, by the label of their arm."""
    by_arm: dict[str, list[CellResult]] = {}
    for cell in cells:
        by_arm.setdefault(arm_label(plan, cell.cell), []).append(cell)
    return by_arm


def arm_label(plan: Plan, cell: Cell) -> str:
    """The label of a cell's arm: without what was tuned for it."""
    return label_of({k: v for k, v in cell.params.items() if k not in plan.tuned})


def metric_of(metrics: Mapping[str, float], name: str, groups: Groups) -> float | None:
    """A metric of a benchmark or of a group of its languages; None where there is none."""
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
    """The groups of the test benchmark's languages; a group that is empty or all of them is none.

    `low-resource` and `high-resource` by Joshi's classes, `xlm-r-read-little` and `-much` by text
    in pre-training (`trainables.data.resources`); and `trained-in-all` and `trained-in-none` of the
    arms: where these train on different languages, between the two lie those whose figures mix
    being trained on with everything else. A language counts as trained on in whatever script or
    region: `zh-Hant` and `zh-HK` where an arm trains on `zh`.
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
    return {name: held for name, held in groups.items() if 0 < len(held) < len(languages)}


def in_group(setting: str, languages: Iterable[str]) -> bool:
    """Whether queries of a setting, `cross/de-en` or `de`, are in one of these languages."""
    kind, _, rest = setting.rpartition("/")
    query = BETWEEN.split(rest)[0] if kind == "cross" else rest
    return query in set(languages)
