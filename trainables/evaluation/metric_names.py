"""What the name of a metric says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from trainables.evaluation.ranks import Ints, Ranks

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


def reordered(ranks: Ranks, *, best: bool) -> Ranks:
    """The ranks if tied candidates stood in the best order there is, or in the worst.

    In the best one relevant candidates stand before all others that are tied with them, of the
    largest gain first; in the worst behind them, of the least gain first. Every measure of
    retrieval is then at its largest or least; what language bias is computed from stays.
    """
    pool = np.zeros_like(ranks.language)
    return replace(
        ranks,
        own_rank=_moved(
            ranks, ranks.language, ranks.own_rank - ranks.own_before, ranks.own_ties, best
        ),
        pool_rank=_moved(ranks, pool, ranks.pool_rank - ranks.pool_before, ranks.pool_ties, best),
    )


def _moved(ranks: Ranks, corpus: Ints, first: Ints, ties: Ints, best: bool) -> Ints:
    """Ranks of the pairs, each within the places from `first` on that it shares with its ties."""
    query = ranks.pair_query
    order = np.lexsort((-ranks.gain if best else ranks.gain, first, corpus, query))
    group = np.stack([query, corpus, first])[:, order]
    begins = np.flatnonzero(np.any(group[:, 1:] != group[:, :-1], axis=0)) + 1
    begins = np.concatenate([[0], begins])
    sizes = np.diff(np.append(begins, len(order)))
    place = np.arange(len(order)) - np.repeat(begins, sizes)
    if not best:
        place += ties[order] + 1 - np.repeat(sizes, sizes)
    moved = np.empty_like(first)
    moved[order] = first[order] + place
    return moved
