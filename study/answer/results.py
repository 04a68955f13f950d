"""What committed trial folders say, by cell: the only source of figures."""

from __future__ import annotations

import statistics
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from study.answer.groups import Groups, language_groups, metric_of
from study.plan import Cell, Plan
from trainables.evaluation.names import best_value


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
        tested = self.cell.asked is not None and of == "metrics"
        results = self.fresh if tested else self.results
        found = (metric_of(result[of], metric, self.groups) for result in results)
        return [value for value in found if value is not None]

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
