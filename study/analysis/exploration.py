"""Exploratory analyses beside the hypotheses: best levels and variance (ANOVA); never a verdict."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.analysis.contrasts import ByTrial, by_level, mean, paired
from study.analysis.inference import bootstrap
from study.analysis.results import language_groups, metric_of
from study.analysis.scores import Scores, stored_scores
from study.state.committed import each_committed
from study.state.plan import Cell, Plan
from trainables.errors import UserError
from trainables.evaluation.metric_names import lower_is_better
from trainables.storage.paths import AnyPath

Floats = NDArray[np.float64]

RESAMPLES = 2000
"""Resamples; a share of 5 % then has a standard error of half a percentage point."""

WITHIN_REACH = 0.05
"""Smallest share of resamples at which a level counts among those that may be best."""

UNORDERED = ("subset_seed",)
"""Factors that are searched to average over them, not to choose a level."""

MOST_TRIALS = 1000
"""Most trials whose ranks are read; more would take minutes."""

MOST_MISSING = 0.2
"""Largest fraction of trials without a result at which variance is still decomposed."""


@dataclass(frozen=True)
class Level:
    """A level of a factor, its mean metric, and the share of resamples in which it is best."""

    level: Any
    mean: float
    share: float


@dataclass(frozen=True)
class BestLevel:
    """Levels of a factor, and how likely each is the best.

    Attributes:
        factor: Name of the factor.
        metric: Metric of the validation benchmark by which levels are compared.
        levels: Levels, ascending if they are numbers, else in the order of the space.
        averaged: Factors that are averaged over.
        seeds: Number of seeds that all cells have.
        clusters: Number of clusters of the validation benchmark.
        note: Why there are no levels, else empty.
        at_edge: Whether the likeliest is the first or last level, so that a better one may lie
            beyond.
    """

    factor: str
    metric: str
    levels: tuple[Level, ...]
    averaged: tuple[str, ...]
    seeds: int
    clusters: int
    note: str
    at_edge: bool = False

    @property
    def likely(self) -> tuple[Level, ...]:
        """Levels that are best in at least `WITHIN_REACH` of the resamples, likeliest first."""
        within = [level for level in self.levels if level.share >= WITHIN_REACH]
        return tuple(sorted(within, key=lambda level: -level.share))


@dataclass(frozen=True)
class Part:
    """A part of the variance.

    Attributes:
        of: A factor, two of them joined by ` x `, `higher interactions`, `seed`, or `residual`: the
            interactions of seeds with factors.
        share: Fraction of the total; all parts add up to 1.
        by_chance: Share to expect from the residual alone; None with one seed.
    """

    of: str
    share: float
    by_chance: float | None


@dataclass(frozen=True)
class Decomposition:
    """Variance of a metric over the trained cells and their seeds.

    Attributes:
        metric: Metric of the test benchmark.
        parts: Parts, largest first; empty if nothing can be decomposed.
        trials: Number of places in the grid of cells and seeds.
        filled: Number of places without a result, which the additive model fills in.
        distinct: Number of distinct trials; cells with equal specs share them.
        note: Why there are no parts, else empty.
    """

    metric: str
    parts: tuple[Part, ...]
    trials: int
    filled: int
    distinct: int
    note: str = ""


@dataclass(frozen=True)
class Exploration:
    """Analyses that were not declared.

    Attributes:
        best: The best level of each factor, on the validation benchmark.
        note: Why there are no best levels, else empty.
        variance: Variance of the primary metric on the test benchmark, by factor.
    """

    best: tuple[BestLevel, ...]
    note: str
    variance: Decomposition


def explore(
    plan: Plan, cells: Sequence[Cell], root: AnyPath, results: Mapping[str, Mapping[str, Any]]
) -> Exploration:
    """Find the best levels of a study and decompose its variance.

    Args:
        plan: Plan of the study.
        cells: Cells that answer.
        root: Root of the trial folders.
        results: `result.json` by digest, for trials that have one.

    Raises:
        UserError: A committed file of ranks cannot be read.
    """
    if plan.search is not None:
        why = (
            "the cells of a search were chosen by their results; its importances are in the report"
        )
        return Exploration((), why, Decomposition(plan.primary, (), 0, 0, 0, why))
    trained = [cell for cell in cells if cell.is_arm]
    digests = [t.digest for cell in trained for t in cell.trials if t.digest in results]
    variance = decompose(plan, cells, results)
    if not any(results[digest]["validation"] for digest in digests):
        why = "without a validation benchmark nothing is selected; the test must not be read"
        return Exploration((), why, variance)
    if len(digests) > MOST_TRIALS:
        return Exploration((), f"more than {MOST_TRIALS} trials were not read again", variance)
    scores = _validation(plan, root, digests)
    return Exploration(tuple(best_levels(plan, cells, scores)), "", variance)


def validation_metric(plan: Plan) -> str:
    """Return the name of the primary metric on the validation benchmark, for `stored_scores`."""
    return f"validation:{plan.primary}"


def _validation(plan: Plan, root: AnyPath, digests: Sequence[str]) -> dict[str, Scores]:
    """Read the scores of the primary metric on the validation benchmark."""
    metric, groups = validation_metric(plan), language_groups(plan)

    def read(digest: str) -> Scores | None:
        return stored_scores(root, digest, [metric], groups).get(metric)

    return each_committed(root, digests, read)


def best_levels(
    plan: Plan, cells: Iterable[Cell], scores: Mapping[str, Scores], resamples: int = RESAMPLES
) -> list[BestLevel]:
    """Find the best level of each searched factor.

    Args:
        plan: Plan of the study.
        cells: Cells that answer.
        scores: Scores of `validation_metric`, by digest.
        resamples: Resamples of seeds and clusters.
    """
    trained = [cell for cell in cells if cell.is_arm]
    factors = levels_of(trained, plan.tuned)
    trials: ByTrial = {
        cell.label: {t.seed: scores[t.digest] for t in cell.trials if t.digest in scores}
        for cell in trained
    }
    by_factor = []
    for factor, levels in factors.items():
        if factor in UNORDERED:
            continue
        averaged = tuple(name for name in factors if name != factor)
        try:
            levels = _ascending(levels)
            groups = by_level(trained, factor, levels, plan.tuned)
            values, seeds, clusters = _resampled(groups, trials, plan.primary, resamples)
        except UserError as error:
            by_factor.append(BestLevel(factor, plan.primary, (), averaged, 0, 0, str(error)))
            continue
        rated = tuple(Level(level, *pair) for level, pair in zip(levels, values, strict=True))
        by_factor.append(
            BestLevel(factor, plan.primary, rated, averaged, seeds, clusters, "", _at_edge(rated))
        )
    return by_factor


def _resampled(
    groups: Sequence[Sequence[Cell]], trials: ByTrial, metric: str, resamples: int
) -> tuple[list[tuple[float, float]], int, int]:
    """Return (mean, share) of each level, and the numbers of seeds and clusters.

    Raises:
        UserError: Fewer than two seeds have all cells, questions differ, or no level differs.
    """
    everything = {cell.label: 1.0 for cells in groups for cell in cells}
    overall = paired(trials, everything)
    if overall is None or len(overall.seeds) < 2:
        raise UserError("fewer than two seeds have a result in every cell")
    common: ByTrial = {
        label: {seed: trials[label][seed] for seed in overall.seeds} for label in everything
    }
    pairs = [pair for cells in groups if (pair := paired(common, mean(cells)))]
    means = [float((level.sums.mean(0).sum(0) / level.counts.sum(0)).mean()) for level in pairs]
    # the same key gives every level the same draws of seeds and clusters
    drawn = np.array([bootstrap(level.sums, level.counts, resamples) for level in pairs])
    if (drawn == drawn[0]).all():
        raise UserError("no level differs from another in any seed or question")
    ahead = drawn == (drawn.min(0) if lower_is_better(metric) else drawn.max(0))
    shares = (ahead / ahead.sum(0)).mean(1).tolist()
    return list(zip(means, shares, strict=True)), len(overall.seeds), len(overall.counts)


def _ascending(levels: Sequence[Any]) -> list[Any]:
    numbers = all(isinstance(level, (int, float)) for level in levels)
    return sorted(levels) if numbers else list(levels)


def _at_edge(levels: Sequence[Level]) -> bool:
    """Return whether the best of an ordered factor is an end, beyond which nothing was searched."""
    best = max(levels, key=lambda level: level.share).level
    ordered = len(levels) > 2 and isinstance(best, (int, float))
    return ordered and best in (levels[0].level, levels[-1].level)


def decompose(
    plan: Plan, cells: Sequence[Cell], results: Mapping[str, Mapping[str, Any]]
) -> Decomposition:
    """Decompose the variance of the primary metric into factors, interactions and seeds (ANOVA).

    Args:
        plan: Plan of the study.
        cells: Cells that answer; tuned settings are no factors.
        results: `result.json` by digest, for trials that have one.
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
    """Find the factors in which cells differ, and their levels in the order of the cells."""
    by_factor: dict[str, list[Any]] = {}
    for cell in cells:
        for key, value in cell.params.items():
            levels = by_factor.setdefault(key, [])
            if key not in apart and value not in levels:
                levels.append(value)
    return {key: levels for key, levels in by_factor.items() if len(levels) > 1}


def _table(
    cells: Sequence[Cell], factors: Mapping[str, Sequence[Any]], known: Mapping[str, float]
) -> Floats:
    """Arrange the metric by factor levels and seed, (L1, …, Lk, S); NaN without a result."""
    if not factors:
        raise UserError("all trained cells have the same settings")
    seeds = sorted({t.seed for cell in cells for t in cell.trials if t.seed is not None})
    table = np.full([*map(len, factors.values()), len(seeds)], np.nan)
    if len(cells) != table[..., 0].size or any(factors.keys() - cell.params for cell in cells):
        raise UserError("the cells that answer are no complete grid of the factors")
    for cell in cells:
        position = tuple(levels.index(cell.params[key]) for key, levels in factors.items())
        for trial in cell.trials:
            if trial.digest in known and trial.seed is not None:
                table[(*position, seeds.index(trial.seed))] = known[trial.digest]
    return table


def fill(table: Floats) -> Floats:
    """Replace NaN by the predictions of an additive model of the axes.

    Raises:
        UserError: Too many values are missing, or all of a level or seed.
    """
    absent = np.isnan(table)
    if not absent.any():
        return table
    if absent.mean() > MOST_MISSING:
        raise UserError(
            f"{absent.sum()} of {table.size} trials have no result, more than {MOST_MISSING:.0%}"
        )
    if any(absent.all(tuple(set(range(table.ndim)) - {axis})).any() for axis in range(table.ndim)):
        raise UserError("a level or seed has no result at all")
    positions = np.indices(table.shape).reshape(table.ndim, -1)
    design = np.concatenate(
        [np.eye(count)[index] for count, index in zip(table.shape, positions, strict=True)], axis=1
    )
    there = ~absent.ravel()
    additive = design @ np.linalg.lstsq(design[there], table.ravel()[there], rcond=None)[0]
    return np.where(absent, additive.reshape(table.shape), table)


def parts_of(factors: Sequence[str], table: Floats) -> tuple[Part, ...]:
    """Decompose a table's variance (ANOVA), with one part for each name of a subset of its axes.

    Args:
        factors: Names of all axes but the last, which is the seed.
        table: (L1, …, Lk, S) without NaN.

    Raises:
        UserError: All values are the same.
    """
    total = float(((table - table.mean()) ** 2).sum())
    if total <= 1e-18 * table.size:
        raise UserError("all trials have the same value")
    shares: dict[str, list[float]] = {}
    for within in itertools.product((False, True), repeat=table.ndim):
        if any(within):
            share, freedom = _effect(table, within)
            pair = shares.setdefault(_name(factors, within), [0.0, 0.0])
            pair[0] += share / total
            pair[1] += freedom
    residual = shares.get("residual", [0.0, 0.0])
    noise = residual[0] / residual[1] if residual[1] else None
    parts = [
        Part(name, share, None if noise is None else noise * freedom)
        for name, (share, freedom) in shares.items()
        if freedom
    ]
    return tuple(sorted(parts, key=lambda part: -part.share))


def _effect(table: Floats, within: Sequence[bool]) -> tuple[float, float]:
    """Return sum of squares and degrees of freedom of the interaction of exactly these axes."""
    effect, freedom = table, 1.0
    for axis, inside in enumerate(within):
        means = effect.mean(axis, keepdims=True)
        effect = effect - means if inside else means
        freedom *= table.shape[axis] - 1 if inside else 1
    return float((effect**2).sum()) * table.size / effect.size, freedom


def _name(factors: Sequence[str], within: Sequence[bool]) -> str:
    present = [factor for factor, inside in zip(factors, within, strict=False) if inside]
    if within[-1]:
        return "residual" if present else "seed"
    return " x ".join(present) if len(present) <= 2 else "higher interactions"
