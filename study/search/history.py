"""History of a search for its sampler: evaluated cells, from a plan and its results (law 5)."""

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
"""Complete cells before a model is fitted. Until then TPE draws cells at random, and the Gaussian
process from a quasi-random sequence, which covers a space more evenly."""

CellState = Literal["running", "complete", "failed", "pruned"]


@dataclass(frozen=True)
class EvaluatedCell:
    """A cell as a sampler sees it.

    Attributes:
        params: Values of the searched settings that have an effect.
        state: `complete` as soon as one seed has values, unless another was pruned.
        values: Mean of each objective over seeds, not negated; empty unless complete.
        violations: Amount by which each constraint is missed; at most 0 if it is kept.
        generation: Generation, for genetic samplers.
        reached: For a pruned cell, value by examples seen.
        spread: Standard deviation of the first objective over seeds; None below two seeds.
        seeds: Number of seeds with values.
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
        """Whether the cell is complete and keeps every constraint."""
        return self.state == "complete" and all(by <= 0 for by in self.violations)

    @property
    def missed(self) -> float:
        """Sum of the amounts by which constraints are missed; 0 if all are kept."""
        return sum(by for by in self.violations if by > 0)


def named(params: Mapping[str, Any]) -> str:
    """Return the key of a cell: equal for equal parameters."""
    return json.dumps(params, sort_keys=True)


def generation_of(search: SearchPlan, history: Sequence[EvaluatedCell]) -> int | None:
    """Return the generation of the next cell; None unless the sampler is genetic.

    A generation is full once it has as many complete cells as the population; failed ones are
    replaced.
    """
    if search.sampler not in GENETIC:
        return None
    complete = [cell.generation or 0 for cell in history if cell.state == "complete"]
    latest = max(complete, default=0)
    return latest + (complete.count(latest) >= search.population)


def losses(search: SearchPlan, cells: Sequence[EvaluatedCell]) -> NDArray[np.float64]:
    """Return objectives of complete cells, (cells, objectives), signed so that less is better."""
    signs = np.array([objective.sign for objective in search.objectives])
    values = np.array([cell.values for cell in cells], dtype=np.float64)
    signed: NDArray[np.float64] = -signs * values.reshape(len(cells), len(signs))
    return signed


def front(search: SearchPlan, cells: Sequence[EvaluatedCell]) -> list[EvaluatedCell]:
    """Return the Pareto front of the feasible cells, best first by the first objective.

    With one objective, the best cell and those equal to it.
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
"""Digest to value by examples seen, for pruned trials."""


def history_of(
    plan: Plan, results: Results, ended: Mapping[str, str], reached: Reached | None = None
) -> list[EvaluatedCell]:
    """List the cells that a search has proposed, in order.

    Neither confirmations nor the test are read.

    Args:
        plan: Plan with all proposals so far.
        results: Committed results by digest.
        ended: Digest to `failed` or `pruned`, for trials that ended without a result.
        reached: Values of pruned trials.
    """
    if plan.search is None:
        return []
    cells = (cell for cell in plan.cells if cell.proposal is not None)
    evaluated = (_evaluated(plan.search, cell, results, ended, reached or {}) for cell in cells)
    return [cell for cell in evaluated if cell is not None]


def searching(cell: Cell) -> list[PlannedTrial]:
    """Return a cell's trials that belong to the search, not to its confirmation."""
    return [trial for trial in cell.trials if trial.phase in ("search", "warm")]


def values_of(
    metrics: Iterable[str], validation: Mapping[str, float], known: Mapping[str, float]
) -> tuple[float, ...] | None:
    """Return the metrics of one trial; None if one is missing or not finite.

    Args:
        metrics: Names of the metrics.
        validation: Metrics of the validation benchmark.
        known: Estimates made before the trial ran, for names that begin with `cost/`.
    """
    values = [(known if name.startswith("cost/") else validation).get(name) for name in metrics]
    if any(value is None or not math.isfinite(value) for value in values):
        return None
    return tuple(float(value) for value in values if value is not None)


def _evaluated(
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
    complete = [row for row in rows if row is not None]
    states = [ended.get(trial.digest) for trial in trials if trial.digest not in results]
    state: CellState = "failed"
    if "pruned" in states:
        state, complete = "pruned", []  # the mean over surviving seeds would be biased upwards
    elif complete:
        state = "complete"
    elif None in states:
        state = "running"
    means = [statistics.fmean(column) for column in zip(*complete, strict=True)]
    limits = zip(search.constraints, means[len(objectives) :], strict=False)
    first = [row[0] for row in complete]
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
