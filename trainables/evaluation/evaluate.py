"""Evaluate an encoder on a benchmark: every setting, exact, from one encoding of each text."""

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
    """What an encoder does on a benchmark.

    Attributes:
        metrics: By name (DESIGN, "The command"); `metrics_from_ranks(ranks)` gives the same.
        ranks: From which everything else can be computed later; of pictures, those searched by
            captions (`t2i`).
        i2t: Of pictures also the ranks of captions; None where there are none.
        counts: Queries of each setting (`queries/mono/de`), those dropped for want of a relevant
            candidate (`dropped/cross/de-en`, `dropped/no relevant candidate`), those with the
            text of another one (`repeated/de`), texts encoded,
            texts of a language that the encoder cut (`truncated/queries/de`, of
            `encoded/queries/de`), answers that it never read (`answers/cut/de`, of
            `answers/de`), relevant candidates tied with another.
        timing: Seconds for `encode queries`, `encode passages`, `rank` and `measure`.
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
    """Encode each unique text and picture once, rank every relevant candidate exactly, and measure.

    Args:
        benchmark: Queries, corpora and judgements; of pictures both directions are evaluated.
        encoder: Any object with `encode_queries(texts, language)` and
            `encode_passages(texts, language)` that return float32 vectors (len(texts), d). For
            pictures one with `encode_images(pictures)` too; captions are its queries.
        progress: Told the stage, how much is done, and of how much.
        store: Where the passages' vectors are kept and memory-mapped, for corpora that do not fit
            in memory or are evaluated again; by default they stay in memory.
        pictures: Where decoded pictures and the vectors of frozen image towers are kept for other
            evaluations; by default every call decodes.

    Raises:
        UserError: Vectors that are not float32, finite and non-zero or differ in dimension; no
            query has a relevant candidate; or an encoder that cannot see pictures.
    """
    if benchmark.pictures:
        return _evaluate_pictures(benchmark, encoder, progress, pictures)
    _refuse_ids(benchmark)
    _refuse_nothing(benchmark)
    queries, passages, counts, timing = encode_benchmark(benchmark, encoder, progress, store)
    result = _evaluate(benchmark, queries, passages, progress)
    counts |= result.counts | truncated_answers(benchmark, encoder)
    return Evaluation(result.metrics, result.ranks, counts, timing | result.timing)


@dataclass(frozen=True, eq=False)
class TopEvaluation:
    """What an encoder does on a benchmark, as far as its first candidates tell.

    Attributes:
        metrics: Those of `CUT_OFFS` by the names that `Evaluation` has; nothing that needs ranks
            below the depth searched, so no mean average precision and no language bias. With an
            approximate index also its recall of the true first candidates, on a sample of
            queries, over all corpora (`index/recall_at_100`) and in each (`…/de`).
        counts: As of `Evaluation`, without ties.
        timing: As of `Evaluation`.
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
    """Measure the first candidates only: for corpora of millions, such as MIRACL's.

    `evaluate` reads a corpus once for every few queries, this once for all of them. With the flat
    index the figures are those of `evaluate`.

    Args:
        benchmark: Queries, corpora and judgements.
        encoder: As for `evaluate`.
        index: How the first candidates are found; exact by default.
        depth: How many; measures that look deeper are left out.
        progress: As for `evaluate`; told `search` and the corpora done.
        store: As for `evaluate`.

    Raises:
        UserError: As `evaluate`, or a depth below 1.
    """
    if depth < 1:
        raise UserError(f"depth {depth}: at least 1 candidate is needed; 100 is usual")
    _refuse_ids(benchmark)
    _refuse_nothing(benchmark)
    queries, passages, counts, timing = encode_benchmark(benchmark, encoder, progress, store)
    start = time.perf_counter()
    recalls: dict[int, float] = {}
    ranks = rank(benchmark, queries, passages, progress, top_scorer(depth, index, recalls))
    shown = [measure for measure, deepest in CUT_OFFS.items() if deepest <= depth]
    metrics = retrieval_metrics(ranks, shown)
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
    judged = {}
    for language, queries_of in benchmark.queries.items():
        if queries_of:
            vectors = _of(queries, language, "queries")
            check_vectors(vectors, [query.text for query in queries_of], language, "queries")
            ids = {query.id for query in benchmark.judged_queries[language]}
            has = np.array([query.id in ids for query in queries_of])
            judged[language] = vectors if has.all() else vectors[has]
    corpora = {}
    for language, candidates in benchmark.corpus.items():
        if candidates:
            corpora[language] = _of(passages, language, "passages")
            check_vectors(corpora[language], Texts(candidates), language, "passages")
    return _evaluate(benchmark, judged, corpora, progress)


def _evaluate_pictures(
    benchmark: Benchmark,
    encoder: Encoder,
    progress: Progress | None,
    store: PictureStore | None,
) -> Evaluation:
    """Both directions, from one encoding of every caption and picture."""
    other = benchmark.reversed()
    for direction in (benchmark, other):
        _refuse_nothing(direction)
    captions, shown, counts, timing = encode_pictures(benchmark, encoder, progress, store)
    captioned = np.array([picture.id in other.qrels for picture in benchmark.pictures])
    t2i = _evaluate(benchmark, captions, shown, progress)
    some = {IMAGE: shown[IMAGE] if captioned.all() else shown[IMAGE][captioned]}
    i2t = _evaluate(other, some, captions, progress)
    for kind, result in zip(KINDS, (t2i, i2t), strict=True):
        plain = "queries/", "source/", f"dropped/{kind}"
        counts |= {
            name if name.startswith(plain) else f"{name}/{kind}": count
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
    """Rank and measure; `queries` holds only those with a relevant candidate."""
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
    """Queries by setting, and everything that was left out."""
    counts = setting_counts(ranks) | {
        f"source/{reason}": number for reason, number in benchmark.dropped.items()
    }
    counts |= {f"repeated/{la}": count for la, count in benchmark.repeated.items() if count}
    ids = {query.id for items in benchmark.queries.values() for query in items}
    return counts | {
        "dropped/no relevant candidate": int(ranks.no_relevant.sum()),
        "dropped/judgements of unknown queries": len(benchmark.qrels.keys() - ids),
    }


def _of(table: Mapping[str, Embeddings], language: str, role: str) -> Embeddings:
    if language not in table:
        raise UserError(
            f"no vectors of {role} in {language!r}; there are {', '.join(table) or 'none'}. "
            "Give one array for each language of the benchmark"
        )
    return table[language]


def _refuse_ids(benchmark: Benchmark) -> None:
    """Stop before the ids of pictures are encoded as if they were passages."""
    if IMAGE in benchmark.corpus or IMAGE in benchmark.queries:
        raise UserError(
            f"{benchmark.name}: these are the ids of its pictures, not the pictures; give "
            "`evaluate` the benchmark as it was loaded, and an encoder that can see"
        )


def _refuse_nothing(benchmark: Benchmark) -> None:
    """Stop before an hour of encoding if nothing could be measured."""
    benchmark.refuse_if_incomplete()
    if not any(benchmark.judged_queries.values()):
        raise UserError(
            f"{benchmark.name}: no query has a relevant candidate, so nothing can be measured. "
            "Check that the ids of queries and qrels agree"
        )
