"""Nearest-neighbour search in large corpora with FAISS: exact (flat), or approximate (HNSW, IVF).

`evaluate` does not use this module: it ranks every relevant candidate by counting, at any depth.
Search stops at a depth, so it reads a corpus once for all queries instead of once for a few:
`evaluate_top` uses it for metrics with a cut-off, and contamination checks for near duplicates.
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
"""Bytes of vectors in one approximate index; a larger corpus is searched in several, one by one."""
_SAMPLE = 100
"""Queries that are also searched exactly, to measure the recall of an approximate index."""


@dataclass(frozen=True)
class Index:
    """Method of search.

    An index is built for one search and discarded, so an approximate one pays off only if the
    queries are many enough that exact search would take longer than the build: thousands.

    Attributes:
        kind: `flat` compares every query with every vector: exact. `hnsw` (a graph) and `ivf`
            (cells of k-means) skip most of them.
        effort: FAISS's efSearch of `hnsw` (candidates in view, raised to the number searched for)
            or nprobe of `ivf` (cells visited); more finds more and takes longer.
    """

    kind: Literal["flat", "hnsw", "ivf"] = "flat"
    effort: int = 128

    def __post_init__(self) -> None:
        """Check values that FAISS would accept in silence.

        Raises:
            UserError: An unknown kind, or an effort below 1.
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
    """Return the k candidates of highest dot product, ties by index ascending (law 7).

    Scores are recomputed from the vectors found, in double precision and then rounded, so that
    equal vectors get equal scores whichever block they were in. Memory beyond the vectors read is
    bounded by `_BLOCK` or `_SHARD`, not by the corpus, which may be memory-mapped.

    Args:
        queries: (n, d) float32.
        corpus: (size, d) float32.
        k: Number of candidates; fewer if the corpus is smaller.
        index: Method; exact by default.

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
        # The tie at the k-th place may extend beyond the candidates fetched.
        for row in np.flatnonzero(scores[:, k - 1] == scores[:, -1]):
            nearest[row, :k], scores[row, :k] = _search_slowly(queries[row], corpus, k)
    return nearest[:, :k], scores[:, :k]


def measured_recall(
    queries: Embeddings, corpus: Embeddings, k: int, scores: Embeddings, sample: int = _SAMPLE
) -> float:
    """Measure the share of the true first k that a search found, on a sample of queries.

    Args:
        queries: (n, d) as searched.
        corpus: (size, d) as searched.
        k: As searched.
        scores: (n, k) found; a tie with the true k-th candidate counts as found.
        sample: Number of queries, drawn with a fixed seed.
    """
    rows = np.random.default_rng(0).permutation(len(queries))[:sample]
    _, exact = search(queries[rows], corpus, k)
    return float((scores[rows] >= exact[:, -1:]).mean())


def top_scorer(depth: int, index: Index, recalls: dict[int, float]) -> Scorer:
    """Return a substitute for `scoring.score` that ranks only the first `depth` candidates.

    A relevant candidate beyond them gets the rank max(depth, pool size) + 1: metrics with a
    cut-off of at most `depth` are right, all others wrong. Ties and language counts are left at 0.

    Args:
        depth: Number of candidates searched for, in each corpus and in the union of all.
        index: Method of search.
        recalls: Receives the recall by corpus number if the index is approximate.
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
            in_corpus = np.flatnonzero(language == number)
            pairs[0, in_corpus] = _places(nearest, owner[in_corpus], relevant[in_corpus], missing)
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
    """Return each relevant candidate's rank from 1 among those found, or `missing`, (pairs,)."""
    if not nearest.shape[1]:
        return np.full(len(owner), missing)
    places = np.empty(len(owner), np.int64)
    for begin in range(0, len(owner), 50_000):
        part = slice(begin, begin + 50_000)
        same = nearest[owner[part]] == relevant[part, None]
        places[part] = np.where(same.any(axis=1), same.argmax(axis=1) + 1, missing)
    return places


def _candidates(queries: Embeddings, corpus: Embeddings, k: int, index: Index) -> Indices:
    """Return indices of about the first k, (n, k); -1 where an approximate index found none."""
    import faiss

    heap = faiss.ResultHeap(len(queries), k, keep_max=True)
    queries = np.ascontiguousarray(queries)
    dimension = corpus.shape[1]
    rows = max(1, (_BLOCK if index.kind == "flat" else _SHARD) // (4 * dimension))
    with _threads():
        for begin in range(0, len(corpus), rows):
            part = np.ascontiguousarray(corpus[begin : begin + rows])
            if index.kind == "flat":
                fetched = min(k, len(part))
                scores, nearest = faiss.knn(
                    queries, part, fetched, metric=faiss.METRIC_INNER_PRODUCT
                )
            else:
                approximate = _build(faiss, part, k, index)
                scores, nearest = approximate.search(queries, k)
            nearest = np.where(nearest < 0, -1, nearest + begin)
            heap.add_result(scores, nearest)
        heap.finalize()
    return np.asarray(heap.I, dtype=np.int64)


def _build(faiss: Any, vectors: Embeddings, k: int, index: Index) -> Any:
    size, dimension = vectors.shape
    if index.kind == "hnsw":
        faiss_index = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
        faiss_index.hnsw.efConstruction = 80
        faiss_index.hnsw.efSearch = max(index.effort, k)
    else:
        # FAISS asks for at least 39 vectors to train each cell.
        cells = max(1, min(int(4 * size**0.5), size // 39))
        quantizer = faiss.IndexFlatIP(dimension)
        faiss_index = faiss.IndexIVFFlat(quantizer, dimension, cells, faiss.METRIC_INNER_PRODUCT)
        faiss_index.nprobe = min(index.effort, cells)
        faiss_index.train(vectors)
    faiss_index.add(vectors)
    return faiss_index


def _scores(queries: Embeddings, corpus: Embeddings, nearest: Indices) -> Embeddings:
    """Compute float32 dot products with the vectors found, (n, k); -inf where index is -1."""
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
    """Search all scores for the first k of one query, so that ties are exact."""
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
    """Set FAISS's own OpenMP to as many threads as torch."""
    import faiss
    import torch

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(torch.get_num_threads())
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
