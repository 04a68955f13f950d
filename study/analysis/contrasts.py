"""Contrasts: comparisons of cells that answer hypotheses, estimated from paired trials."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.analysis.scores import Scores
from study.spaces.hypothesis import Slope
from study.state.plan import Cell, Plan, label_of
from trainables.errors import UserError
from trainables.evaluation.metric_names import lower_is_better

Floats = NDArray[np.float64]

Params = Mapping[str, Any]

Coefficients = dict[str, float]
"""Label of a cell to its weight; a contrast is the weighted sum of the cells' metrics."""

Stored = Mapping[str, Mapping[str, Scores]]
"""Digest to metric to scores, for trials that have a result."""

BySeed = dict[int | None, Scores]

ByTrial = Mapping[str, Mapping[int | None, Scores]]
"""Label of a cell to the scores of its trials by seed; the untrained cell's seed is None."""

UNITS = {"log2": "doubling", "order": "step"}
"""Unit that a slope is expressed per, by the scale of its factor."""


@dataclass(frozen=True, eq=False)
class Paired:
    """A contrast within each seed.

    Attributes:
        seeds: (S,) seeds that every cell of the contrast has.
        sums: (S, G, C) weighted sums over queries, by seed, cluster and setting.
        counts: (G, C) numbers of queries, the same for all trials.
    """

    seeds: tuple[int, ...]
    sums: Floats
    counts: Floats


@dataclass(frozen=True)
class Contrast:
    """One contrast of a hypothesis.

    Attributes:
        what: Its name, such as `alpha=1 minus alpha=0`.
        coefficients: Weights of the cells; empty if the study cannot form the contrast.
        problem: Why there are no coefficients, else empty.
        per: Unit of a slope: `doubling`, `step` or `unit`; empty for a plain difference.
    """

    what: str
    coefficients: Coefficients
    problem: str = ""
    per: str = ""


def contrasts_of(plan: Plan, hypothesis: Mapping[str, Any]) -> list[Contrast]:
    """List the contrasts of a hypothesis: one, or one for each cell that must be beaten."""
    over = Slope.model_validate(hypothesis["slope"]) if "slope" in hypothesis else None
    if "better" not in hypothesis:
        return [_contrast_of(plan, None, over)]
    than = hypothesis["than"]
    rivals = than if isinstance(than, (list, tuple)) else [than]
    return [_contrast_of(plan, (hypothesis["better"], rival), over) for rival in rivals]


def expects_less(hypothesis: Mapping[str, Any]) -> bool:
    """Return whether the hypothesis expects a negative contrast."""
    return lower_is_better(hypothesis["metric"]) != (hypothesis.get("expected") == "worse")


def _contrast_of(
    plan: Plan, sides: tuple[Mapping[str, Any], Mapping[str, Any]] | None, over: Slope | None
) -> Contrast:
    words = [" minus ".join(map(label_of, sides))] if sides else []
    per = UNITS.get(over.scale or "", "unit") if over else ""
    what = ", ".join([*words, _slope_name(over, per)] if over else words)
    try:
        if over is not None:
            return Contrast(what, slope(plan.cells, over, sides, plan.tuned), per=per)
        assert sides is not None
        return Contrast(what, difference(plan.cells, *sides))
    except UserError as error:
        return Contrast(what, {}, str(error), per)


def _slope_name(over: Slope, unit: str) -> str:
    """Describe a slope: `change per doubling of batch_size (16 to 128) at alpha=0.5`."""
    span = f" ({over.levels[0]} to {over.levels[-1]})" if over.levels else ""
    where = f" at {label_of(over.where)}" if over.where else ""
    return f"change per {unit} of {over.factor}{span}{where}"


def chosen(cells: Sequence[Cell], params: Params) -> list[Cell]:
    """Select the cells that match these parameters.

    Untrained cells match only if `params` names `steps`, and cells beside the grid only if it names
    all that they set.

    Raises:
        UserError: No cell matches.
    """
    matching = [
        cell
        for cell in cells
        if all(key in cell.params and cell.params[key] == value for key, value in params.items())
        and (
            cell.is_arm
            or (cell.params.keys() <= params.keys() if cell.beside else "steps" in params)
        )
    ]
    if not matching:
        conditions = " ".join(f"{key}={value}" for key, value in params.items())
        raise UserError(
            f"{conditions}: no cell of this study; cells are {', '.join(c.label for c in cells)}"
        )
    return matching


def difference(cells: Sequence[Cell], better: Params, than: Params) -> Coefficients:
    """Contrast the mean of the cells that match `better` with that of those that match `than`.

    Raises:
        UserError: No cell matches one of them.
    """
    coefficients: Coefficients = {}
    for sign, params in ((1.0, better), (-1.0, than)):
        for label, share in mean(chosen(cells, params)).items():
            coefficients[label] = coefficients.get(label, 0.0) + sign * share
    return coefficients


def slope(
    cells: Sequence[Cell],
    over: Slope,
    sides: tuple[Params, Params] | None = None,
    apart: Collection[str] = (),
) -> Coefficients:
    """Return coefficients of a least squares slope over an ordered factor; others are averaged.

    Args:
        cells: Cells of a plan; all levels must have the same levels of all other factors.
        over: The factor, its levels and the unit of the slope.
        sides: Parameters ahead and behind, for the slope of a difference (an interaction; with two
            levels a unit apart, the difference of differences). None for the metric itself.
        apart: Tuned parameters, which may differ between levels.

    Raises:
        UserError: Fewer than two levels, levels that are not (positive) numbers, no such cell, or
            an incomplete grid.
    """
    weights = _weights(over)
    coefficients: Coefficients = {}
    groups = by_level(chosen(cells, over.where), over.factor, over.levels, apart)
    for weight, group in zip(weights, groups, strict=True):
        means = difference(group, *sides) if sides else mean(group)
        for label, share in means.items():
            coefficients[label] = coefficients.get(label, 0.0) + weight * share
    return coefficients


def by_level(
    cells: Sequence[Cell], factor: str, levels: Sequence[Any], apart: Collection[str] = ()
) -> list[list[Cell]]:
    """Group trained cells by the levels of a factor; groups must differ in it alone.

    Raises:
        UserError: A level has no cells, or other ones than the first level.
    """
    groups = [chosen(cells, {factor: level}) for level in levels]
    rests = [{_rest(cell, {factor, *apart}) for cell in group} for group in groups]
    if any(rest != rests[0] for rest in rests):
        raise UserError(
            f"{factor}: the study lacks cells of this grid, so that its levels do not differ "
            "in it alone"
        )
    return groups


def mean(cells: Sequence[Cell]) -> Coefficients:
    """Return coefficients of the plain mean of some cells."""
    return {cell.label: 1 / len(cells) for cell in cells}


def by_trial(cells: Sequence[Cell], scores: Stored, metric: str) -> dict[str, BySeed]:
    """Map label to seed to scores, for the trials of these cells that have the metric."""
    return {
        cell.label: {
            trial.seed: scores[trial.digest][metric]
            for trial in cell.trials
            if metric in scores.get(trial.digest, {})
        }
        for cell in cells
    }


def paired(scores: ByTrial, coefficients: Coefficients) -> Paired | None:
    """Form the contrast within each seed that all its trained cells have.

    Returns:
        None if there is no such seed.

    Raises:
        UserError: The cells were not asked the same questions.
    """
    cells = {label: scores.get(label, {}) for label in coefficients}
    trained = [set(trials) for trials in cells.values() if None not in trials]
    seeds = (
        sorted(seed for seed in set.intersection(*trained) if seed is not None) if trained else []
    )
    if not seeds:
        return None
    scored = [trials.get(seed) or trials[None] for trials in cells.values() for seed in seeds]
    if not all(trial.asks_the_same(scored[0]) for trial in scored):
        raise UserError(
            f"{scored[0].metric}: these cells were not asked the same questions, so they make no "
            "pairs; compare cells with the same benchmark and evaluation languages"
        )
    weights = np.repeat(list(coefficients.values()), len(seeds))
    table = np.zeros((len(seeds), *scored[0].sums.shape))
    for index, (weight, trial) in enumerate(zip(weights, scored, strict=True)):
        table[index % len(seeds)] += weight * trial.sums
    return Paired(tuple(seeds), table, scored[0].counts)


def _rest(cell: Cell, factors: Collection[str]) -> str:
    return repr(sorted((k, v) for k, v in cell.params.items() if k not in factors))


def _weights(over: Slope) -> list[float]:
    """Return a weight for each level that makes the weighted sum the least squares slope."""
    levels = over.levels
    values = list(range(len(levels))) if over.scale == "order" else levels
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    low = 0 if over.scale == "log2" else -math.inf
    if len(set(levels)) < 2 or len(numbers) < len(levels) or min(numbers) <= low:
        raise UserError(
            f"{over.factor}: a slope needs two levels or more that are numbers"
            f"{' above 0' if over.scale == 'log2' else ''}; this study has "
            f"{', '.join(map(str, levels)) or 'none'}"
        )
    positions = np.array([math.log2(value) if over.scale == "log2" else value for value in numbers])
    centred = positions - positions.mean()
    return list((centred / (centred**2).sum()).tolist())
