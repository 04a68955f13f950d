"""A contrast with its uncertainty: interval, p, TOST, detectable effect and seeds needed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from study.analysis.contrasts import Contrast, Paired
from study.analysis.inference import (
    LEVEL,
    Estimate,
    bootstrap,
    contributions,
    estimate,
    percentile_interval,
)
from study.analysis.verdicts import LEAST_SEEDS

POWER = 0.8
"""Probability of finding the minimum detectable effect."""

MOST_SEEDS = 1000
"""Upper limit of the search for a number of seeds."""


def detectable(error: float, freedom: float, level: float = LEVEL, power: float = POWER) -> float:
    """Compute the effect that a two-sided t test at `level` detects with probability `power`.

    Args:
        error: Standard error, in units of the metric.
        freedom: Degrees of freedom of the error.
        level: Significance level of the test.
        power: Probability of detecting the effect, whatever its sign.

    Returns:
        The effect in units of the metric, from the noncentral t distribution.
    """
    from scipy import stats
    from scipy.optimize import brentq

    critical = float(stats.t.ppf(1 - level / 2, freedom))

    def missing(shift: float) -> float:
        return float(stats.nct.sf(critical, freedom, shift)) - power

    return float(brentq(missing, 0.0, 2 * critical + 10)) * error


def detectable_effect(estimate: Estimate, level: float = LEVEL, power: float = POWER) -> float:
    """Compute the minimum detectable effect of the study as it was run."""
    return detectable(float(estimate.error), float(estimate.freedom), level, power)


def seeds_needed(
    estimate: Estimate, margin: float, level: float = LEVEL, power: float = POWER
) -> int | None:
    """Find the fewest seeds, on the same clusters, whose detectable effect is within the margin.

    Relies on the estimated variances, so few seeds give only a rough guide. Never below the number
    of seeds that a verdict needs.

    Returns:
        None if `MOST_SEEDS` do not suffice: more clusters are needed, not more seeds.
    """

    def suffices(seeds: int) -> bool:
        expected = _planned(estimate, seeds)
        return detectable_effect(expected, level, power) <= margin

    if not suffices(MOST_SEEDS):
        return None
    return bisect_left(range(MOST_SEEDS), True, lo=LEAST_SEEDS, key=suffices)


def _planned(estimate: Estimate, seeds: int) -> Estimate:
    """Return the estimate to expect with another number of seeds and equal variance components."""
    by_seed, by_cluster, residual = estimate.components()
    squares = np.stack(
        [estimate.clusters * by_seed + residual, seeds * by_cluster + residual, residual]
    )
    return Estimate(estimate.effect, squares, seeds, estimate.clusters)


Interval = tuple[float, float]


@dataclass(frozen=True)
class Lacking:
    """A cell of a contrast some of whose trials could not be compared.

    Attributes:
        cell: Label of the cell.
        seeds: Seeds of trials without a result; empty for an untrained cell's single trial.
        metric: The metric that results lack; empty if whole results are lacking.
    """

    cell: str
    seeds: tuple[int, ...]
    metric: str = ""


@dataclass(frozen=True)
class Comparison:
    """One contrast of cells; None marks what is unknown.

    Attributes:
        what: The contrast, such as `alpha=1 minus alpha=0`.
        per: Unit of a slope: `doubling`, `step` or `unit`; empty for a plain difference.
        by_seed: Seed to its contrast, in units of the metric (for a slope, per `per`).
        effect: Mean over seeds.
        interval: 95 % interval for new seeds and new clusters.
        bootstrap: 95 % interval of the two-level percentile bootstrap; shown, never decisive.
        p: Two-sided, for no difference, uncorrected.
        p_equivalent: P-value of TOST, for a difference beyond the margin, uncorrected.
        clusters: Number of articles, else paragraphs, else questions.
        detectable: Effect found with 80 % probability at the family's strictest level.
        seeds_needed: Seeds that would reduce `detectable` to the margin; None also if no number
            of seeds would.
        note: Why there is no effect or no interval, else empty.
        lacking: Cells some of whose trials are not compared.
    """

    what: str
    per: str
    by_seed: Mapping[int, float]
    effect: float | None
    interval: Interval | None
    bootstrap: Interval | None
    p: float | None
    p_equivalent: float | None
    clusters: int
    detectable: float | None
    seeds_needed: int | None
    note: str
    lacking: tuple[Lacking, ...]


def compare(
    contrast: Contrast,
    pairs: Paired,
    lacking: Sequence[Lacking],
    margin: float,
    level: float,
    resamples: int,
) -> Comparison:
    """Estimate a contrast with its uncertainty.

    Args:
        contrast: Name and unit of the contrast.
        pairs: The contrast within each seed.
        lacking: Cells with trials missing from `pairs`.
        margin: Smallest difference that matters.
        level: Level of the test whose power is stated.
        resamples: Resamples of the bootstrap.
    """
    table = contributions(pairs.sums, pairs.counts)
    by_seed = dict(zip(pairs.seeds, table.mean(1).tolist(), strict=True))
    clusters = len(pairs.counts)
    effect = float(table.mean())
    estimated = estimate(table)
    if estimated is None:
        incomplete = unknown(contrast, why_unknown(len(by_seed), clusters), lacking)
        return replace(incomplete, by_seed=by_seed, effect=effect, clusters=clusters)
    return Comparison(
        what=contrast.what,
        per=contrast.per,
        by_seed=by_seed,
        effect=effect,
        interval=_interval(estimated),
        bootstrap=percentile_interval(bootstrap(pairs.sums, pairs.counts, resamples)),
        p=float(estimated.p()),
        p_equivalent=float(estimated.p_equivalent(margin)),
        clusters=clusters,
        detectable=detectable_effect(estimated, level),
        seeds_needed=seeds_needed(estimated, margin, level),
        note="",
        lacking=tuple(lacking),
    )


def _interval(estimated: Estimate) -> Interval:
    low, high = estimated.interval()
    return float(low), float(high)


def why_unknown(seeds: int, clusters: int) -> str:
    """Explain why an effect with so many seeds and clusters has no interval."""
    if seeds < 2:
        return "one seed: an effect without uncertainty"
    if clusters < 2:
        return "one cluster: an effect without uncertainty"
    return (
        "the difference is the same in every seed and cluster, so nothing can be inferred from it"
    )


def unknown(contrast: Contrast, note: str, lacking: Sequence[Lacking] = ()) -> Comparison:
    """Return a comparison without an effect; `note` gives the reason."""
    return Comparison(
        what=contrast.what,
        per=contrast.per,
        by_seed={},
        effect=None,
        interval=None,
        bootstrap=None,
        p=None,
        p_equivalent=None,
        clusters=0,
        detectable=None,
        seeds_needed=None,
        note=note,
        lacking=tuple(lacking),
    )
