"""From a plan and its committed results to the history that a sampler sees (law 5)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from study.search.history import CellState, Tried
from study.spaces.optimize import SearchPlan

if TYPE_CHECKING:
    from study.plan import Cell, Plan, PlannedTrial

Results = Mapping[str, Mapping[str, Any]]
"""Digest to `result.json`."""

Reached = Mapping[str, Mapping[int, float]]
"""Digest to value by examples seen, of trials that were pruned."""


def history_of(
    plan: Plan, results: Results, ended: Mapping[str, str], reached: Reached | None = None
) -> list[Tried]:
    """The cells that a search asked for, in that order.

    Trials that confirm a winner are no part of it, and the test is never read.

    Args:
        plan: With what was asked for so far.
        results: Committed ones.
        ended: Digest to `failed` or `pruned`, of trials that ended without a result.
        reached: Of pruned trials.
    """
    if plan.search is None:
        return []
    cells = (cell for cell in plan.cells if cell.asked is not None)
    found = (_tried(plan.search, cell, results, ended, reached or {}) for cell in cells)
    return [cell for cell in found if cell is not None]


def searching(cell: Cell) -> list[PlannedTrial]:
    """Trials that chose; not those that confirm the choice."""
    return [trial for trial in cell.trials if trial.phase in ("search", "warm")]


def values_of(
    metrics: Iterable[str], validation: Mapping[str, float], known: Mapping[str, float]
) -> tuple[float, ...] | None:
    """Metrics of one trial; None where one is missing or no finite number."""
    values = [(known if name.startswith("cost/") else validation).get(name) for name in metrics]
    if any(value is None or not math.isfinite(value) for value in values):
        return None
    return tuple(float(value) for value in values if value is not None)


def _tried(
    search: SearchPlan, cell: Cell, results: Results, ended: Mapping[str, str], reached: Reached
) -> Tried | None:
    trials = searching(cell)
    if not trials or cell.asked is None:
        return None
    objectives = [objective.metric for objective in search.objectives]
    metrics = objectives + [constraint.metric for constraint in search.constraints]
    rows = []
    for trial in trials:
        if trial.digest in results:
            validation = results[trial.digest]["validation"]
            rows.append(values_of(metrics, validation, cell.asked.known))
    whole = [row for row in rows if row is not None]
    states = [ended.get(trial.digest) for trial in trials if trial.digest not in results]
    state: CellState = "failed"
    if "pruned" in states:
        state, whole = "pruned", []  # the mean of its other seeds is of those that did well
    elif whole:
        state = "complete"
    elif None in states:
        state = "running"
    means = [statistics.fmean(column) for column in zip(*whole, strict=True)]
    limits = zip(search.constraints, means[len(objectives) :], strict=False)
    first = [row[0] for row in whole]
    seen = [dict(reached.get(trial.digest, {})) for trial in trials if state == "pruned"]
    return Tried(
        params=cell.params,
        state=state,
        values=tuple(means[: len(objectives)]),
        violations=tuple(constraint.violation(value) for constraint, value in limits),
        generation=cell.asked.generation,
        reached=max(seen, key=len, default={}),
        spread=statistics.stdev(first) if len(first) > 1 else None,
        seeds=len(first),
    )
