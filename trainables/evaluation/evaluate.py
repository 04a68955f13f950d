"""Evaluate an encoder on a benchmark in every retrieval setting, encoding each unique text once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainables.data.benchmark import Benchmark
from trainables.data.pictures import IMAGE
from trainables.encoders.encoder import Embeddings, Encoder
from trainables.errors import UserError
from trainables.evaluation.encode import (
    Progress,
    Texts,
    check_vectors,
    encode_benchmark,
    truncated_answers,
)
from trainables.evaluation.index import Index, top_scorer
from trainables.evaluation.metrics import (
    CUT_OFFS,
    metrics_from_ranks,
    retrieval_metrics,
    setting_counts,
)
from trainables.evaluation.picture_store import KINDS, PictureStore, encode_pictures
from trainables.evaluation.ranking import rank
from trainables.evaluation.ranks import Ranks
from trainables.evaluation.vector_store import VectorStore


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics, ranks, counts and timing of an encoder on a benchmark.

    Attributes:
        metrics: Values by name, such as `map/cross/de-en`; equal to `metrics_from_ranks(ranks)`,
            with those of `i2t` for images.
        ranks: Source of any further metric; for images those of captions searching images (`t2i`).
        counts: Queries in each setting (`queries/mono/de`); queries dropped because they have no
            relevant candidate (`dropped/cross/de-en`, `dropped/no relevant candidate`); queries
            that repeat another's text (`repeated/de`); texts encoded; texts truncated by the
            encoder (`truncated/queries/de`, of `encoded/queries/de`); answers beyond its limit
            (`answers/cut/de`, of `answers/de`); relevant candidates tied with others.
        timing: Seconds for `encode queries`, `encode passages`, `rank` and `measure`.
        i2t: Ranks of images searching captions; None without images.
    """

    metrics: dict[str, float]
    ranks: Ranks
    counts: dict[str, int]
    timing: dict[str, float]
    i2t: Ranks | None = None


def evaluate(
    benchmark: Benchmark,
    encoder: Encoder,
    *,
    progress: Progress | None = None,
    store: VectorStore | None = None,
    pictures: PictureStore | None = None,
) -> Evaluation:
    """Encode each unique text and image once, rank every relevant candidate exactly, and measure.

    Args:
        benchmark: Queries, corpora and judgements; an image benchmark is evaluated in both
            directions.
        encoder: Any object with `encode_queries(texts, language)` and
            `encode_passages(texts, language)` that return float32 vectors (len(texts), d). Images
            also need `encode_images(pictures)`; captions are encoded as queries.
        progress: Called with the stage, the number done and the total.
        store: Keeps passage vectors on disk, memory-mapped, for corpora that do not fit in memory
            or are evaluated again; by default they stay in memory.
        pictures: Keeps decoded images and the vectors of frozen image towers for later
            evaluations; by default every call decodes the images.

    Raises:
        UserError: Vectors are not float32, finite and non-zero, or differ in dimension; no query
            has a relevant candidate; or the encoder cannot encode the benchmark's images.
    """
    if benchmark.pictures:
        return _evaluate_pictures(benchmark, encoder, progress, pictures)
    _refuse_ids(benchmark)
    _refuse_unmeasurable(benchmark)
    queries, passages, counts, timing = encode_benchmark(benchmark, encoder, progress, store)
    result = _evaluate(benchmark, queries, passages, progress)
    counts |= result.counts | truncated_answers(benchmark, encoder)
    return Evaluation(result.metrics, result.ranks, counts, timing | result.timing)


@dataclass(frozen=True, eq=False)
class TopEvaluation:
    """Metrics, counts and timing of an encoder, from the first candidates only.

    Attributes:
        metrics: Those of `CUT_OFFS` no deeper than the search, named as in `Evaluation`; no mean
            average precision and no language bias, which need deeper ranks. An approximate index
            adds its recall of the true first candidates, measured on a sample of queries, as the
            mean over corpora (`index/recall_at_100`) and for each (`index/recall_at_100/de`).
        counts: As in `Evaluation`, without ties.
        timing: Seconds for `encode queries`, `encode passages` and `search`.
    """

    metrics: dict[str, float]
    counts: dict[str, int]
    timing: dict[str, float]


def evaluate_top(
    benchmark: Benchmark,
    encoder: Encoder,
    *,
    index: Index = Index(),  # noqa: B008 - frozen
    depth: int = 100,
    progress: Progress | None = None,
    store: VectorStore | None = None,
) -> TopEvaluation:
    """Measure the first candidates only, for corpora of millions of passages such as MIRACL's.

    `evaluate` reads a corpus once for every few queries, this once for all of them. With the flat
    index the values equal those of `evaluate`.

    Args:
        benchmark: Queries, corpora and judgements.
        encoder: As for `evaluate`.
        index: Method of search; exact by default.
        depth: Number of candidates to search for; metrics that look deeper are left out.
        progress: Called with the stage (encoding, then `rank`), the number done and the total;
            `rank` counts corpora.
        store: As for `evaluate`.

    Raises:
        UserError: As `evaluate`, or a depth below 1.
    """
    if depth < 1:
        raise UserError(f"depth {depth}: at least 1 candidate is needed; 100 is usual")
    _refuse_ids(benchmark)
    _refuse_unmeasurable(benchmark)
    queries, passages, counts, timing = encode_benchmark(benchmark, encoder, progress, store)
    start = time.perf_counter()
    recalls: dict[int, float] = {}
    ranks = rank(benchmark, queries, passages, progress, top_scorer(depth, index, recalls))
    names = [measure for measure, deepest in CUT_OFFS.items() if deepest <= depth]
    metrics = retrieval_metrics(ranks, names)
    if recalls:
        by_language = {ranks.corpus_languages[number]: recall for number, recall in recalls.items()}
        metrics[f"index/recall_at_{depth}"] = float(np.mean(list(by_language.values())))
        metrics |= {f"index/recall_at_{depth}/{la}": recall for la, recall in by_language.items()}
    counts |= _counts(benchmark, ranks) | truncated_answers(benchmark, encoder)
    return TopEvaluation(metrics, counts, timing | {"search": time.perf_counter() - start})


def evaluate_embeddings(
    benchmark: Benchmark,
    queries: Mapping[str, Embeddings],
    passages: Mapping[str, Embeddings],
    *,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate vectors given in the order of the benchmark's queries and candidates.

    Args:
        benchmark: Queries, corpora and judgements.
        queries: Language to float32 (number of queries, d).
        passages: Language to float32 (number of candidates, d); may be memory-mapped.
        progress: Called with the stage, the number done and the total.

    Raises:
        UserError: As `evaluate`, or a language has no vectors.
    """
    _refuse_unmeasurable(benchmark)
    judged = {}
    for language, items in benchmark.queries.items():
        if items:
            vectors = _vectors(queries, language, "queries")
            check_vectors(vectors, [query.text for query in items], language, "queries")
            ids = {query.id for query in benchmark.judged_queries[language]}
            is_judged = np.array([query.id in ids for query in items])
            judged[language] = vectors if is_judged.all() else vectors[is_judged]
    corpora = {}
    for language, candidates in benchmark.corpus.items():
        if candidates:
            corpora[language] = _vectors(passages, language, "passages")
            check_vectors(corpora[language], Texts(candidates), language, "passages")
    return _evaluate(benchmark, judged, corpora, progress)


def _evaluate_pictures(
    benchmark: Benchmark,
    encoder: Encoder,
    progress: Progress | None,
    store: PictureStore | None,
) -> Evaluation:
    """Evaluate both directions from one encoding of every caption and image."""
    reverse = benchmark.reversed()
    for direction in (benchmark, reverse):
        _refuse_unmeasurable(direction)
    captions, images, counts, timing = encode_pictures(benchmark, encoder, progress, store)
    has_caption = np.array([picture.id in reverse.qrels for picture in benchmark.pictures])
    t2i = _evaluate(benchmark, captions, images, progress)
    image_queries = {IMAGE: images[IMAGE] if has_caption.all() else images[IMAGE][has_caption]}
    i2t = _evaluate(reverse, image_queries, captions, progress)
    for kind, result in zip(KINDS, (t2i, i2t), strict=True):
        unsuffixed = "queries/", "source/", f"dropped/{kind}"
        counts |= {
            name if name.startswith(unsuffixed) else f"{name}/{kind}": count
            for name, count in result.counts.items()
        }
        timing |= {f"{stage} {kind}": seconds for stage, seconds in result.timing.items()}
    return Evaluation(t2i.metrics | i2t.metrics, t2i.ranks, counts, timing, i2t.ranks)


def _evaluate(
    benchmark: Benchmark,
    queries: Mapping[str, Embeddings],
    passages: Mapping[str, Embeddings],
    progress: Progress | None,
) -> Evaluation:
    """Rank and measure; `queries` holds only vectors of queries that have a relevant candidate."""
    start = time.perf_counter()
    ranks = rank(benchmark, queries, passages, progress)
    middle = time.perf_counter()
    metrics = metrics_from_ranks(ranks)
    counts = _counts(benchmark, ranks) | {
        "ties/own": int(np.count_nonzero(ranks.own_ties)),
        "ties/pool": int(np.count_nonzero(ranks.pool_ties)),
    }
    timing = {"rank": middle - start, "measure": time.perf_counter() - middle}
    return Evaluation(metrics, ranks, counts, timing)


def _counts(benchmark: Benchmark, ranks: Ranks) -> dict[str, int]:
    """Count the queries of each setting, and everything that was left out."""
    counts = setting_counts(ranks) | {
        f"source/{reason}": number for reason, number in benchmark.dropped.items()
    }
    counts |= {f"repeated/{la}": count for la, count in benchmark.repeated.items() if count}
    ids = {query.id for items in benchmark.queries.values() for query in items}
    return counts | {
        "dropped/no relevant candidate": int(ranks.no_relevant.sum()),
        "dropped/judgements of unknown queries": len(benchmark.qrels.keys() - ids),
    }


def _vectors(table: Mapping[str, Embeddings], language: str, role: str) -> Embeddings:
    if language not in table:
        raise UserError(
            f"no vectors of {role} in {language!r}; there are {', '.join(table) or 'none'}. "
            "Give one array for each language of the benchmark"
        )
    return table[language]


def _refuse_ids(benchmark: Benchmark) -> None:
    """Refuse image ids without images, which would be encoded as texts."""
    if IMAGE in benchmark.corpus or IMAGE in benchmark.queries:
        raise UserError(
            f"{benchmark.name}: these are the ids of its pictures, not the pictures; give "
            "`evaluate` the benchmark as it was loaded, and an encoder that can see"
        )


def _refuse_unmeasurable(benchmark: Benchmark) -> None:
    """Refuse a benchmark on which nothing can be measured, before an hour of encoding."""
    benchmark.refuse_if_incomplete()
    if not any(benchmark.judged_queries.values()):
        raise UserError(
            f"{benchmark.name}: no query has a relevant candidate, so nothing can be measured. "
            "Check that the ids of queries and qrels agree"
        )
