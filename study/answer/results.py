"""What committed trial folders say, by cell: the only source of figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from study.answer.groups import Groups, language_groups, metric_of
from study.plan import Cell, Plan
from study.search.history import front
from study.search.seen import history_of, searching
from study.spaces.optimize import SearchPlan
from trainables.places import Place, at_once
from trainables.trial_folder import NotCommittedError, TrialFolder

T = TypeVar("T")


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


def committed_results(root: Place, digests: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Results by digest, of those trials that have one that may be believed."""
    return each_committed(root, digests, lambda digest: TrialFolder.of(root, digest).result())


def each_committed(
    root: Place, digests: Iterable[str], read: Callable[[str], T | None]
) -> dict[str, T]:
    """What `read` finds of each trial by digest, where it has something that may be believed.

    Args:
        root: Of the trial folders.
        digests: Of the trials.
        read: Given a digest; None or `NotCommittedError` is nothing.
    """

    def found(digest: str) -> T | None:
        try:
            return read(digest)
        except NotCommittedError:
            return None

    digests = list(digests)
    pairs = zip(digests, at_once(root, found, digests), strict=True)
    return {digest: value for digest, value in pairs if value is not None}


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
    """The trained cell with the highest mean of the primary metric on the validation benchmark.

    Of a search, the best by its first objective that keeps to its constraints; one of several.

    None where the study has no validation benchmark: nothing is selected on the test (law 5). A
    cell with a pruned trial is passed over: the mean of its other seeds is of those that did well.
    """
    if plan.search is not None:
        return _found(plan, plan.search, cells)
    scored = [
        (statistics.fmean(values), cell.cell.params)
        for cell in cells
        if (values := cell.values(plan.primary, "validation"))
        and cell.cell.is_arm
        and not cell.pruned
    ]
    if not scored:
        return None
    value, params = max(scored, key=lambda pair: pair[0])
    return {"params": params, "metric": f"validation/{plan.primary}", "value": value}


def _found(plan: Plan, search: SearchPlan, cells: Sequence[CellResult]) -> dict[str, Any] | None:
    """The first cell of a search's front."""
    results: dict[str, dict[str, Any]] = {}
    ended: dict[str, str] = {}
    for cell in cells:
        trials = iter(cell.results)
        for trial in searching(cell.cell):
            digest = trial.digest
            if cell.pruned:
                ended[digest] = "pruned"
            elif (result := next(trials, None)) is not None:
                results[digest] = result
    best = front(search, history_of(plan, results, ended))
    if not best:
        return None
    metric = f"validation/{search.objectives[0].metric}"
    return {"params": best[0].params, "metric": metric, "value": best[0].values[0]}
