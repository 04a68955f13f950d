"""Retrieval metrics (mAP, MRR, recall, nDCG) from stored ranks, per query or averaged."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.data.pictures import IMAGE
from trainables.evaluation.bias import bias_metrics
from trainables.evaluation.metric_names import MEANS
from trainables.evaluation.ranks import Ranks

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lists:
    """Relevant candidates of the queries of one setting, sorted by rank within each query.

    Attributes:
        queries: (q,) indices into the ranks' queries; each has a relevant candidate here.
        starts: (q + 1,) offsets of their pairs.
        rank: (p,) ranks from 1, ascending within a query.
        gain: (p,) judgements.
    """

    queries: Indices
    starts: Indices
    rank: NDArray[np.int32]
    gain: Floats

    @property
    def sizes(self) -> Indices:
        """Number of relevant candidates of each query, (q,)."""
        return np.diff(self.starts)

    @property
    def place(self) -> Indices:
        """Position of each pair within its query, from 1, (p,)."""
        return np.arange(1, len(self.rank) + 1) - np.repeat(self.starts[:-1], self.sizes)

    def sums(self, values: Floats) -> Floats:
        """Sum values (p,) within each query, (q,)."""
        return np.asarray(np.add.reduceat(values, self.starts[:-1]))


Measure = Callable[[Lists], Floats]


def average_precision(lists: Lists) -> Floats:
    """Average precision: mean of the precision at each relevant candidate's rank; no cut-off."""
    return lists.sums(lists.place / lists.rank) / lists.sizes


def average_precision_at(depth: int) -> Measure:
    """Average precision as in LAReQA: only `depth` ranks count; divides by min(relevant, depth).

    trec_eval's `map_cut` divides by the number of relevant candidates instead.
    """

    def measure(lists: Lists) -> Floats:
        inside = np.where(lists.rank <= depth, lists.place / lists.rank, 0.0)
        return lists.sums(inside) / np.minimum(lists.sizes, depth)

    return measure


def reciprocal_rank(lists: Lists) -> Floats:
    """Reciprocal rank of the first relevant candidate."""
    return 1.0 / lists.rank[lists.starts[:-1]]


def recall_at(depth: int) -> Measure:
    """Recall: share of the relevant candidates that are among the first `depth`."""

    def measure(lists: Lists) -> Floats:
        return lists.sums((lists.rank <= depth).astype(np.float64)) / lists.sizes

    return measure


def hit_at(depth: int) -> Measure:
    """Hit rate: 1 if any relevant candidate is among the first `depth`, else 0.

    Papers on image retrieval call this recall@k: one of an image's five captions suffices.
    """

    def measure(lists: Lists) -> Floats:
        return (lists.rank[lists.starts[:-1]] <= depth).astype(np.float64)

    return measure


def ndcg_at(depth: int) -> Measure:
    """Normalised discounted cumulative gain, linear gain and log2(rank + 1) as in trec_eval."""

    def measure(lists: Lists) -> Floats:
        gains = np.where(lists.rank <= depth, lists.gain / np.log2(lists.rank + 1.0), 0.0)
        owner = np.repeat(np.arange(len(lists.queries)), lists.sizes)
        best = lists.gain[np.lexsort((-lists.gain, owner))]
        ideal = np.where(lists.place <= depth, best / np.log2(lists.place + 1.0), 0.0)
        return lists.sums(gains) / lists.sums(ideal)

    return measure


MEASURES: dict[str, Measure] = {
    "map": average_precision,
    "map_at_20": average_precision_at(20),
    "mrr": reciprocal_rank,
    "recall_at_1": recall_at(1),
    "recall_at_10": recall_at(10),
    "recall_at_100": recall_at(100),
    "ndcg_at_10": ndcg_at(10),
}
"""Retrieval measures by the name they have in metrics."""

PICTURE_MEASURES: Mapping[str, Measure] = ChainMap(
    {"hit_at_1": hit_at(1), "hit_at_5": hit_at(5), "hit_at_10": hit_at(10)}, MEASURES
)
"""Measures for image benchmarks; a hit needs any relevant candidate, recall is the share found."""

CUT_OFFS: Mapping[str, int] = {
    "recall_at_1": 1,
    "recall_at_10": 10,
    "recall_at_100": 100,
    "ndcg_at_10": 10,
}
"""Measures that look no deeper than the rank given; mean average precision has no cut-off."""


def settings(ranks: Ranks) -> dict[str, Lists]:
    """Return the retrieval settings that exist, by name: `mono/de`, `cross/de-en`, `multi/de`.

    A setting exists if at least one query has a relevant candidate in its corpus. The union of
    all corpora is `multi`, or `pool_same_language` if relevance is not judged in all of them; a
    single corpus has no union. Image benchmarks have `t2i/de` where captions search images, and
    `i2t/de` and `i2t_multi` (captions of all languages) where images search captions.
    """
    if ranks.direction:
        return _image_settings(ranks)
    own_lists = _lists(ranks, ranks.language, ranks.own_rank)
    lists_of: dict[str, Lists] = {}
    for code, query in enumerate(ranks.query_languages):
        for corpus_code, corpus in enumerate(ranks.corpus_languages):
            name = f"mono/{query}" if query == corpus else f"cross/{query}-{corpus}"
            lists_of[name] = own_lists(code, corpus_code)
    if ranks.pool_is_several:
        kind = "multi" if ranks.judged_in_all_languages else "pool_same_language"
        pool_lists = _lists(ranks, np.zeros_like(ranks.language), ranks.pool_rank)
        for code, query in enumerate(ranks.query_languages):
            lists_of[f"{kind}/{query}"] = pool_lists(code, 0)
    order = {kind: place for place, kind in enumerate(("mono", "cross", "multi"))}
    return {
        name: lists
        for name, lists in sorted(
            lists_of.items(), key=lambda item: order.get(item[0].split("/")[0], len(order))
        )
        if len(lists.queries)
    }


def _image_settings(ranks: Ranks) -> dict[str, Lists]:
    """Return the settings of one direction between captions and images that have a query."""
    own_lists = _lists(ranks, ranks.language, ranks.own_rank)
    if ranks.direction == "t2i":
        lists_of = {
            f"t2i/{la}": own_lists(code, 0) for code, la in enumerate(ranks.query_languages)
        }
    else:
        lists_of = {
            f"i2t/{la}": own_lists(0, code) for code, la in enumerate(ranks.corpus_languages)
        }
        if ranks.pool_is_several:
            pool_lists = _lists(ranks, np.zeros_like(ranks.language), ranks.pool_rank)
            lists_of["i2t_multi"] = pool_lists(0, 0)
    return {name: lists for name, lists in lists_of.items() if len(lists.queries)}


def by_query(ranks: Ranks, measure: str) -> dict[str, tuple[Indices, Floats]]:
    """Return for each setting its queries (indices into the ranks) and their values.

    Args:
        ranks: Ranks of one evaluation.
        measure: A key of `MEASURES`, or of `PICTURE_MEASURES` if there are images.
    """
    function = PICTURE_MEASURES[measure]
    return {name: (lists.queries, function(lists)) for name, lists in settings(ranks).items()}


def metrics_from_ranks(ranks: Ranks) -> dict[str, float]:
    """Compute every metric by name: each setting (`map/mono/de`), macro means, gaps, language bias.

    A macro mean, such as `map/cross`, is the unweighted mean over the settings of its kind;
    `map/multi_micro` is the mean over all queries, as LAReQA reports it. Image benchmarks also
    have `hit_at_1`, 5 and 10: any relevant candidate found, where recall is the share found.
    """
    metrics = retrieval_metrics(ranks, PICTURE_MEASURES if ranks.direction else MEASURES)
    metrics |= gaps(metrics, ranks.query_languages, ranks.corpus_languages)
    metrics |= bias_metrics(ranks)
    return {name: value for name, value in metrics.items() if not name.endswith(f"/{IMAGE}")}


def retrieval_metrics(ranks: Ranks, measures: Iterable[str]) -> dict[str, float]:
    """Compute the named `PICTURE_MEASURES` for every setting, and their macro means."""
    metrics: dict[str, float] = {}
    lists = settings(ranks)
    for measure in measures:
        function = PICTURE_MEASURES[measure]
        values = {name: function(entry) for name, entry in lists.items()}
        means = {name: float(value.mean()) for name, value in values.items()}
        for title, mean in MEANS.items():
            if members := mean.members(lists):
                parts = [values[name] if mean.micro else [means[name]] for name in members]
                metrics[f"{measure}/{title}"] = float(np.concatenate(parts).mean())
        metrics |= {f"{measure}/{name}": mean for name, mean in means.items()}
    return metrics


def setting_counts(ranks: Ranks) -> dict[str, int]:
    """Count the queries of each setting, and those dropped for lack of a relevant candidate."""
    lists_of = settings(ranks)
    totals = np.bincount(ranks.query_language, minlength=len(ranks.query_languages))
    totals = totals + ranks.no_relevant
    counts = {f"queries/{name}": len(lists.queries) for name, lists in lists_of.items()}
    for name, lists in lists_of.items():
        language = ranks.query_language[lists.queries[0]]
        dropped = int(totals[language]) - len(lists.queries)
        if dropped:
            counts[f"dropped/{name}"] = dropped
    return counts


def _lists(
    ranks: Ranks, corpus: NDArray[np.int32], rank: NDArray[np.int32]
) -> Callable[[int, int], Lists]:
    """Sort all pairs once by (query language, corpus, query, rank); return a look-up."""
    query = ranks.pair_query
    language = ranks.query_language[query]
    order = np.lexsort((rank, query, corpus, language))
    corpora = len(ranks.corpus_languages)
    key = (language.astype(np.int64) * corpora + corpus)[order]

    def pick(query_code: int, corpus_code: int) -> Lists:
        pair = query_code * corpora + corpus_code
        chosen = order[slice(*np.searchsorted(key, [pair, pair + 1]))]
        queries, first = np.unique(query[chosen], return_index=True)
        return Lists(queries, np.append(first, len(chosen)), rank[chosen], ranks.gain[chosen])

    return pick


def gaps(
    metrics: Mapping[str, float], queries: Sequence[str], corpora: Sequence[str]
) -> dict[str, float]:
    """Compare mAP between languages: gap (max - min), spread (standard deviation) and worst.

    `map_gap/mono`, `map_gap/cross_by_query` and `map_gap/cross_by_corpus` (means over the other
    side), `map_gap/multi`, for images `map_gap/t2i` and `map_gap/i2t`; the same with `map_spread`
    and `map_worst`; `map_gap/mono_cross` is the mean of mono minus the mean of cross.

    Args:
        metrics: Values that include `map/<setting>` for every setting.
        queries: Query languages.
        corpora: Corpus languages.
    """
    cross = np.array(
        [[metrics.get(f"map/cross/{q}-{c}", np.nan) for c in corpora] for q in queries]
    )
    tables = {
        "mono": _known([metrics.get(f"map/mono/{language}", np.nan) for language in queries]),
        "cross_by_query": _means(cross),
        "cross_by_corpus": _means(cross.T),
        "multi": _known([metrics.get(f"map/multi/{language}", np.nan) for language in queries]),
        "t2i": _known([metrics.get(f"map/t2i/{language}", np.nan) for language in queries]),
        "i2t": _known([metrics.get(f"map/i2t/{language}", np.nan) for language in corpora]),
    }
    measured: dict[str, float] = {}
    for kind, values in tables.items():
        if len(values) > 1:
            measured[f"map_gap/{kind}"] = max(values) - min(values)
            measured[f"map_spread/{kind}"] = float(np.std(values))
            measured[f"map_worst/{kind}"] = min(values)
    if "map/mono" in metrics and "map/cross" in metrics:
        measured["map_gap/mono_cross"] = metrics["map/mono"] - metrics["map/cross"]
    return measured


def _known(values: Sequence[float]) -> list[float]:
    return [float(value) for value in values if not np.isnan(value)]


def _means(rows: np.ndarray) -> list[float]:
    return [float(np.mean(known)) for known in map(_known, rows) if known]
