"""Where the variance of a metric over a study's trials comes from: exact on a complete grid.

Describes these trials and decides nothing. On a complete grid the parts are orthogonal, so they
add up to the whole, whatever the order they are asked in. Trials without a result are filled in
by the additive model of factors and seeds: of the ways that were measured the nearest to the
complete grid (docs/statistics.md), and it adds nothing to interactions.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.answer.groups import language_groups, metric_of
from study.plan import Cell, Plan
from trainables.errors import UserError

Floats = NDArray[np.float64]

MOST_MISSING = 0.2
"""Share of trials without a result above which nothing is decomposed."""


@dataclass(frozen=True)
class Part:
    """A part of the variance.

    Attributes:
        of: A factor, two of them with `x` between, `higher interactions`, `seed`, or `residual`:
            what seeds do differently from setting to setting.
        share: Of the whole; all parts add up to 1.
        by_chance: The share to be expected of it from the residual alone; None with one seed.
    """

    of: str
    share: float
    by_chance: float | None


@dataclass(frozen=True)
class Decomposition:
    """The variance of a metric over the trained cells and their seeds.

    Attributes:
        metric: On the test benchmark.
        parts: Largest first; none where there is nothing to decompose.
        trials: Places of the grid.
        filled: Those without a result.
        distinct: Trials; a place whose settings have the effect of another's holds the same one.
        note: Why there are no parts, else empty.
    """

    metric: str
    parts: tuple[Part, ...]
    trials: int
    filled: int
    distinct: int
    note: str = ""


def decompose(
    plan: Plan, cells: Sequence[Cell], results: Mapping[str, Mapping[str, Any]]
) -> Decomposition:
    """Shares of factors, their interactions and seeds in the variance of the primary metric.

    Args:
        plan: Of the study.
        cells: Those that answer; what was tuned is no factor.
        results: `result.json` by digest, of the trials that have one.
    """
    groups = language_groups(plan)
    trained = [cell for cell in cells if cell.is_arm]
    values = {
        trial.digest: metric_of(results[trial.digest]["metrics"], plan.primary, groups)
        for cell in trained
        for trial in cell.trials
        if trial.digest in results
    }
    known = {digest: value for digest, value in values.items() if value is not None}
    factors = levels_of(trained, plan.tuned)
    try:
        table = _table(trained, factors, known)
        missing = int(np.isnan(table).sum())
        parts = parts_of([*factors], fill(table))
    except UserError as error:
        return Decomposition(plan.primary, (), 0, 0, 0, str(error))
    distinct = {t.digest for cell in trained for t in cell.trials if t.seed is not None}
    return Decomposition(plan.primary, parts, table.size, missing, len(distinct))


def levels_of(cells: Sequence[Cell], apart: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Factors that the cells differ in, and their levels in the order of the cells."""
    found: dict[str, list[Any]] = {}
    for cell in cells:
        for key, value in cell.params.items():
            levels = found.setdefault(key, [])
            if key not in apart and value not in levels:
                levels.append(value)
    return {key: levels for key, levels in found.items() if len(levels) > 1}


def _table(
    cells: Sequence[Cell], factors: Mapping[str, Sequence[Any]], known: Mapping[str, float]
) -> Floats:
    """The metric by the level of each factor and the seed, (L1, …, Lk, S); nan for no result."""
    if not factors:
        raise UserError("all trained cells have the same settings")
    seeds = sorted({t.seed for cell in cells for t in cell.trials if t.seed is not None})
    table = np.full([*map(len, factors.values()), len(seeds)], np.nan)
    if len(cells) != table[..., 0].size or any(factors.keys() - cell.params for cell in cells):
        raise UserError("the cells that answer are no complete grid of the factors")
    for cell in cells:
        place = tuple(levels.index(cell.params[key]) for key, levels in factors.items())
        for trial in cell.trials:
            if trial.digest in known and trial.seed is not None:
                table[(*place, seeds.index(trial.seed))] = known[trial.digest]
    return table


def fill(table: Floats) -> Floats:
    """The table with the additive model's values where there are none.

    Raises:
        UserError: Too few are there.
    """
    absent = np.isnan(table)
    if absent.mean() > MOST_MISSING:
        raise UserError(
            f"{absent.sum()} of {table.size} trials have no result, more than {MOST_MISSING:.0%}"
        )
    if any(absent.all(tuple(set(range(table.ndim)) - {axis})).any() for axis in range(table.ndim)):
        raise UserError("a level or seed has no result at all")
    places = np.indices(table.shape).reshape(table.ndim, -1)
    design = np.concatenate(
        [np.eye(count)[at] for count, at in zip(table.shape, places, strict=True)], axis=1
    )
    there = ~absent.ravel()
    additive = design @ np.linalg.lstsq(design[there], table.ravel()[there], rcond=None)[0]
    return np.where(absent, additive.reshape(table.shape), table)


def parts_of(factors: Sequence[str], table: Floats) -> tuple[Part, ...]:
    """Sums of squares of every subset of the axes, put together under their names.

    Raises:
        UserError: The trials do not differ.
    """
    total = float(((table - table.mean()) ** 2).sum())
    if total <= 1e-18 * table.size:
        raise UserError("all trials have the same value")
    shares: dict[str, list[float]] = {}
    for within in itertools.product((False, True), repeat=table.ndim):
        if any(within):
            share, freedom = _effect(table, within)
            found = shares.setdefault(_name(factors, within), [0.0, 0.0])
            found[0] += share / total
            found[1] += freedom
    residual = shares.get("residual", [0.0, 0.0])
    noise = residual[0] / residual[1] if residual[1] else None
    parts = [
        Part(of, share, None if noise is None else noise * freedom)
        for of, (share, freedom) in shares.items()
        if freedom
    ]
    return tuple(sorted(parts, key=lambda part: -part.share))


def _effect(table: Floats, within: Sequence[bool]) -> tuple[float, float]:
    """Sum of squares and degrees of freedom of the contrasts in just these axes."""
    effect, freedom = table, 1.0
    for axis, inside in enumerate(within):
        means = effect.mean(axis, keepdims=True)
        effect = effect - means if inside else means
        freedom *= table.shape[axis] - 1 if inside else 1
    return float((effect**2).sum()) * table.size / effect.size, freedom


def _name(factors: Sequence[str], within: Sequence[bool]) -> str:
    held = [factor for factor, inside in zip(factors, within, strict=False) if inside]
    if within[-1]:
        return "residual" if held else "seed"
    return " x ".join(held) if len(held) <= 2 else "higher interactions"
