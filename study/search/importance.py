"""Importance of settings in a search: exact decomposition of a complete grid, else f-ANOVA.

An adaptive sampler gathers its cells in good regions, so shares describe what mattered among the
cells that were tried, and no more. Only complete cells count: the value of a pruned one is of
another fidelity, and a failed one has no value.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import create_trial

from study.analysis.exploration import parts_of
from study.search.history import EvaluatedCell, named
from study.spaces import grid as finite
from study.spaces.optimize import SearchPlan
from study.spaces.ranges import Choice, Range
from trainables.errors import UserError

optuna.logging.set_verbosity(optuna.logging.WARNING)

LEAST = 2
"""Fewest complete cells from which shares are computed."""

FEW = 20
"""Fewest complete cells from which f-ANOVA's forest needs no warning."""

EXACT = "exact decomposition of a complete grid"
FOREST = "f-ANOVA"

REST = "interactions"
"""Name of the share that no setting explains alone."""


@dataclass(frozen=True)
class Importance:
    """Shares of the variance of an objective over the complete cells.

    Attributes:
        metric: The objective, on the validation benchmark.
        shares: Share of each setting alone and of interactions, largest first.
        cells: Number of complete cells.
        method: `EXACT` or `FOREST`; empty if there are no shares.
        note: Why there are no shares, or a warning about them; may be empty.
    """

    metric: str
    shares: tuple[tuple[str, float], ...]
    cells: int
    method: str
    note: str = ""


def importance(
    search: SearchPlan, cells: Sequence[EvaluatedCell], objective: int = 0
) -> Importance:
    """Compute the share of each setting in the variance of an objective.

    Args:
        search: The search; its seed is the forest's too.
        cells: Cells as a sampler sees them, all of them points of the space.
        objective: Index of the objective.
    """
    metric = search.objectives[objective].metric
    known = {named(cell.params): cell for cell in cells if cell.state == "complete"}
    values = {name: cell.values[objective] for name, cell in known.items()}
    if len(known) < LEAST:
        note = f"importance needs {LEAST} complete cells with different settings; {len(known)} are"
        return Importance(metric, (), len(known), "", f"{note} there")
    if max(values.values()) == min(values.values()):
        return Importance(metric, (), len(known), "", "all complete cells have the same value")
    if shares := _exact(search, values):
        return Importance(metric, _ordered(shares), len(known), EXACT)
    shares = _forest(search, list(known.values()), objective)
    note = f"a forest over {len(known)} cells knows little" if len(known) < FEW else ""
    return Importance(metric, _ordered(shares), len(known), FOREST, note)


def _ordered(shares: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(shares.items(), key=lambda pair: -pair[1]))


def _exact(search: SearchPlan, values: Mapping[str, float]) -> dict[str, float]:
    """Decompose a complete grid; empty if a combination of the settings has no value."""
    ranges = search.ranges
    unconditional = all(searched.when is None for searched in ranges.values())
    if not unconditional or finite.size(ranges) != len(values):
        return {}
    factors = [key for key, searched in ranges.items() if (searched.count or 0) > 1]
    shape = [ranges[key].count or 0 for key in factors]
    points = [values.get(named(point)) for point in finite.points(ranges)]
    if any(value is None for value in points):
        return {}
    table = np.array(points, float).reshape([*shape, 1])
    try:
        parts = parts_of(factors, table)
    except UserError:
        return {}
    return {part.of: part.share for part in parts}


def _forest(search: SearchPlan, cells: Sequence[EvaluatedCell], objective: int) -> dict[str, float]:
    """Estimate main effects by f-ANOVA (Hutter, Hoos and Leyton-Brown 2014), and the rest.

    The forest underestimates settings of small effect and assigns the difference to interactions.
    Optuna needs every setting in each cell, so one without an effect there takes the middle of its
    range; its share thus includes whether it has an effect at all.
    """
    ranges = search.ranges
    distributions: dict[str, BaseDistribution] = {
        key: _distribution(searched) for key, searched in ranges.items()
    }
    study = optuna.create_study()
    middle = {key: searched.at(0.5) for key, searched in ranges.items()}
    for cell in cells:
        params = middle | cell.params
        trial = create_trial(
            value=cell.values[objective],
            params={key: _encoded(ranges[key], params[key]) for key in ranges},
            distributions=distributions,
        )
        study.add_trial(trial)
    evaluator = FanovaImportanceEvaluator(seed=search.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explained = evaluator.evaluate(study, params=list(ranges))
    shares = {key: float(share) for key, share in explained.items() if math.isfinite(share)}
    return shares | {REST: max(0.0, 1.0 - sum(shares.values()))}


def _distribution(searched: Range) -> FloatDistribution:
    """Map a range onto a line on which all its values have equal weight; ratios become differences.

    A choice is not left to Optuna, which would give each value a column of its own and average over
    rows that have several values at once, or none.
    """
    if isinstance(searched, Choice):
        return FloatDistribution(0.0, float(searched.count))
    edge = 0.5 * (searched.step or 1) if searched.count is not None else 0.0
    low, high = searched.low - edge, searched.high + edge
    if searched.log:
        return FloatDistribution(math.log(low), math.log(high))
    return FloatDistribution(float(low), float(high))


def _encoded(searched: Range, value: Any) -> float:
    if isinstance(searched, Choice):
        return searched.index(value) + 0.5
    return math.log(value) if searched.log else float(value)
