"""What a study could have seen: the minimum detectable effect, and the seeds it would take."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from study.analysis.inference import LEVEL, Estimate
from study.analysis.verdicts import LEAST_SEEDS

POWER = 0.8
"""Probability of finding the minimum detectable effect."""

MOST_SEEDS = 1000
"""Where the search for a number of seeds ends."""


def detectable(error: float, freedom: float, level: float = LEVEL, power: float = POWER) -> float:
    """The effect that a two-sided t test at `level` finds with probability `power`.

    Args:
        error: Standard error, in units of the metric.
        freedom: Its degrees of freedom.
        level: Of the test.
        power: Probability of finding the effect, whichever its sign.

    Returns:
        In units of the metric, from the noncentral t distribution.
    """
    critical = float(stats.t.ppf(1 - level / 2, freedom))

    def missing(shift: float) -> float:
        return float(stats.nct.sf(critical, freedom, shift)) - power

    return float(brentq(missing, 0.0, 2 * critical + 10)) * error


def detectable_effect(found: Estimate, level: float = LEVEL, power: float = POWER) -> float:
    """The minimum detectable effect of a study as it was run."""
    return detectable(float(found.error), float(found.freedom), level, power)


def seeds_needed(
    found: Estimate, margin: float, level: float = LEVEL, power: float = POWER
) -> int | None:
    """Fewest seeds, on the same clusters, whose minimum detectable effect is the margin.

    It rests on the variances as they were estimated: a rough guide from few seeds. Never below
    the seeds that a verdict takes.

    Returns:
        None where `MOST_SEEDS` do not suffice: more clusters are needed, not more seeds.
    """

    def suffices(seeds: int) -> bool:
        expected = _planned(found, seeds)
        return detectable_effect(expected, level, power) <= margin

    if not suffices(MOST_SEEDS):
        return None
    return bisect_left(range(MOST_SEEDS), True, lo=LEAST_SEEDS, key=suffices)


def _planned(found: Estimate, seeds: int) -> Estimate:
    """The estimate to be expected with another number of seeds."""
    by_seed, by_cluster, residual = found.components()
    squares = np.stack(
        [found.clusters * by_seed + residual, seeds * by_cluster + residual, residual]
    )
    return Estimate(found.effect, squares, seeds, found.clusters)
