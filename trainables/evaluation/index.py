"""The first candidates of a large corpus through FAISS: exact by default, approximate if asked for.

`evaluate` does without this module: it ranks every relevant candidate by counting, however deep
(law 7). What is here stops at a depth, so it reads a corpus once for all queries instead of once
for a few: `evaluate_top` uses it for measures that look no deeper, and contamination for nearest
neighbours. Neither ever gives a mean average precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.encoders.encoder import Embeddings
from trainables.errors import UserError
from trainables.evaluation.ranking import Scorer
from trainables.evaluation.ranks import DEPTHS, TOP, Ints
from trainables.evaluation.scoring import Indices, Scored

_EXTRA = 28
"""Candidates fetched beyond k, so that ties at the k-th place are seen."""
_BLOCK = 1 << 26
"""Bytes of vectors that exact search reads at a time."""
_SHARD = 1 << 28
"""Bytes of vectors in one approximate index; a larger corpus has several, one after another."""
_SAMPLE = 100
"""Queries searched exactly as well, to measure the recall of an approximate index."""


@dataclass(frozen=True)
class Index:
    """How the first candidates are found.

    An index is built for one search and thrown away, so an approximate one pays only with more
    queries than exact search takes to build it: thousands.

    Attributes:
        kind: `flat` compares every query with every vector: exact. `hnsw` (a graph) and `ivf`
            (cells of k-means) skip most of them.
        effort: More finds more and takes longer: candidates that `hnsw` keeps in view, at least
            the number searched for, or cells that `ivf` visits.
    """

    kind: Literal["flat", "hnsw", "ivf"] = "flat"
    effort: int = 128

    def __post_init__(self) -> None:
        """Check what FAISS would take without complaint.

        Raises:
            UserError: Another kind, or no effort.
        """
        if self.kind not in ("flat", "hnsw", "ivf"):
            raise UserError(f"index kind {self.kind!r}: choose flat, hnsw or ivf")
        if self.effort < 1:
            raise UserError(f"index effort {self.effort}: at least 1 is needed; 128 is usual")


def search(
    queries: Embeddings,
    corpus: Embeddings,
    k: int,
    index: Index = Index(),
) -> tuple[Indices, Embeddings]:
    """The k candidates of highest dot product, by law 7: score descending, then index ascending.

    Scores are computed again from the vectors found, in double precision and then rounded, so that
    equal vectors get equal scores whatever block they stood in. Memory beyond the vectors read is
    bounded by `_BLOCK` or `_SHARD`, not by the corpus, which may be memory-mapped.

    Args:
        queries: (n, d) float32.
        corpus: (size, d) float32.
        k: How many; fewer are there if the corpus is smaller.
        index: Exact by default.

    Returns:
        (n, min(k, size)) indices into the corpus and their float32 scores. Places that an
        approximate index leaves empty have index -1 and score -inf.
    """
    k = min(k, len(corpus))
    if not k or not len(queries):
        return np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    nearest = _candidates(queries, corpus, min(k + _EXTRA, len(corpus)), index)
    scores = _scores(queries, corpus, nearest)
    order = np.lexsort((nearest, -scores), axis=1)
    nearest = np.take_along_axis(nearest, order, axis=1)
    scores = np.take_along_axis(scores, order, axis=1)
    if index.kind == "flat" and k < nearest.shape[1] < len(corpus):
        # The tie at the k-th place may go on beyond what was fetched.
        for row in np.flatnonzero(scores[:, k - 1] == scores[:, -1]):
            nearest[row, :k], scores[row, :k] = _search_slowly(queries[row], corpus, k)
    return nearest[:, :k], scores[:, :k]


def measured_recall(
    queries: Embeddings, corpus: Embeddings, k: int, scores: Embeddings, sample: int = _SAMPLE
) -> float:
    """Share of the true first k that a search found, on a sample of queries.

    Args:
        queries: (n, d) that were searched for.
        corpus: (size, d) that was searched.
        k: As searched.
        scores: (n, k) found; what ties with the true k-th candidate counts as found.
        sample: Number of queries, drawn with a fixed seed.
    """
    rows = np.random.default_rng(0).permutation(len(queries))[:sample]
    _, exact = search(queries[rows], corpus, k)
    return float((scores[rows] >= exact[:, -1:]).mean())


def top_scorer(depth: int, index: Index, recalls: dict[int, float]) -> Scorer:
    """What `rank` needs in place of `scoring.score`, where only the first `depth` are looked at.

    A relevant candidate that is not among them has rank `depth + 1` or more than its corpus holds,
    whichever is larger: measures that stop at `depth` or before are right, all others wrong. Ties
    and counts of languages are left at 0.

    Args:
        depth: Candidates searched for, in each corpus and in the union of all.
        index: How.
        recalls: Filled: corpus number to recall, where the index is approximate.
    """

    def scorer(
        queries: Embeddings,
        corpora: Sequence[Embeddings],
        starts: Ints,
        relevant: Indices,
        progress: Callable[[int, int], None] | None = None,
    ) -> Scored:
        bounds = np.cumsum([0, *map(len, corpora)])
        missing = max(depth, int(bounds[-1])) + 1
        pairs = np.zeros((6, len(relevant)), np.int32)
        owner = np.repeat(np.arange(len(queries)), np.diff(starts))
        language = np.searchsorted(bounds, relevant, side="right") - 1
        tops = []
        for number, corpus in enumerate(corpora):
            nearest, scores = search(queries, corpus, depth, index)
            if index.kind != "flat" and nearest.size:
                recalls[number] = measured_recall(queries, corpus, nearest.shape[1], scores)
            nearest = np.where(nearest < 0, -1, nearest + bounds[number])
            own = np.flatnonzero(language == number)
            pairs[0, own] = _places(nearest, owner[own], relevant[own], missing)
            tops.append((nearest, scores))
            if progress:
                progress(number + 1, len(corpora))
        nearest, scores = (np.concatenate(part, axis=1) for part in zip(*tops, strict=True))
        order = np.lexsort((nearest, -scores), axis=1)[:, :depth]
        nearest = np.take_along_axis(nearest, order, axis=1)
        pairs[3] = _places(nearest, owner, relevant, missing)
        top = np.full((len(queries), TOP), -1, np.int64)
        top[:, : nearest.shape[1]] = nearest[:, :TOP]
        above = np.zeros((len(queries), len(DEPTHS), len(corpora)), np.int32)
        return Scored(pairs, top, above, np.zeros_like(above))

    return scorer


def _places(nearest: Indices, owner: Indices, relevant: Indices, missing: int) -> NDArray[np.int64]:
    """(pairs,) places from 1 of the relevant candidates among those found."""
    if not nearest.shape[1]:
        return np.full(len(owner), missing)
    places = np.empty(len(owner), np.int64)
    for begin in range(0, len(owner), 50_000):
        part = slice(begin, begin + 50_000)
        same = nearest[owner[part]] == relevant[part, None]
        places[part] = np.where(same.any(axis=1), same.argmax(axis=1) + 1, missing)
    return places


def _candidates(queries: Embeddings, corpus: Embeddings, k: int, index: Index) -> Indices:
    """(n, k) indices of about the first k; -1 where an approximate index found nothing."""
    import faiss

    heap = faiss.ResultHeap(len(queries), k, keep_max=True)
    queries = np.ascontiguousarray(queries)
    dimension = corpus.shape[1]
    rows = max(1, (_BLOCK if index.kind == "flat" else _SHARD) // (4 * dimension))
    with _threads():
        for begin in range(0, len(corpus), rows):
            part = np.ascontiguousarray(corpus[begin : begin + rows])
            if index.kind == "flat":
                some = min(k, len(part))
                scores, nearest = faiss.knn(queries, part, some, metric=faiss.METRIC_INNER_PRODUCT)
            else:
                built = _build(faiss, part, k, index)
                scores, nearest = built.search(queries, k)
            nearest = np.where(nearest < 0, -1, nearest + begin)
            heap.add_result(scores, nearest)
        heap.finalize()
    return np.asarray(heap.I, dtype=np.int64)


def _build(faiss: Any, vectors: Embeddings, k: int, index: Index) -> Any:
    size, dimension = vectors.shape
    if index.kind == "hnsw":
        built = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
        built.hnsw.efConstruction = 80
        built.hnsw.efSearch = max(index.effort, k)
    else:
        # FAISS wants 39 vectors to train each cell.
        cells = max(1, min(int(4 * size**0.5), size // 39))
        quantizer = faiss.IndexFlatIP(dimension)
        built = faiss.IndexIVFFlat(quantizer, dimension, cells, faiss.METRIC_INNER_PRODUCT)
        built.nprobe = min(index.effort, cells)
        built.train(vectors)
    built.add(vectors)
    return built


def _scores(queries: Embeddings, corpus: Embeddings, nearest: Indices) -> Embeddings:
    """(n, k) float32 dot products with the vectors found; -inf where there is none."""
    scores = np.empty(nearest.shape, np.float32)
    rows = max(1, _BLOCK // (8 * nearest.shape[1] * corpus.shape[1]))
    for begin in range(0, len(queries), rows):
        part = slice(begin, begin + rows)
        vectors = corpus[nearest[part]].astype(np.float64)
        scores[part] = np.einsum("nd,nkd->nk", queries[part].astype(np.float64), vectors)
    scores[nearest < 0] = -np.inf
    return scores


def _search_slowly(
    query: Embeddings, corpus: Embeddings, k: int
) -> tuple[Indices, NDArray[np.float32]]:
    """The first k of one query among all scores, whatever ties."""
    nearest, scores = np.empty(0, np.int64), np.empty(0, np.float32)
    rows = max(1, _BLOCK // (8 * corpus.shape[1]))
    for begin in range(0, len(corpus), rows):
        block = np.arange(begin, min(begin + rows, len(corpus)))
        nearest = np.concatenate([nearest, block])
        scores = np.concatenate([scores, _scores(query[None], corpus, block[None])[0]])
        order = np.lexsort((nearest, -scores))[:k]
        nearest, scores = nearest[order], scores[order]
    return nearest, scores


@contextmanager
def _threads() -> Iterator[None]:
    """FAISS brings an OpenMP of its own; let it use as many threads as torch."""
    import faiss
    import torch

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(torch.get_num_threads())
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
