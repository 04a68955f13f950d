"""What the name of a metric says."""

from __future__ import annotations

DISTANCES = ("rank_distance", "rank_distance_pair", "rank_distance_normalised")
"""Measures of language bias, of which less is better."""


def lower_is_better(metric: str) -> bool:
    """Whether less of this metric is an improvement; `tydiqa:rank_distance/sw` is one."""
    return metric.rpartition(":")[2].partition("/")[0] in DISTANCES
