"""What measures could be under any order of candidates of equal score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trainables.evaluation.ranks import Ints, Ranks


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
