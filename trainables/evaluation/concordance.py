"""Whether queries agree in the order in which they rank languages: Kendall, Friedman, PEER."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainables.errors import UserError
from trainables.evaluation.ranks import Ranks, refuse_unparallel

Floats = NDArray[np.float64]


def language_ranks(ranks: Ranks) -> tuple[NDArray[np.int64], Floats]:
    """Queries relevant in every corpus language, and their best pool rank in each, (q, L).

    Ties count with their mean rank, so that identical languages show no preference.
    """
    used = np.flatnonzero(ranks.corpus_sizes)
    table = np.full((len(ranks), len(ranks.corpus_languages)), np.inf)
    np.minimum.at(table, (ranks.pair_query, ranks.language), ranks.pool_midrank)
    table = table[:, used]
    complete = np.flatnonzero(np.isfinite(table).all(axis=1))
    return complete, table[complete]


def kendall_w(table: Floats) -> float:
    """Kendall's coefficient of concordance of (q, L) values, corrected for ties.

    Friedman's chi-squared is q (L - 1) W. If every row is one tie, nothing is preferred: 0.
    """
    return _concordance_of(_order(table))


def _order(table: Floats) -> Floats:
    """Ranks from 1 within each row, mid-ranks for ties."""
    ranked = np.ones_like(table)
    for column in table.T:
        ranked += (column[:, None] < table) + (column[:, None] == table) / 2
    return ranked - 0.5


def _concordance_of(order: Floats) -> float:
    """W of rows of ranks from 1 to L, mid-ranks for ties.

    The largest possible spread of the columns' sums is that of rows that all agree.
    """
    rows = len(order)
    spread = float(((order.sum(0) - order.sum() / order.shape[1]) ** 2).sum())
    largest = rows * float(((order - (order.shape[1] + 1) / 2) ** 2).sum())
    return spread / largest if largest else 0.0


@dataclass(frozen=True)
class Friedman:
    """A test that no language is preferred.

    Attributes:
        w: Kendall's W over all queries relevant in every language: the size of the effect.
        p: Share of permutations with at least this W, itself counted.
        queries: Number of queries.
        units: Number of independent units permuted.
        permutations: Number of permutations.
    """

    w: float
    p: float
    queries: int
    units: int
    permutations: int


def friedman_test(
    ranks: Ranks,
    permutations: int = 999,
    seed: int = 0,
    unit: Literal["cluster", "question"] = "cluster",
) -> Friedman:
    """Friedman's test with its p by permutation: the languages of a whole unit are exchanged.

    Translations of a question, and questions of an article, are not independent, so chi-squared
    would be far too sure.

    Args:
        ranks: Of one evaluation.
        permutations: More give a finer p.
        seed: Keys the permutations.
        unit: What is independent: articles (or the highest unit known), or questions.

    Raises:
        UserError: Relevance is judged in one language only, or no query is relevant in all.
    """
    refuse_unparallel(ranks)
    complete, table = language_ranks(ranks)
    if not len(complete) or table.shape[1] < 2:
        raise UserError(
            f"{ranks.name}: no query has relevant candidates in every language, so Friedman's test "
            "is not defined. Restrict the benchmark to languages that are parallel"
        )
    names = (ranks.clusters if unit == "cluster" else ranks.questions)[complete]
    _, units = np.unique(names, return_inverse=True)
    order = _order(table)
    sums = np.zeros((units.max() + 1, order.shape[1]))
    np.add.at(sums, units, order)
    observed = _concordance_of(order)
    rng = np.random.default_rng(seed)
    mean = sums.sum() / sums.shape[1]
    spread = ((sums.sum(0) - mean) ** 2).sum()
    drawn = (
        ((rng.permuted(sums, axis=1).sum(0) - mean) ** 2).sum() >= spread * (1 - 1e-12)
        for _ in range(permutations)
    )
    p = (1 + sum(map(bool, drawn))) / (1 + permutations)
    return Friedman(observed, p, len(complete), len(sums), permutations)


def peer(ranks: Ranks, depth: int | None = None) -> Floats:
    """PEER of each query, (n,): the p of a Kruskal-Wallis test that languages rank alike.

    Yang et al. 2024 (arXiv:2405.00978): within each level of relevance, ranks of relevant
    candidates are grouped by language; levels weigh alike. NaN where a query has relevant
    candidates in one language only.

    Args:
        ranks: Of one evaluation.
        depth: Candidates ranked below it all count as `depth + 1`.

    Raises:
        UserError: No query has two relevant candidates of a level in one language: each group is
            then a single rank and p the same whatever the ranking.
    """
    from scipy.stats import kruskal

    refuse_unparallel(ranks)
    pair = np.stack([ranks.pair_query, ranks.language, ranks.gain])
    if len(np.unique(pair, axis=1).T) == len(ranks.candidate):
        raise UserError(
            f"{ranks.name}: PEER is constant where each language has one relevant candidate a "
            "query (every Kruskal-Wallis group is a single rank). Use kendall_w"
        )
    rank = ranks.pool_midrank if depth is None else np.minimum(ranks.pool_midrank, depth + 1)
    values = np.full(len(ranks), np.nan)
    for query, (low, high) in enumerate(zip(ranks.starts[:-1], ranks.starts[1:], strict=True)):
        levels = []
        for gain in np.unique(ranks.gain[low:high]):
            of_level = np.flatnonzero(ranks.gain[low:high] == gain) + low
            groups = [
                rank[of_level[ranks.language[of_level] == language]]
                for language in np.unique(ranks.language[of_level])
            ]
            if len(groups) > 1:
                same = np.ptp(np.concatenate(groups)) == 0
                levels.append(1.0 if same else float(kruskal(*groups).pvalue))
        if levels:
            values[query] = np.mean(levels)
    return values
