"""Which level of a factor is best, as far as resampling can tell: exploratory, no verdict.

Nothing here reads the test, which serves the declared hypotheses only (law 5): levels are compared
on the validation benchmark. All of them are resampled together, seeds and clusters with
replacement, and each has the share of draws in which its mean is ahead. The draws are those of the
two-level bootstrap, which is too sure at few seeds (docs/statistics.md), and choosing a best makes
nothing independent of the choice: the share is no probability of being right, and its value no
estimate of what the level would reach elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.answer.bootstrap import bootstrap
from study.answer.contrasts import ByTrial, by_level, mean, paired
from study.answer.scores import Scores
from study.answer.variance import levels_of
from study.plan import Cell, Plan
from trainables.errors import UserError
from trainables.evaluation.names import lower_is_better

RESAMPLES = 2000
"""A share of 5 % is then known to half a point."""

WITHIN_REACH = 0.05
"""Share of resamples from which a level counts among those that may be best."""

MOST_TRIALS = 1000
"""Trials whose ranks are read; more take minutes."""

UNORDERED = ("subset_seed",)
"""What is searched to average over it, not to choose it."""


@dataclass(frozen=True)
class Level:
    """One level of a factor: its mean metric, and the share of resamples in which it is best."""

    level: Any
    mean: float
    share: float


@dataclass(frozen=True)
class BestLevel:
    """The location of the best level of a factor.

    Attributes:
        factor: Its name.
        metric: Compared on the validation benchmark.
        levels: In ascending order where they are numbers, else in the order of the space.
        averaged: Factors that it is averaged over.
        seeds: That all cells have.
        clusters: Of the validation benchmark.
        note: Why there are no levels, or what must be said of them; may be empty.
    """

    factor: str
    metric: str
    levels: tuple[Level, ...]
    averaged: tuple[str, ...]
    seeds: int
    clusters: int
    note: str

    @property
    def likely(self) -> tuple[Level, ...]:
        """Levels that are best in `WITHIN_REACH` of the resamples or more, the likeliest first."""
        found = [one for one in self.levels if one.share >= WITHIN_REACH]
        return tuple(sorted(found, key=lambda one: -one.share))


def validation_metric(plan: Plan) -> str:
    """The primary metric on the validation benchmark, as `stored_scores` reads it."""
    return f"validation:{plan.primary}"


def best_levels(
    plan: Plan, cells: Iterable[Cell], scores: Mapping[str, Scores], resamples: int = RESAMPLES
) -> list[BestLevel]:
    """The best level of each searched factor.

    Args:
        plan: Of the study.
        cells: Those that answer.
        scores: Of `validation_metric`, by digest.
        resamples: Of seeds and clusters.
    """
    trained = [cell for cell in cells if cell.is_arm]
    factors = levels_of(trained, plan.tuned)
    trials: ByTrial = {
        cell.label: {t.seed: scores[t.digest] for t in cell.trials if t.digest in scores}
        for cell in trained
    }
    found = []
    for factor, levels in factors.items():
        if factor in UNORDERED:
            continue
        averaged = tuple(other for other in factors if other != factor)
        try:
            levels = _ascending(levels)
            held = by_level(trained, factor, levels, plan.tuned)
            values, seeds, clusters = _resampled(held, trials, plan.primary, resamples)
        except UserError as error:
            found.append(BestLevel(factor, plan.primary, (), averaged, 0, 0, str(error)))
            continue
        shown = tuple(Level(level, *one) for level, one in zip(levels, values, strict=True))
        found.append(
            BestLevel(factor, plan.primary, shown, averaged, seeds, clusters, _note(shown))
        )
    return found


def _resampled(
    held: Sequence[Sequence[Cell]], trials: ByTrial, metric: str, resamples: int
) -> tuple[list[tuple[float, float]], int, int]:
    """Mean and share of each level, and the numbers of seeds and clusters.

    Raises:
        UserError: Fewer than two seeds that all cells have, other questions, or no difference.
    """
    everything = {cell.label: 1.0 for cells in held for cell in cells}
    whole = paired(trials, everything)
    if whole is None or len(whole.seeds) < 2:
        raise UserError("fewer than two seeds have a result in every cell")
    common: ByTrial = {
        label: {seed: trials[label][seed] for seed in whole.seeds} for label in everything
    }
    pairs = [pair for cells in held if (pair := paired(common, mean(cells)))]
    means = [float((one.sums.mean(0).sum(0) / one.counts.sum(0)).mean()) for one in pairs]
    # keyed alike, every level is given the same draws of seeds and clusters
    drawn = np.array([bootstrap(one.sums, one.counts, resamples) for one in pairs])
    if (drawn == drawn[0]).all():
        raise UserError("no level differs from another in any seed or question")
    ahead = drawn == (drawn.min(0) if lower_is_better(metric) else drawn.max(0))
    shares = (ahead / ahead.sum(0)).mean(1).tolist()
    return list(zip(means, shares, strict=True)), len(whole.seeds), len(whole.counts)


def _ascending(levels: Sequence[Any]) -> list[Any]:
    numbers = all(isinstance(level, (int, float)) for level in levels)
    return sorted(levels) if numbers else list(levels)


def _note(levels: Sequence[Level]) -> str:
    """Whether the best of an ordered factor lies at an end, beyond which nothing was searched."""
    best = max(levels, key=lambda one: one.share).level
    ordered = len(levels) > 2 and isinstance(best, (int, float))
    if ordered and best in (levels[0].level, levels[-1].level):
        return "the likeliest is an end of what was searched, and a better one may lie beyond"
    return ""
