"""Rank a benchmark's relevant candidates, given the vectors of its texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.data.benchmark import Benchmark, Query
from trainables.encoders.encoder import Embeddings
from trainables.errors import UserError
from trainables.evaluation.encode import Progress
from trainables.evaluation.ranks import Ints, Ranks
from trainables.evaluation.scoring import Indices, Scored, score

Scorer = Callable[
    [Embeddings, Sequence[Embeddings], Ints, Indices, Callable[[int, int], None] | None], Scored
]
"""Function with the arguments and the result of `score`."""


def rank(
    benchmark: Benchmark,
    queries: Mapping[str, Embeddings],
    passages: Mapping[str, Embeddings],
    progress: Progress | None = None,
    scorer: Scorer = score,
) -> Ranks:
    """Rank every relevant candidate of every query that has one.

    Args:
        benchmark: Queries, corpora and judgements.
        queries: Language to vectors of its queries with a relevant candidate, in their order;
            languages without such queries may be left out.
        passages: Language to vectors of its candidates; empty corpora may be left out.
        progress: Called with `rank`, the number of queries done and the total.
        scorer: Exact by default; that of `top_scorer` ranks among the first candidates only.

    Raises:
        UserError: Vectors differ in dimension.
    """
    judged = benchmark.judged_queries
    judged_queries = [query for items in judged.values() for query in items]
    starts, relevant, gain = _judgements(benchmark, judged_queries)
    dimension = _dimension(queries, passages)
    corpora = _vectors_by_language(passages, benchmark.corpus, dimension)
    vectors = np.concatenate(_vectors_by_language(queries, judged, dimension))
    report = (lambda done, total: progress("rank", done, total)) if progress else None
    scored = scorer(vectors, corpora, starts, relevant, report)
    bounds = np.cumsum([0, *map(len, corpora)])
    named = np.unique(np.concatenate([relevant, scored.top[scored.top >= 0]]))
    top = np.where(scored.top < 0, -1, np.searchsorted(named, scored.top))
    sizes = [len(items) for items in judged.values()]
    return Ranks(
        name=benchmark.name,
        judged_in_all_languages=benchmark.judged_in_all_languages,
        query_languages=tuple(benchmark.queries),
        corpus_languages=tuple(benchmark.corpus),
        corpus_sizes=np.diff(bounds).astype(np.int32),
        query_ids=np.array([query.id for query in judged_queries]),
        questions=np.array([query.question for query in judged_queries]),
        clusters=np.array([query.cluster for query in judged_queries]),
        query_language=np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
        starts=starts,
        candidate_ids=np.array(_ids(benchmark, bounds, named)),
        candidate=np.searchsorted(named, relevant).astype(np.int32),
        language=(np.searchsorted(bounds, relevant, side="right") - 1).astype(np.int32),
        gain=gain,
        own_rank=scored.pairs[0],
        own_ties=scored.pairs[1],
        own_before=scored.pairs[2],
        pool_rank=scored.pairs[3],
        pool_ties=scored.pairs[4],
        pool_before=scored.pairs[5],
        top=top.astype(np.int32),
        above=scored.above,
        tied=scored.tied,
        no_relevant=np.array(
            [len(items) - len(judged[la]) for la, items in benchmark.queries.items()], np.int32
        ),
    )


def _judgements(
    benchmark: Benchmark, judged_queries: Sequence[Query]
) -> tuple[NDArray[np.int32], Indices, NDArray[np.float64]]:
    """Return query offsets (n + 1,), relevant pool indices (m,) ascending by query, gains (m,)."""
    relevant_ids = {name for query in judged_queries for name in benchmark.qrels[query.id]}
    index: dict[str, int] = {}
    offset = 0
    for items in benchmark.corpus.values():
        index |= {item.id: offset + i for i, item in enumerate(items) if item.id in relevant_ids}
        offset += len(items)
    judged = [benchmark.qrels[query.id] for query in judged_queries]
    starts = np.cumsum([0, *map(len, judged)]).astype(np.int32)
    relevant = np.array([index[name] for gains in judged for name in gains], dtype=np.int64)
    gain = np.array([value for gains in judged for value in gains.values()], dtype=np.float64)
    order = np.lexsort((relevant, np.repeat(np.arange(len(judged)), np.diff(starts))))
    relevant, gain = relevant[order], gain[order]
    return starts, relevant, gain


def _dimension(queries: Mapping[str, Embeddings], passages: Mapping[str, Embeddings]) -> int:
    dimensions: dict[str, int] = {
        f"{role} in {language}": vectors.shape[-1]
        for role, table in (("queries", queries), ("passages", passages))
        for language, vectors in table.items()
    }
    first, dimension = next(iter(dimensions.items()))
    for name, size in dimensions.items():
        if size != dimension:
            raise UserError(
                f"vectors of {name} have dimension {size}, those of {first} have {dimension}; "
                "one encoder must give one dimension"
            )
    return dimension


def _vectors_by_language(
    table: Mapping[str, Embeddings], languages: Iterable[str], dimension: int
) -> list[Embeddings]:
    """Return the vectors of every language, an empty array if it has none."""
    shape = next((vectors.shape[1:] for vectors in table.values()), (dimension,))
    empty = np.empty((0, *shape), np.float32)
    return [table.get(language, empty) for language in languages]


def _ids(benchmark: Benchmark, bounds: Indices, indices: Indices) -> list[str]:
    """Return candidate ids by pool index, looking up only those asked for."""
    corpora = list(benchmark.corpus.values())
    language = np.searchsorted(bounds, indices, side="right") - 1
    return [
        corpora[code][position].id
        for code, position in zip(language, (indices - bounds[language]).tolist(), strict=True)
    ]
