"""Inference to new seeds and new clusters: one table of contributions, one variance, one t test.

Every estimate of a study is the mean of an S x G table, with seeds as rows and clusters (articles,
else paragraphs, else questions) as columns. Functions accept any leading dimensions, so thousands
of simulated studies take one call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.05
"""Significance level of tests; intervals cover 1 - `LEVEL`."""

CAUTION = 2.0
"""Weight of the seeds' mean square in the degrees of freedom (not in the variance).

With few seeds this mean square is often far too small; Satterthwaite's formula then overstates
the degrees of freedom, and intervals cover too rarely (docs/statistics.md)."""

NEGLIGIBLE = 1e-12
"""Standard errors below this fraction of the table's largest value are rounding errors."""

RESAMPLES = 10_000

CHUNK = 500
"""Resamples computed at once, which bounds memory."""


def contributions(sums: Floats, counts: Floats) -> Floats:
    """Compute the contribution of each cluster to a macro mean, by seed: (..., S, G).

    The mean of the table is the macro mean over seeds, its row means are those of the seeds. A
    contribution is the mean plus the cluster's influence on it (linearised), so clusters of any
    size, and settings with different questions, need no special treatment.

    Args:
        sums: (..., S, G, C) sums over queries, for a trial or a contrast of trials.
        counts: (G, C) numbers of queries.
    """
    totals = counts.sum(0)
    settings = sums.sum(-2).mean(-2) / totals
    influence = ((sums - counts * settings[..., None, None, :]) / totals).mean(-1)
    return np.asarray(settings.mean(-1)[..., None, None] + influence * counts.shape[0])


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean over seeds and clusters with its uncertainty; fields have the shape (...).

    Attributes:
        effect: The mean, in units of the metric.
        squares: (3, ...) mean squares of seeds, clusters and the residual.
        seeds: Number of seeds, S.
        clusters: Number of clusters, G.
    """

    effect: Floats
    squares: Floats
    seeds: int
    clusters: int

    @property
    def error(self) -> Floats:
        """Standard error: from seeds + clusters - residual, but at least the residual.

        The mean squares of seeds and clusters both contain the residual, so it is subtracted once.
        Both are expected to be at least the residual; a smaller sum is due to chance.
        """
        return np.asarray(np.sqrt(_variance(self.squares) / (self.seeds * self.clusters)))

    @property
    def freedom(self) -> Floats:
        """Satterthwaite's degrees of freedom with `CAUTION`; at least those of the scarcer unit."""
        return freedom(self.squares, self.seeds, self.clusters)

    def interval(self, level: float = LEVEL) -> tuple[Floats, Floats]:
        """Return bounds that cover the true effect with probability 1 - level."""
        from scipy import stats

        reach = stats.t.ppf(1 - level / 2, self.freedom) * self.error
        return np.asarray(self.effect - reach), np.asarray(self.effect + reach)

    def p(self) -> Floats:
        """Return the two-sided p-value for no effect."""
        from scipy import stats

        return np.asarray(2 * stats.t.sf(abs(self.effect) / self.error, self.freedom))

    def p_equivalent(self, margin: float) -> Floats:
        """Return the p-value of TOST (two one-sided tests) for an effect beyond the margin."""
        from scipy import stats

        return np.asarray(stats.t.sf((margin - abs(self.effect)) / self.error, self.freedom))

    def components(self) -> Floats:
        """Estimate variances (3, ...) of seeds, clusters and residual; negative ones become 0."""
        seeds, clusters, residual = self.squares
        parts = (seeds - residual) / self.clusters, (clusters - residual) / self.seeds, residual
        return np.asarray(np.maximum(np.stack(parts), 0))


def estimate(table: Floats) -> Estimate | None:
    """Estimate the mean of tables with its uncertainty.

    Args:
        table: (..., S, G) from `contributions`.

    Returns:
        None if the uncertainty is unknown: fewer than two seeds or clusters, or (for a single
        table) no variation at all.
    """
    seeds, clusters = table.shape[-2:]
    if seeds < 2 or clusters < 2:
        return None
    effect = table.mean((-2, -1))
    rows, columns = table.mean(-1), table.mean(-2)
    residual = table - rows[..., None] - columns[..., None, :] + effect[..., None, None]
    squares = np.stack(
        [
            clusters * rows.var(-1, ddof=1),
            seeds * columns.var(-1, ddof=1),
            (residual**2).sum((-2, -1)) / ((seeds - 1) * (clusters - 1)),
        ]
    )
    estimated = Estimate(np.asarray(effect), squares, seeds, clusters)
    if table.ndim == 2 and float(estimated.error) <= NEGLIGIBLE * float(abs(table).max()):
        return None
    return estimated


def _variance(squares: Floats) -> Floats:
    seeds, clusters, residual = squares
    return np.asarray(np.maximum(seeds + clusters - residual, residual))


def freedom(squares: Floats, seeds: int, clusters: int, caution: float = CAUTION) -> Floats:
    """Compute degrees of freedom from (3, ...) mean squares; Satterthwaite's if `caution` is 1."""
    degrees = np.array([seeds - 1, clusters - 1, (seeds - 1) * (clusters - 1)], dtype=np.float64)
    shape = -1, *[1] * (squares.ndim - 1)
    counted = squares * np.array([caution, 1, 1]).reshape(shape)
    spread = (counted**2 / degrees.reshape(shape)).sum(0)
    return np.asarray(np.maximum(_variance(counted) ** 2 / spread, degrees.min()))


def bootstrap(sums: Floats, counts: Floats, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Resample the mean over seeds of the macro mean (two-level bootstrap), (resamples,).

    A draw takes S seeds and G clusters with replacement, the same clusters for all seeds. A setting
    without a query in a draw is left out of its macro mean.

    Args:
        sums: (S, G, C) sums over queries, for a trial or a contrast of trials.
        counts: (G, C) numbers of queries.
        resamples: Number of draws.
        seed: Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    count = len(sums)
    parts = _merged(sums, counts)
    means = np.empty(resamples)
    for begin in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - begin)
        clusters = _draws(rng, size, len(counts))
        total, settings_present = np.zeros((size, count)), np.zeros((size, 1))
        for pooled, number, settings in parts:
            queries = (clusters @ number)[:, None]
            present = queries > 0
            total += np.where(present, clusters @ pooled / np.where(present, queries, 1), 0)
            settings_present += settings * present
        seeds = _draws(rng, size, count) / count
        means[begin : begin + size] = (seeds * total / np.maximum(settings_present, 1)).sum(1)
    return means


def percentile_interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentiles that enclose the middle 1 - level of the values."""
    low, high = np.quantile(values, [level / 2, 1 - level / 2])
    return float(low), float(high)


def _merged(sums: Floats, counts: Floats) -> list[tuple[Floats, Floats, int]]:
    """Add up settings with equal numbers of queries in every cluster; one for a parallel benchmark.

    Returns:
        ((G, S) sums, (G,) counts, number of settings) for each distinct column of `counts`.
    """
    distinct, group = np.unique(counts, axis=1, return_inverse=True)
    return [
        (
            np.ascontiguousarray(sums[:, :, group == code].sum(2).T),
            np.ascontiguousarray(distinct[:, code]),
            int(np.count_nonzero(group == code)),
        )
        for code in range(distinct.shape[1])
    ]


def _draws(rng: np.random.Generator, size: int, units: int) -> Floats:
    """Count each unit in `units` draws with replacement, (size, units)."""
    drawn = rng.integers(0, units, (size, units), dtype=np.int32)
    drawn += np.arange(size, dtype=np.int32)[:, None] * units
    return np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units).astype(float)
