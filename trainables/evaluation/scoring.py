"""Compute exact ranks from embeddings, in blocks of bounded memory.

One matrix product gives a block of scores. Each language's slice is sorted once; binary search then
counts, for every relevant candidate, the scores above it and equal to it. Ranks have no cut-off.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainables.encoders.encoder import Embeddings
from trainables.evaluation.ranks import DEPTHS, TOP, Ints

if TYPE_CHECKING:
    import torch

_BLOCK = 4_000_000
"""Scores in one block: 16 MB, so that the passes over them stay in a shared cache."""
_LARGEST = 64_000_000
"""Most scores in a block of few queries: 256 MB, and as much again for a sorted copy."""
_ROWS = 4, 16
"""Fewest queries in a block, and the number worth a larger one: a block reads the whole corpus."""
_JOINED = 1 << 28
"""Largest total size in bytes at which corpora are copied into one matrix."""
_HASHED = 1 << 24
"""Bytes of vectors hashed at once."""

Indices = NDArray[np.int64]


Adjust = Callable[[int, Embeddings, Indices], None]
"""Changes a block of scores (b, size) in place, given the index of its first query and the
corpora's bounds (L + 1,)."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Result of `score` for n queries, m (query, relevant) pairs and L corpora.

    Attributes:
        pairs: (6, m) rank, ties and ties before: in the candidate's own corpus, then in the pool.
        top: (n, 10) first pool indices; -1 past the end of the pool.
        above: (n, 2, L) as in `Ranks`.
        tied: (n, 2, L) as in `Ranks`.
    """

    pairs: Ints
    top: Indices
    above: Ints
    tied: Ints


def score(
    queries: Embeddings,
    corpora: Sequence[Embeddings],
    starts: Ints,
    relevant: Indices,
    progress: Callable[[int, int], None] | None = None,
    adjust: Adjust | None = None,
) -> Scored:
    """Rank relevant candidates by dot product, in their own corpus and in the pool of all.

    If a text or image has several vectors, the largest dot product of the two sets is the score,
    as with BLIP-2's query tokens. Candidates whose vectors have equal bytes get exactly equal
    scores. Corpora may be memory-mapped: each is read once for every block of queries.

    Args:
        queries: (n, d) float32, or (n, k, d).
        corpora: Each (size, d) float32, or (size, k, d), in pool order.
        starts: (n + 1,) offsets of each query's pairs.
        relevant: (m,) pool indices of relevant candidates, grouped by query.
        progress: Called with the number of queries done, and n.
        adjust: Changes each block of scores before it is ranked.
    """
    bounds = np.cumsum([0, *map(len, corpora)])
    size, n = int(bounds[-1]), len(queries)
    copies, originals = _equal_vectors(corpora, bounds)
    matrices = _join_if_small(corpora)
    pairs = np.empty((6, len(relevant)), np.int32)
    top = np.full((n, TOP), -1, np.int64)
    above = np.zeros((n, len(DEPTHS), len(corpora)), np.int32)
    tied = np.zeros_like(above)
    rows = max(_ROWS[0], min(_ROWS[1], _LARGEST // size), _BLOCK // size)
    buffer = np.empty((min(rows, n), size), np.float32)
    for begin in range(0, n, rows):
        end = min(n, begin + rows)
        block = buffer[: end - begin]
        _product(queries[begin:end], matrices, block)
        # The same dot product can differ in its last bit from one column to another.
        block[:, copies] = block[:, originals]
        if adjust:
            adjust(begin, block, bounds)
        chosen = slice(starts[begin], starts[end])
        owner = np.repeat(np.arange(end - begin), np.diff(starts[begin : end + 1]))
        part = _rank_block(block, bounds, owner, relevant[chosen])
        pairs[:, chosen], first, above[begin:end], tied[begin:end] = part
        top[begin:end, : first.shape[1]] = first
        if progress:
            progress(end, n)
    return Scored(pairs, top, above, tied)


def _join_if_small(corpora: Sequence[Embeddings]) -> Sequence[Embeddings]:
    """Concatenate the corpora, because one product is faster, unless the copy is too large."""
    if sum(matrix.nbytes for matrix in corpora) <= _JOINED:
        return [np.concatenate(corpora)]
    return corpora


def _product(queries: Embeddings, matrices: Sequence[Embeddings], block: Embeddings) -> None:
    """Fill `block` with dot products, by torch: three times as fast as numpy here."""
    import torch

    left, out = _tensor(queries), torch.from_numpy(block)
    low = 0
    for matrix in matrices:
        high = low + len(matrix)
        if high > low and left.ndim == matrix.ndim == 2:
            torch.mm(left, _tensor(matrix).T, out=out[:, low:high])
        elif high > low:
            _max_product(left, matrix, out[:, low:high])
        low = high


def _max_product(left: torch.Tensor, matrix: Embeddings, out: torch.Tensor) -> None:
    """Write the largest dot product of each pair's vectors to `out`, in steps of bounded memory."""
    per_query = max(1, left.numel() // (len(left) * left.shape[-1]))
    per_candidate = max(1, matrix[0].size // matrix.shape[-1])
    step = max(1, _BLOCK // (len(left) * per_query * per_candidate))
    rows = left.reshape(-1, left.shape[-1])
    for begin in range(0, len(matrix), step):
        part = _tensor(np.ascontiguousarray(matrix[begin : begin + step]))
        products = rows @ part.reshape(-1, part.shape[-1]).T
        pairs = products.view(len(left), per_query, len(part), per_candidate)
        out[:, begin : begin + len(part)] = pairs.amax((1, 3))


def _equal_vectors(corpora: Sequence[Embeddings], bounds: Indices) -> tuple[Indices, Indices]:
    """Return pool indices of vectors equal in bytes to an earlier one, and the indices of those."""
    dimension = int(np.prod(corpora[0].shape[1:]))
    weights = np.random.default_rng(0).integers(1, 2**63, dimension, dtype=np.uint64) | np.uint64(1)
    hashes = np.empty(bounds[-1], np.uint64)
    step = max(1, _HASHED // (8 * dimension))
    for matrix, offset in zip(corpora, bounds[:-1], strict=True):
        for begin in range(0, len(matrix), step):
            part = np.ascontiguousarray(matrix[begin : begin + step])
            bits = part.view(np.uint32).reshape(len(part), -1)
            hashed = bits.astype(np.uint64) @ weights
            hashes[offset + begin : offset + begin + len(bits)] = hashed
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    originals = first[inverse]
    copies = np.flatnonzero(originals != np.arange(len(hashes)))

    def vector(index: np.integer) -> bytes:
        language = int(np.searchsorted(bounds, index, side="right")) - 1
        row: Embeddings = corpora[language][index - bounds[language]]
        return row.tobytes()

    equal = [index for index in copies if vector(index) == vector(originals[index])]
    copies = np.asarray(equal, dtype=np.int64)
    return copies, originals[copies]


def _rank_block(
    block: Embeddings, bounds: Indices, owner: Indices, relevant: Indices
) -> tuple[Ints, Indices, Ints, Ints]:
    """Rank the pairs (`owner`, `relevant`) of one block of scores (b, size).

    Returns:
        (6, pairs) rank, ties and ties before, own then pool; (b, <= 10) first pool indices;
        (b, 2, L) candidates above the score at each depth; (b, 2, L) candidates equal to it.
    """
    b, size = block.shape
    languages = len(bounds) - 1
    ordered = [block[:, low:high].copy() for low, high in itertools.pairwise(bounds)]
    for part in ordered:
        part.sort(axis=1)
    cuts = _boundaries(ordered, size)
    position = np.arange(len(owner)) - np.searchsorted(owner, owner)
    width = int(position.max(initial=-1)) + 1
    targets = np.concatenate([np.zeros((b, width), np.float32), cuts], axis=1)
    targets[owner, position] = block[owner, relevant]
    language = np.searchsorted(bounds, relevant, side="right") - 1
    better, equal = _count(ordered, targets)
    high, same = better[:, owner, position], equal[:, owner, position]
    pair = np.arange(len(owner))
    own_equal = same[language, pair]
    before = _lower_index(block, bounds, owner, relevant, language, own_equal)
    earlier = same.cumsum(0)[language, pair] - own_equal + before
    pairs = np.stack(
        [
            high[language, pair] + before + 1,
            own_equal - 1,
            before,
            high.sum(0) + earlier + 1,
            same.sum(0) - 1,
            earlier,
        ]
    )
    depths = [np.moveaxis(x[:, :, width:], 0, 2).reshape(b, -1, languages) for x in (better, equal)]
    return pairs, _first(block, cuts[:, :1]), depths[0], depths[1]


def _boundaries(ordered: Sequence[Embeddings], size: int) -> Embeddings:
    """Return the score at each depth of the pool, or the last where it is shorter, (b, 2)."""
    tails = np.concatenate([part[:, -DEPTHS[-1] :] for part in ordered], axis=1)
    places = [tails.shape[1] - min(depth, size) for depth in DEPTHS]
    return np.partition(tails, sorted(set(places)), axis=1)[:, places]


def _count(ordered: Sequence[Embeddings], targets: Embeddings) -> tuple[Ints, Ints]:
    """Count candidates of each language with a higher score, and with an equal one: (L, b, w)."""
    import torch

    better, equal = np.zeros((2, len(ordered), *targets.shape), np.int32)
    values = torch.from_numpy(np.ascontiguousarray(targets))
    for language, part in enumerate(ordered):
        size = part.shape[1]
        if not size:
            continue
        low = torch.searchsorted(torch.from_numpy(part), values, out_int32=True).numpy()
        present = _matches(part, low, targets)
        # Counting ties by a second search would cost as much as the first; ties are rare.
        for row, column in zip(*np.nonzero(_matches(part, low + 1, targets)), strict=True):
            present[row, column] = np.count_nonzero(part[row] == targets[row, column])
        equal[language] = present
        better[language] = size - low - equal[language]
    return better, equal


def _matches(part: Embeddings, index: Ints, targets: Embeddings) -> Ints:
    """Return 1 where `part[row, index]` is the target score, else 0."""
    last = part.shape[1] - 1
    same = np.take_along_axis(part, np.minimum(index, last), axis=1) == targets
    return np.asarray(same & (index <= last), dtype=np.int32)


def _lower_index(
    block: Embeddings,
    bounds: Indices,
    owner: Indices,
    relevant: Indices,
    language: Indices,
    equal: Ints,
) -> Ints:
    """Count candidates of the same corpus and score with a lower index, (pairs,)."""
    before = np.zeros(len(owner), np.int32)
    for pair in np.flatnonzero(equal > 1):
        row, index = owner[pair], relevant[pair]
        others = block[row, bounds[language[pair]] : index]
        before[pair] = np.count_nonzero(others == block[row, index])
    return before


def _first(block: Embeddings, cut: Embeddings) -> Indices:
    """Return the first pool indices, (b, min(10, size)); `cut` (b, 1) is the last one's score."""
    b, size = block.shape
    row, index = np.divmod(np.flatnonzero(block >= cut), size)
    order = np.lexsort((index, -block[row, index], row))
    starts = np.searchsorted(row, np.arange(b))
    return index[order][starts[:, None] + np.arange(min(TOP, size))]


def _tensor(matrix: Embeddings) -> torch.Tensor:
    """Share the array's memory as a tensor; it may be a read-only memory map."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(matrix)
