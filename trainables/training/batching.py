"""Hybrid batch training: rows and languages of batch t, a pure function of (seed, t).

Content, coin and languages come from independent random streams. Where every row exists in every
language, all samplings and mixing ratios see the same rows in the same order for one seed, and
batch t of `hybrid` is batch t of either `X-X` or `X-Y`.

Where rows lack languages, a batch in one language or one pair is block t of a permutation of the
rows that exist there, and languages drawn per row are among those that the row has. Batch t of
`hybrid` is still batch t of a pure sampling; rows differ only as far as languages force them to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.data.benchmark import TrainingSet
from trainables.errors import UserError
from trainables.spec import Sampling, Spec
from trainables.training.availability import Flags, LanguageAvailability, limited
from trainables.training.permutation import EpochPermutation, Indices, Stream, stream

Weights = NDArray[np.float64]

COINS: dict[Sampling, float | None] = {
    "X-X": 1.0,
    "X-Y": 0.0,
    "hybrid": None,
    "X-X-mixed": 1.0,
    "X-Y-fixed": 0.0,
    "row-hybrid": None,
}
"""Mixing ratio that a sampling implies; None where `alpha` sets it."""


@dataclass(frozen=True)
class SamplingWeights:
    """Exponents for drawing languages in proportion to a power of their number of rows.

    Attributes:
        language: Exponent for the languages of monolingual rows; 0 is uniform, 1 proportional.
        pair: Exponent for ordered pairs of different languages.
        languages_per_batch: Maximum number of languages in a batch, a subset drawn uniformly; the
            exponents apply within it. No effect on batches in one language or one pair.
    """

    language: float = 0.0
    pair: float = 0.0
    languages_per_batch: int | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of one contrastive batch and the languages they are read in.

    Attributes:
        rows: (B,) distinct indices into the rows that the trial keeps.
        query_languages: (B,) indices into the training languages.
        passage_languages: (B,) indices into the training languages.
        kind: `X-X` if all rows are monolingual, `X-Y` if none is, `mixed` for row-hybrid.
    """

    rows: Indices
    query_languages: Indices
    passage_languages: Indices
    kind: str


class Batches:
    """Batches of a trial, indexed by number; `EpochPermutation` orders their rows."""

    def __init__(
        self,
        rows: int,
        languages: int,
        *,
        sampling: Sampling,
        alpha: float | None,
        batch_size: int,
        seed: int,
        laws: SamplingWeights = SamplingWeights(),
        presence: LanguageAvailability | None = None,
    ) -> None:
        """Fix what all batches have in common; nothing is drawn yet.

        Args:
            rows: Number of rows of the training set.
            languages: Number of training languages.
            sampling: Languages of a batch's queries and passages (docs/glossary.md).
            alpha: Probability that the coin says monolingual; used by `hybrid` and `row-hybrid`.
            batch_size: Rows per batch.
            seed: Key of all random streams.
            laws: Exponents for drawing languages.
            presence: Languages in which each row exists; None for all.

        Raises:
            UserError: A batch larger than the training set or than a pool of rows it reads from,
                cross-lingual sampling with one language, a missing `alpha`, or
                `languages_per_batch` where rows lack languages.
        """
        share = alpha if COINS[sampling] is None else COINS[sampling]
        if share is None:
            raise UserError(f"sampling {sampling} needs alpha, a number from 0 to 1")
        if not 1 <= batch_size <= rows:
            raise UserError(
                f"batch_size {batch_size}: the training data have {rows} rows, and no row is twice "
                f"in a batch; choose at most {rows}, or more data"
            )
        if languages < (1 if share == 1 else 2):
            raise UserError(
                f"sampling {sampling} with {languages} training languages: pairs of different "
                "languages need at least two; add a language or use sampling X-X"
            )
        self.rows, self.languages, self.alpha = rows, languages, share
        self.sampling, self.batch_size, self.seed, self.laws = sampling, batch_size, seed, laws
        self.presence = presence or LanguageAvailability.full(rows, languages)
        self._orders: dict[tuple[int, ...], tuple[Indices, EpochPermutation]] = {}
        # with full availability, every exponent amounts to uniform draws
        self._full = self.presence.is_full
        self._same_weights = _weights(self.presence.same.sum(0), laws.language)
        self._pair_weights = _weights(self.presence.pair_sizes(), laws.pair)
        self._check_pools()

    def __getitem__(self, t: int) -> Batch:
        """Return batch t, counted from 0."""
        if t < 0:
            raise IndexError(f"batch {t}: batches are counted from 0")
        same = self._coins(t)
        kind = "X-X" if same[0] else "X-Y"
        if self.sampling == "row-hybrid":
            kind = "mixed"
        if self.sampling == "X-Y-fixed" or (kind == "X-X" and self.sampling != "X-X-mixed"):
            return self._of_one_pool(t, kind)
        rows, inside = self._rows_of_block(t), self._subset(t)
        languages = np.empty((2, len(rows)), dtype=np.int64)
        if same.any():
            languages[:, same] = self._same_language(t, rows, inside)[same]
        if not same.all():
            languages[:, ~same] = self._language_pair(t, rows, inside)[:, ~same]
        return Batch(rows, languages[0], languages[1], kind)

    def _of_one_pool(self, t: int, kind: str) -> Batch:
        """Return a batch in one language or in one ordered pair."""
        everywhere = np.ones(self.languages, dtype=bool)
        if kind == "X-X":
            x = y = int(self._same_language(t, None, everywhere)[0])
        else:
            x, y = self._language_pair(t, None, everywhere)[:, 0].tolist()
        rows = self._rows_of_block(t, x, y)
        return Batch(rows, np.full_like(rows, x), np.full_like(rows, y), kind)

    def _coins(self, t: int) -> Flags:
        """Draw (B,) whether each row is monolingual, from numbers that do not depend on alpha."""
        random = stream(self.seed, Stream.COIN, t)
        draws = random.random(self.batch_size if self.sampling == "row-hybrid" else 1)
        return np.broadcast_to(draws < self.alpha, self.batch_size)

    def _subset(self, t: int) -> Flags:
        """Draw the (L,) mask of languages that may occur in the batch."""
        most = self.laws.languages_per_batch
        if most is None:
            return np.ones(self.languages, dtype=bool)
        chosen = stream(self.seed, Stream.SUBSET, t).permutation(self.languages)[:most]
        return np.isin(np.arange(self.languages), chosen)

    def _same_language(self, t: int, rows: Indices | None, inside: Flags) -> Indices:
        """Draw (k,) languages shared by both sides of each row; a single one if `rows` is None."""
        random, size = stream(self.seed, Stream.SAME, t), 1 if rows is None else len(rows)
        if self._full and inside.all():
            return random.integers(self.languages, size=size)
        weights = np.broadcast_to(self._same_weights * inside, (size, self.languages))
        return _draw(random, weights if rows is None else weights * self.presence.same[rows])

    def _language_pair(self, t: int, rows: Indices | None, inside: Flags) -> Indices:
        """Draw (2, k) different languages of query and passage; one pair if `rows` is None."""
        random, size = stream(self.seed, Stream.PAIR, t), 1 if rows is None else len(rows)
        if self._full and inside.all():
            first = random.integers(self.languages, size=size)
            step = random.integers(1, self.languages, size=size)
            return np.stack([first, (first + step) % self.languages])
        everywhere = np.ones((1, self.languages))
        queries = everywhere if rows is None else self.presence.queries[rows]
        passages = everywhere if rows is None else self.presence.passages[rows]
        weights = self._pair_weights * np.outer(inside, inside)
        first = _draw(random, queries * (passages @ weights.T))
        return np.stack([first, _draw(random, weights[first] * passages)])

    def _rows_of_block(self, t: int, *languages: int) -> Indices:
        """Return the (B,) rows of block t of a query-passage pair's pool, or of the mixed pool."""
        if languages not in self._orders:
            rows = np.flatnonzero(self._pool(*languages))
            key = () if len(rows) == self.rows else languages
            self._orders[languages] = (
                rows,
                EpochPermutation(len(rows), self.batch_size, self.seed, key),
            )
        rows, order = self._orders[languages]
        return rows[order.block(t)]

    def _pool(self, *languages: int) -> Flags:
        """Mask the (n,) rows with a query in the first language and a passage in the second.

        Without languages: the rows that batches in several languages can use.
        """
        if languages:
            query, passage = languages
            return np.asarray(self.presence.queries[:, query] & self.presence.passages[:, passage])
        mono, crossed = np.asarray(self.presence.same.any(1)), self.presence.crossed
        pools = {"X-X-mixed": mono, "row-hybrid": mono & crossed}
        return pools.get(self.sampling, crossed)

    def _check_pools(self) -> None:
        """Refuse pools smaller than a batch, and `languages_per_batch` if rows lack languages."""
        same, pairs = self.presence.same.sum(0), self.presence.pair_sizes()
        sizes = {"X-Y-fixed": pairs, "X-X": same, "hybrid": same}.get(self.sampling)
        pools = [] if sizes is None else [size for size in sizes.flat if size] or [0]
        if self.sampling not in ("X-X", "X-Y-fixed"):
            pools.append(self._pool().sum())
        if min(pools) < self.batch_size:
            raise UserError(
                f"batch_size {self.batch_size}: sampling {self.sampling} reads batches from pools "
                f"of rows that share languages, and the smallest has {min(pools)} rows; choose at "
                "most that, other languages, or a sampling that mixes languages in a batch"
            )
        if self.laws.languages_per_batch is not None and not self._full:
            raise UserError(
                f"languages_per_batch {self.laws.languages_per_batch} needs rows that exist in "
                "all training languages: leave it out, or keep only such rows with rows=in_all"
            )


def _weights(sizes: Indices, power: float) -> Weights:
    """Raise sizes to a power; a size of 0 gets weight 0."""
    return np.where(sizes > 0, np.maximum(sizes, 1).astype(np.float64) ** power, 0.0)


def _draw(random: np.random.Generator, weights: Weights) -> Indices:
    """Draw (k,) column indices, one per row of the (k, m) weights and in proportion to them."""
    ends = np.cumsum(weights, axis=1)
    point = random.random(len(weights)) * ends[:, -1]
    # a product rounded up to the total would lie in no column
    point = np.minimum(point, np.nextafter(ends[:, -1], 0))
    return np.asarray((ends <= point[:, None]).sum(axis=1), dtype=np.int64)


def select_rows(spec: Spec, data: TrainingSet) -> tuple[Indices, Batches]:
    """Select the rows that a trial keeps, and build its batches of indices into them.

    Raises:
        UserError: Too few rows for the spec, or none.
    """
    assert spec.seed is not None
    assert spec.languages is not None
    assert spec.sampling is not None
    assert spec.batch_size is not None
    presence = LanguageAvailability.of(data, spec.languages)
    row_ids = limited(presence.follow(spec.rows or "in_all"), spec.max_rows, spec.seed)
    batches = Batches(
        len(row_ids),
        len(spec.languages),
        sampling=spec.sampling,
        alpha=spec.alpha,
        batch_size=spec.batch_size,
        seed=spec.seed,
        laws=SamplingWeights(
            spec.language_law or 0.0, spec.pair_law or 0.0, spec.languages_per_batch
        ),
        presence=presence.keep(row_ids),
    )
    return row_ids, batches
