"""The history that a sampler goes by: evaluated cells, from a plan and its results (law 5)."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from study.spaces.optimize import GENETIC, SearchPlan

if TYPE_CHECKING:
    from study.state.plan import Cell, Plan, PlannedTrial

STARTUP = 10
"""Complete cells that a model needs; until then cells are random for TPE and quasi-random for a
Gaussian process, which covers a space more evenly."""

CellState = Literal["running", "complete", "failed", "pruned"]


@dataclass(frozen=True)
class EvaluatedCell:
    """A cell as a sampler sees it.

    Attributes:
        params: Its settings, of those searched that have an effect.
        state: `complete` with the first value that it has, of whichever seed.
        values: Mean over seeds of each objective, as it is (not negated); empty unless complete.
        violations: By how much it misses each constraint, at most 0 where it does not.
        generation: Of a genetic sampler.
        reached: Of a pruned cell, value by examples seen.
        spread: Standard deviation of the first objective over seeds; None below two.
        seeds: Number of the values.
    """

    params: dict[str, Any]
    state: CellState = "running"
    values: tuple[float, ...] = ()
    violations: tuple[float, ...] = ()
    generation: int | None = None
    reached: dict[int, float] = field(default_factory=dict)
    spread: float | None = None
    seeds: int = 0

    @property
    def feasible(self) -> bool:
        """Complete, and within every constraint."""
        return self.state == "complete" and all(by <= 0 for by in self.violations)

    @property
    def missed(self) -> float:
        """By how much all constraints together are missed; 0 where none is."""
        return sum(by for by in self.violations if by > 0)


def named(params: Mapping[str, Any]) -> str:
    """The same text for the same cell."""
    return json.dumps(params, sort_keys=True)


def generation_of(search: SearchPlan, history: Sequence[EvaluatedCell]) -> int | None:
    """The generation that the next cell belongs to; None where the sampler has none.

    A generation is full once as many of its cells are complete as a population has; those that
    failed are made up for.
    """
    if search.sampler not in GENETIC:
        return None
    complete = [cell.generation or 0 for cell in history if cell.state == "complete"]
    latest = max(complete, default=0)
    return latest + (complete.count(latest) >= search.population)


def losses(search: SearchPlan, cells: Sequence[EvaluatedCell]) -> NDArray[np.float64]:
    """(cells, objectives) values of complete cells, signed so that less is better."""
    signs = np.array([objective.sign for objective in search.objectives])
    values = np.array([cell.values for cell in cells], dtype=np.float64)
    signed: NDArray[np.float64] = -signs * values.reshape(len(cells), len(signs))
    return signed


def front(search: SearchPlan, cells: Sequence[EvaluatedCell]) -> list[EvaluatedCell]:
    """The cells within all constraints that no other beats in every objective, best first.

    Of one objective that is the best cell, and those equal to it.
    """
    known = [cell for cell in cells if cell.feasible]
    if not known:
        return []
    values = losses(search, known)
    behind = np.all(values[:, None] >= values[None], axis=2)
    worse = np.any(values[:, None] > values[None], axis=2)
    ahead = np.flatnonzero(~np.any(behind & worse, axis=1))
    order = sorted(ahead, key=lambda i: (values[i].tolist(), i))
    return [known[i] for i in order]


Results = Mapping[str, Mapping[str, Any]]
"""Digest to `result.json`."""

Reached = Mapping[str, Mapping[int, float]]
"""Digest to value by examples seen, of trials that were pruned."""


def history_of(
    plan: Plan, results: Results, ended: Mapping[str, str], reached: Reached | None = None
) -> list[EvaluatedCell]:
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
    cells = (cell for cell in plan.cells if cell.proposal is not None)
    evaluated = (_tried(plan.search, cell, results, ended, reached or {}) for cell in cells)
    return [cell for cell in evaluated if cell is not None]


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
) -> EvaluatedCell | None:
    trials = searching(cell)
    if not trials or cell.proposal is None:
        return None
    objectives = [objective.metric for objective in search.objectives]
    metrics = objectives + [constraint.metric for constraint in search.constraints]
    rows = []
    for trial in trials:
        if trial.digest in results:
            validation = results[trial.digest]["validation"]
            rows.append(values_of(metrics, validation, cell.proposal.known))
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
    curves = [dict(reached.get(trial.digest, {})) for trial in trials if state == "pruned"]
    return EvaluatedCell(
        params=cell.params,
        state=state,
        values=tuple(means[: len(objectives)]),
        violations=tuple(constraint.violation(value) for constraint, value in limits),
        generation=cell.proposal.generation,
        reached=max(curves, key=len, default={}),
        spread=statistics.stdev(first) if len(first) > 1 else None,
        seeds=len(first),
    )
