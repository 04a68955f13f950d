"""Language bias in a multilingual pool: rank distance, Kendall's W and language shares.

The primary metric is the rank distance of arXiv:2408.10536 (section 4.1): the largest minus the
smallest rank of a query's parallel relevant candidates. It falls whenever retrieval improves, so
Kendall's W and the languages' shares of the top ranks accompany it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trainables.evaluation.ranks import DEPTHS, Ranks, refuse_unparallel

Floats = NDArray[np.float64]


def bias_metrics(ranks: Ranks) -> dict[str, float]:
    """Compute every language-bias metric, by query language and as macro means.

    Empty where bias is undefined: a single corpus, or relevance judged only in the query's
    language (a pool then rewards language identity). By query language q, and averaged over q:

    - `rank_distance/q`, `rank_distance_median/q`: over queries relevant in two or more languages.
    - `rank_distance_pair/q`: mean distance over pairs of relevant candidates.
    - `rank_distance_normalised/q`: divided by its expectation under random order.
    - `kendall_w/q`: over queries relevant in every language; 0 no preference, 1 the same order
      of languages for every query.
    - `same_language_share_at_10/q`: share of the first ten that are in the query's language.
    - `share_distance_at_10/q`: total variation distance between the language shares of the first
      ten and of the relevant candidates; likewise at 100.

    By corpus language c: `share_at_10/c` (mean over query languages), `relevant_share/c` and
    `corpus_share/c`.
    """
    if not len(ranks) or not ranks.judged_in_all_languages or not ranks.pool_is_several:
        return {}
    metrics: dict[str, float] = {}
    distances = rank_distances(ranks)
    for name, values in distances.items():
        metrics |= _by_language(ranks, name, values, np.mean)
    metrics |= _by_language(ranks, "rank_distance_median", distances["rank_distance"], np.median)
    complete_queries, table = language_ranks(ranks)
    query_codes = ranks.query_language[complete_queries]
    metrics |= _with_mean(
        "kendall_w",
        {
            language: kendall_w(table[query_codes == code])
            for code, language in enumerate(ranks.query_languages)
            if np.count_nonzero(query_codes == code) > 1
        },
    )
    for depth in DEPTHS:
        metrics |= _shares(ranks, depth)
    return metrics


def rank_distances(ranks: Ranks) -> dict[str, Floats]:
    """Compute the distances between each query's relevant candidates in the pool, (n,) each.

    NaN if a query has relevant candidates in fewer than two languages. With k relevant
    candidates among N, the expected distance in a random order is (N + 1)(k - 1)/(k + 1).

    Raises:
        UserError: Relevance is judged only in the query's own language.
    """
    refuse_unparallel(ranks)
    order = np.lexsort((ranks.pool_rank, ranks.pair_query))
    rank = ranks.pool_rank[order].astype(np.float64)
    starts, sizes = ranks.starts[:-1], np.diff(ranks.starts).astype(np.float64)
    place = np.arange(len(rank)) - np.repeat(starts, np.diff(ranks.starts))
    in_several = _relevant_languages(ranks) > 1
    spread = rank[ranks.starts[1:] - 1] - rank[starts]
    weights = 2 * place + 1 - np.repeat(sizes, np.diff(ranks.starts))
    with np.errstate(divide="ignore", invalid="ignore"):
        pairwise = 2 * np.add.reduceat(weights * rank, starts) / (sizes * (sizes - 1))
        expected = (ranks.corpus_sizes.sum() + 1) * (sizes - 1) / (sizes + 1)
        values = {
            "rank_distance": spread,
            "rank_distance_pair": pairwise,
            "rank_distance_normalised": spread / expected,
        }
    return {name: np.where(in_several, value, np.nan) for name, value in values.items()}


def _relevant_languages(ranks: Ranks) -> NDArray[np.int64]:
    """Count the corpus languages that hold a relevant candidate of each query, (n,)."""
    is_relevant = np.zeros((len(ranks), len(ranks.corpus_languages)), dtype=bool)
    is_relevant[ranks.pair_query, ranks.language] = True
    return np.asarray(is_relevant.sum(1))


def _by_language(
    ranks: Ranks, name: str, values: Floats, summary: Callable[[Floats], np.floating]
) -> dict[str, float]:
    """Summarise values (n,) by query language, without NaN, and average the summaries."""
    known = ~np.isnan(values)
    groups = {
        language: values[known & (ranks.query_language == code)]
        for code, language in enumerate(ranks.query_languages)
    }
    return _with_mean(
        name, {language: float(summary(group)) for language, group in groups.items() if len(group)}
    )


def _with_mean(name: str, values: dict[str, float]) -> dict[str, float]:
    if not values:
        return {}
    mean = {name: float(np.mean(list(values.values())))}
    return mean | {f"{name}/{language}": value for language, value in values.items()}


def _shares(ranks: Ranks, depth: int) -> dict[str, float]:
    """Compute language shares of the first `depth`, the relevant candidates and the corpora."""
    counts = ranks.language_counts(depth, fair=True)
    relevant = np.zeros_like(counts)
    np.add.at(relevant, (ranks.pair_query, ranks.language), 1)
    present = np.unique(ranks.query_language)
    top, expected = (
        np.stack([_normalise(table[ranks.query_language == code].sum(0)) for code in present])
        for table in (counts, relevant)
    )
    names = [ranks.query_languages[code] for code in present]
    corpora = ranks.corpus_languages
    distance = abs(top - expected).sum(1) / 2
    metrics = _with_mean(
        f"share_distance_at_{depth}", dict(zip(names, map(float, distance), strict=True))
    )
    metrics |= _with_mean(
        f"same_language_share_at_{depth}",
        {q: float(top[i, corpora.index(q)]) for i, q in enumerate(names) if q in corpora},
    )
    tables = {
        f"share_at_{depth}": top.mean(0),
        "relevant_share": expected.mean(0),
        "corpus_share": _normalise(ranks.corpus_sizes.astype(np.float64)),
    }
    for name, shares in tables.items():
        metrics |= {
            f"{name}/{language}": float(x) for language, x in zip(corpora, shares, strict=True)
        }
    return metrics


def _normalise(values: Floats) -> Floats:
    return np.asarray(values / values.sum())


def language_ranks(ranks: Ranks) -> tuple[NDArray[np.int64], Floats]:
    """Return queries relevant in every corpus language, and their best pool rank in each, (q, L).

    Tied candidates have their mean rank, so that identical languages show no preference.
    """
    used = np.flatnonzero(ranks.corpus_sizes)
    table = np.full((len(ranks), len(ranks.corpus_languages)), np.inf)
    np.minimum.at(table, (ranks.pair_query, ranks.language), ranks.pool_midrank)
    table = table[:, used]
    complete = np.flatnonzero(np.isfinite(table).all(axis=1))
    return complete, table[complete]


def kendall_w(table: Floats) -> float:
    """Compute Kendall's coefficient of concordance of values (q, L), corrected for ties.

    It is the spread of the column sums over that of rows that all agree. Friedman's chi-squared
    is q (L - 1) W. If every row is one tie, nothing is preferred and W is 0.
    """
    ranked = _midranks(table)
    rows = len(ranked)
    spread = float(((ranked.sum(0) - ranked.sum() / ranked.shape[1]) ** 2).sum())
    largest = rows * float(((ranked - (ranked.shape[1] + 1) / 2) ** 2).sum())
    return spread / largest if largest else 0.0


def _midranks(table: Floats) -> Floats:
    """Rank values within each row from 1, with mid-ranks for ties."""
    ranked = np.ones_like(table)
    for column in table.T:
        ranked += (column[:, None] < table) + (column[:, None] == table) / 2
    return ranked - 0.5
