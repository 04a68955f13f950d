"""Means over retrieval settings, and direction and display of metrics, by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from trainables.evaluation.ranks import Ints, Ranks

DISTANCES = ("rank_distance", "rank_distance_pair", "rank_distance_normalised")
"""Language-bias metrics that a hypothesis may be about."""

IN_RANKS = ("rank_distance", "rank_distance_pair", "rank_distance_median")
"""Metrics measured in ranks (tens and hundreds), where others are shares."""

LESS = re.compile(r"rank_distance\w*|kendall_w|share_distance_at_\d+|map_gap|map_spread")
"""Metrics of language bias that are better when lower."""


@dataclass(frozen=True)
class Mean:
    """A mean over retrieval settings, which a metric names after its measure (`map/cross`).

    Attributes:
        kind: Kind of these settings, such as `cross`.
        micro: Whether it is the mean over all their queries, as LAReQA reports it, and not the
            unweighted mean over settings (macro).
    """

    kind: str
    micro: bool = False

    def members(self, settings: Iterable[str]) -> list[str]:
        """Return the settings that it is a mean over: names such as `cross/de-en`."""
        return [name for name in settings if name.partition("/")[0] == self.kind]


MEANS = {
    "mono": Mean("mono"),
    "cross": Mean("cross"),
    "multi": Mean("multi"),
    "multi_micro": Mean("multi", micro=True),
    "pool_same_language": Mean("pool_same_language"),
    "t2i": Mean("t2i"),
    "i2t": Mean("i2t"),
    "i2t_multi": Mean("i2t_multi"),
}
"""Means over settings by name, in the order in which they are reported. A benchmark has those of
its own settings: `mono` to `pool_same_language` of texts, the others of images."""


def lower_is_better(metric: str) -> bool:
    """Tell whether a lower value is better; accepts qualified names (`tydiqa:rank_distance/sw`)."""
    return LESS.fullmatch(_measure(metric)) is not None


def best_value(metric: str, values: Iterable[float]) -> float:
    """Return the lowest value if lower is better, else the highest.

    Raises:
        ValueError: `values` is empty.
    """
    return min(values) if lower_is_better(metric) else max(values)


def digits_of(metric: str) -> int:
    """Return the number of decimals to show for this metric."""
    return 1 if _measure(metric) in IN_RANKS else 4


def _measure(metric: str) -> str:
    """Strip benchmark and languages from the name."""
    return metric.rpartition(":")[2].partition("/")[0]


def reordered(ranks: Ranks, *, best: bool) -> Ranks:
    """Return the ranks with tied candidates in the best possible order, or in the worst.

    In the best order relevant candidates precede all others tied with them, the largest gain
    first; in the worst they follow, the smallest gain first. Every retrieval metric is then at
    its maximum or minimum; the inputs of language bias other than these ranks stay the same.
    """
    pool = np.zeros_like(ranks.language)
    return replace(
        ranks,
        own_rank=_move_within_ties(
            ranks, ranks.language, ranks.own_rank - ranks.own_before, ranks.own_ties, best
        ),
        pool_rank=_move_within_ties(
            ranks, pool, ranks.pool_rank - ranks.pool_before, ranks.pool_ties, best
        ),
    )


def _move_within_ties(ranks: Ranks, corpus: Ints, first: Ints, ties: Ints, best: bool) -> Ints:
    """Return the pairs' ranks after moving each within its tie, which starts at rank `first`."""
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
