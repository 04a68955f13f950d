"""What is asked of a study, as coefficients of its cells; trials of equal seed make pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from study.answer.scores import Scores
from study.plan import Cell
from trainables.errors import UserError

Floats = NDArray[np.float64]
Params = Mapping[str, Any]
Scale = Literal["linear", "log2"]
Coefficients = dict[str, float]
"""Label of a cell to its weight; the contrast is the weighted sum of the cells' metrics."""

ByTrial = Mapping[str, Mapping[int | None, Scores]]
"""Label of a cell to the scores of its trials, by seed; None for the untrained cell's."""


@dataclass(frozen=True, eq=False)
class Paired:
    """A contrast within each seed.

    Attributes:
        seeds: (S,) those that every cell of the contrast has.
        sums: (S, G, C) weighted sums over queries.
        counts: (G, C) numbers of queries, the same for all trials.
    """

    seeds: tuple[int, ...]
    sums: Floats
    counts: Floats


def chosen(cells: Sequence[Cell], params: Params) -> list[Cell]:
    """Cells with these parameters; untrained ones only where `steps` is asked for.

    Raises:
        UserError: There is none.
    """
    found = [
        cell
        for cell in cells
        if all(key in cell.params and cell.params[key] == value for key, value in params.items())
        and (cell.params.get("steps") != 0 or "steps" in params)
    ]
    if not found:
        asked = " ".join(f"{key}={value}" for key, value in params.items())
        raise UserError(
            f"{asked}: no cell of this study; cells are {', '.join(c.label for c in cells)}"
        )
    return found


def difference(cells: Sequence[Cell], better: Params, than: Params) -> Coefficients:
    """The mean of the cells that match `better` minus the mean of those that match `than`.

    Raises:
        UserError: No cell matches one of them.
    """
    found: Coefficients = {}
    for sign, params in ((1.0, better), (-1.0, than)):
        matching = chosen(cells, params)
        for cell in matching:
            found[cell.label] = found.get(cell.label, 0.0) + sign / len(matching)
    return found


def slope(cells: Sequence[Cell], factor: str, scale: Scale = "linear") -> Coefficients:
    """Least squares slope over the levels of an ordered factor, the others averaged over.

    Args:
        cells: Of a plan; every level with the same levels of all other factors.
        factor: A parameter whose values are numbers.
        scale: `log2` for the change a doubling.

    Raises:
        UserError: Fewer than two levels, values that are no (positive) numbers, or a hole in the
            grid.
    """
    return _product(cells, {factor: scale})


def interaction(
    cells: Sequence[Cell], factors: tuple[str, str], scales: tuple[Scale, Scale]
) -> Coefficients:
    """How much the slope over one factor changes with each unit of the other.

    With two levels of each, a unit apart, it is the difference of differences.

    Raises:
        UserError: As `slope`.
    """
    return _product(cells, dict(zip(factors, scales, strict=True)))


def paired(scores: ByTrial, coefficients: Coefficients) -> Paired | None:
    """The contrast in every seed that all its cells have; None without such a seed.

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
    held = [trials.get(seed) or trials[None] for trials in cells.values() for seed in seeds]
    if not all(one.asks_the_same(held[0]) for one in held):
        raise UserError(
            f"{held[0].metric}: these cells were not asked the same questions, so they make no "
            "pairs; compare cells with the same benchmark and evaluation languages"
        )
    weights = np.repeat(list(coefficients.values()), len(seeds))
    table = np.zeros((len(seeds), *held[0].sums.shape))
    for place, (weight, one) in enumerate(zip(weights, held, strict=True)):
        table[place % len(seeds)] += weight * one.sums
    return Paired(tuple(seeds), table, held[0].counts)


def _product(cells: Sequence[Cell], factors: Mapping[str, Scale]) -> Coefficients:
    """The product of the factors' slope weights on a complete grid."""
    grid = [c for c in cells if c.params.get("steps") != 0 and set(factors) <= set(c.params)]
    weights = {factor: _weights(grid, factor, scale) for factor, scale in factors.items()}
    points: dict[tuple[str, ...], set[str]] = {}
    for cell in grid:
        rest = {key: value for key, value in cell.params.items() if key not in factors}
        point = tuple(str(cell.params[factor]) for factor in factors)
        points.setdefault(point, set()).add(repr(sorted(rest.items())))
    others = set().union(*points.values())
    if len(points) != math.prod(map(len, weights.values())) or any(
        held != others for held in points.values()
    ):
        raise UserError(f"{', '.join(factors)}: the study lacks cells of this grid")
    return {
        cell.label: math.prod(weights[factor][str(cell.params[factor])] for factor in factors)
        / len(others)
        for cell in grid
    }


def _weights(cells: Sequence[Cell], factor: str, scale: Scale) -> dict[str, float]:
    """Weight of each level such that the weighted sum is the least squares slope."""
    levels = {str(cell.params[factor]): cell.params[factor] for cell in cells}
    numbers = [
        v for v in levels.values() if isinstance(v, (int, float)) and not isinstance(v, bool)
    ]
    low = 0 if scale == "log2" else -math.inf
    if len(levels) < 2 or len(numbers) < len(levels) or min(numbers) <= low:
        raise UserError(
            f"{factor}: a slope needs two levels or more that are numbers"
            f"{' above 0' if scale == 'log2' else ''}; this study has {', '.join(levels) or 'none'}"
        )
    at = np.array([math.log2(value) if scale == "log2" else value for value in numbers])
    centred = at - at.mean()
    return dict(zip(levels, (centred / (centred**2).sum()).tolist(), strict=True))
