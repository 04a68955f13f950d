"""What the name of a metric says."""

from __future__ import annotations

import re
from collections.abc import Iterable

DISTANCES = ("rank_distance", "rank_distance_pair", "rank_distance_normalised")
"""Measures of language bias that a hypothesis may be about."""

IN_RANKS = ("rank_distance", "rank_distance_pair", "rank_distance_median")
"""Those counted in ranks: tens and hundreds, where other metrics are shares."""

LESS = re.compile(r"rank_distance\w*|kendall_w|share_distance_at_\d+|map_gap|map_spread")
"""Measures of language bias, of which less is better."""


def lower_is_better(metric: str) -> bool:
    """Whether less of this metric is an improvement; `tydiqa:rank_distance/sw` is one."""
    return LESS.fullmatch(_measure(metric)) is not None


def best_value(metric: str, values: Iterable[float]) -> float:
    """The least of the values where less is better, else the greatest.

    Raises:
        ValueError: There is none.
    """
    return min(values) if lower_is_better(metric) else max(values)


def digits_of(metric: str) -> int:
    """Digits behind the point that values of this metric are shown with."""
    return 1 if _measure(metric) in IN_RANKS else 4


def _measure(metric: str) -> str:
    """The name without benchmark and languages."""
    return metric.rpartition(":")[2].partition("/")[0]
