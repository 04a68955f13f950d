"""Evaluate an encoder on a benchmark: every setting, exact, from one encoding of each text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from trainables.data.corpus import Benchmark, Candidate
from trainables.encoders.encoder import Embeddings, Encoder
from trainables.errors import UserError
from trainables.evaluation.encode import Progress, Role, check_vectors, encode_unique
from trainables.evaluation.metrics import metrics_from_ranks, setting_counts
from trainables.evaluation.ranking import rank
from trainables.evaluation.ranks import Ranks
from trainables.evaluation.store import VectorStore


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an encoder does on a benchmark.

    Attributes:
        metrics: By name (DESIGN, "The command"); `metrics_from_ranks(ranks)` gives the same.
        ranks: From which everything else can be computed later.
        counts: Queries of each setting (`queries/mono/de`), those dropped for want of a relevant
            candidate (`dropped/cross/de-en`, `dropped/no relevant candidate`), texts encoded,
            texts of a language that the encoder cut (`truncated/queries/de`, of
            `encoded/queries/de`), relevant candidates tied with another.
        timing: Seconds for `encode queries`, `encode passages`, `rank` and `measure`.
    """

    metrics: dict[str, float]
    ranks: Ranks
    counts: dict[str, int]
    timing: dict[str, float]


def evaluate(
    benchmark: Benchmark,
    encoder: Encoder,
    *,
    progress: Progress | None = None,
    store: VectorStore | None = None,
) -> Evaluation:
    """Encode each unique text once, rank every relevant candidate exactly, and measure.

    Args:
        benchmark: Queries, corpora and judgements.
        encoder: Any object with `encode_queries(texts, language)` and
            `encode_passages(texts, language)` that return float32 vectors (len(texts), d).
        progress: Told the stage, how much is done, and of how much.
        store: Where the passages' vectors are kept and memory-mapped, for corpora that do not fit
            in memory or are evaluated again; by default they stay in memory.

    Raises:
        UserError: Vectors that are not float32, finite and non-zero or differ in dimension; or no
            query has a relevant candidate.
    """
    _refuse_nothing(benchmark)
    start = time.perf_counter()
    asked = {
        language: [query.text for query in queries if benchmark.qrels.get(query.id)]
        for language, queries in benchmark.queries.items()
    }
    queries, query_counts = _encode(encoder, asked, "queries", progress, None)
    middle = time.perf_counter()
    candidates = {language: _Texts(corpus) for language, corpus in benchmark.corpus.items()}
    passages, passage_counts = _encode(encoder, candidates, "passages", progress, store)
    end = time.perf_counter()
    result = _evaluate(benchmark, queries, passages, progress)
    counts = query_counts | passage_counts | result.counts
    timing = {"encode queries": middle - start, "encode passages": end - middle}
    return Evaluation(result.metrics, result.ranks, counts, timing | result.timing)


class _Texts(Sequence[str]):
    """Texts of candidates, without a second list of them."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = candidates

    def __len__(self) -> int:
        return len(self.candidates)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [candidate.text for candidate in self.candidates[index]]
        return self.candidates[index].text


def _encode(
    encoder: Encoder,
    texts: Mapping[str, Sequence[str]],
    role: Role,
    progress: Progress | None,
    store: VectorStore | None,
) -> tuple[dict[str, Embeddings], dict[str, int]]:
    """Vectors by language, and counts of texts encoded and cut."""
    vectors: dict[str, Embeddings] = {}
    counts = {f"encoded/{role}": 0}
    for language, items in texts.items():
        if not items:
            continue
        cut = _truncated(encoder, role)
        if store:
            vectors[language], unique = store.vectors(encoder, items, language, role, progress)
        else:
            vectors[language], unique = encode_unique(encoder, items, language, role, progress)
        counts[f"encoded/{role}"] += unique
        counts[f"encoded/{role}/{language}"] = unique
        if cut is not None:
            counts[f"truncated/{role}/{language}"] = (_truncated(encoder, role) or 0) - cut
    return vectors, counts


def _truncated(encoder: Encoder, role: Role) -> int | None:
    """Texts cut so far, where the encoder counts them as `TextEncoder` does."""
    counted = getattr(encoder, "truncated", None)
    name = "query" if role == "queries" else "passage"
    return int(counted[name]) if isinstance(counted, Mapping) and name in counted else None


def evaluate_embeddings(
    benchmark: Benchmark,
    queries: Mapping[str, Embeddings],
    passages: Mapping[str, Embeddings],
    *,
    progress: Progress | None = None,
) -> Evaluation:
    """As `evaluate`, from vectors in the order of the benchmark's queries and candidates.

    Args:
        benchmark: Queries, corpora and judgements.
        queries: Language to float32 (number of queries, d).
        passages: Language to float32 (number of candidates, d); may be memory-mapped.
        progress: Told the stage, how much is done, and of how much.

    Raises:
        UserError: As `evaluate`, or a language without vectors.
    """
    _refuse_nothing(benchmark)
    kept = {}
    for language, asked in benchmark.queries.items():
        if asked:
            vectors = _of(queries, language, "queries")
            check_vectors(vectors, [query.text for query in asked], language, "queries")
            has = np.array([bool(benchmark.qrels.get(query.id)) for query in asked])
            kept[language] = vectors if has.all() else vectors[has]
    corpora = {}
    for language, candidates in benchmark.corpus.items():
        if candidates:
            corpora[language] = _of(passages, language, "passages")
            check_vectors(corpora[language], _Texts(candidates), language, "passages")
    return _evaluate(benchmark, kept, corpora, progress)


def _evaluate(
    benchmark: Benchmark,
    queries: Mapping[str, Embeddings],
    passages: Mapping[str, Embeddings],
    progress: Progress | None,
) -> Evaluation:
    """Rank and measure; `queries` holds only those with a relevant candidate."""
    start = time.perf_counter()
    ranks = rank(benchmark, queries, passages, progress)
    middle = time.perf_counter()
    metrics = metrics_from_ranks(ranks)
    counts = setting_counts(ranks) | {
        f"source/{reason}": number for reason, number in benchmark.dropped.items()
    }
    asked = {query.id for items in benchmark.queries.values() for query in items}
    counts |= {
        "dropped/no relevant candidate": int(ranks.no_relevant.sum()),
        "dropped/judgements of unknown queries": len(benchmark.qrels.keys() - asked),
        "ties/own": int(np.count_nonzero(ranks.own_ties)),
        "ties/pool": int(np.count_nonzero(ranks.pool_ties)),
    }
    timing = {"rank": middle - start, "measure": time.perf_counter() - middle}
    return Evaluation(metrics, ranks, counts, timing)


def _of(table: Mapping[str, Embeddings], language: str, role: str) -> Embeddings:
    if language not in table:
        raise UserError(
            f"no vectors of {role} in {language!r}; there are {', '.join(table) or 'none'}. "
            "Give one array for each language of the benchmark"
        )
    return table[language]


def _refuse_nothing(benchmark: Benchmark) -> None:
    """Stop before an hour of encoding if nothing could be measured."""
    asked = (query.id for items in benchmark.queries.values() for query in items)
    if not any(benchmark.qrels.get(identity) for identity in asked):
        raise UserError(
            f"{benchmark.name}: no query has a relevant candidate, so nothing can be measured. "
            "Check that the ids of queries and qrels agree"
        )
