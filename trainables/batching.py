"""Which rows and languages form batch t: a pure function of (seed, t).

Content, coin and languages come from independent random streams, so all samplings and mixing
ratios of a seed see the same rows in the same order, and batch t of `hybrid` is batch t of either
`X-X` or `X-Y`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from trainables.errors import UserError
from trainables.spec import Sampling

Indices = NDArray[np.int64]

COINS: dict[Sampling, float | None] = {
    "X-X": 1.0,
    "X-Y": 0.0,
    "hybrid": None,
    "X-X-mixed": 1.0,
    "X-Y-fixed": 0.0,
    "row-hybrid": None,
}
"""The mixing ratio a sampling implies; None where `alpha` says it."""


class Stream(IntEnum):
    """What a random stream decides; each is independent of the others."""

    CONTENT = 0
    COIN = 1
    SAME = 2
    PAIR = 3


@dataclass(frozen=True, eq=False)
class Batch:
    """The rows of one contrastive batch and the languages they are read in.

    Attributes:
        rows: (B,) row numbers of the training set, none twice.
        query_languages: (B,) indices into the training languages.
        passage_languages: (B,) indices into the training languages.
        kind: `X-X` where all rows are monolingual, `X-Y` where none is, `mixed` for row-hybrid.
    """

    rows: Indices
    query_languages: Indices
    passage_languages: Indices
    kind: str


class Batches:
    """All batches of a trial, by number.

    Rows follow permutations of all rows, one an epoch, read batch by batch without a gap. Where
    a batch straddles two epochs, rows of the new permutation that the batch already holds are put
    off to right after the batch; so no row is twice in a batch and each is once in every epoch.
    """

    def __init__(
        self,
        rows: int,
        languages: int,
        *,
        sampling: Sampling,
        alpha: float | None,
        batch_size: int,
        seed: int,
    ) -> None:
        """Settle what all batches have in common; nothing is drawn yet.

        Args:
            rows: Rows of the training set.
            languages: Number of training languages.
            sampling: How languages are drawn (DESIGN, Words), always uniformly.
            alpha: Probability that the coin says monolingual; read by `hybrid` and `row-hybrid`.
            batch_size: Rows in a batch.
            seed: Keys all streams.

        Raises:
            UserError: More rows a batch than there are, a sampling across languages with fewer than
                two of them, or a coin without `alpha`.
        """
        share = alpha if COINS[sampling] is None else COINS[sampling]
        if share is None:
            raise UserError(f"sampling {sampling} needs alpha, a number from 0 to 1")
        if not 1 <= batch_size <= rows:
            raise UserError(
                f"batch_size {batch_size}: the training data have {rows} rows, and no row is twice "
                f"in a batch; use a batch_size from 1 to {rows} or more data"
            )
        if languages < (1 if share == 1 else 2):
            raise UserError(
                f"sampling {sampling} with {languages} training languages: pairs of different "
                "languages need at least two; add a language or use sampling X-X"
            )
        self.rows, self.languages, self.alpha = rows, languages, share
        self.sampling, self.batch_size, self.seed = sampling, batch_size, seed
        self._orders: dict[int, Indices] = {}

    def __getitem__(self, t: int) -> Batch:
        """Return batch t, counted from 0."""
        if t < 0:
            raise IndexError(f"batch {t}: batches are counted from 0")
        same = self._coins(t)
        mono = self._same_language(t)
        cross = self._language_pair(t) if not same.all() else np.stack([mono, mono])
        queries, passages = np.where(same, mono, cross)
        kind = "X-X" if same[0] else "X-Y"
        if self.sampling == "row-hybrid":
            kind = "mixed"
        return Batch(self._rows(t), queries, passages, kind)

    def _random(self, stream: Stream, t: int) -> np.random.Generator:
        key = np.random.SeedSequence(self.seed, spawn_key=(int(stream), t))
        return np.random.Generator(np.random.Philox(key))

    def _coins(self, t: int) -> NDArray[np.bool_]:
        """(B,) whether each row is monolingual; the draws are the same for every alpha."""
        random = self._random(Stream.COIN, t)
        draws = random.random(self.batch_size if self.sampling == "row-hybrid" else 1)
        return np.broadcast_to(draws < self.alpha, self.batch_size)

    def _same_language(self, t: int) -> Indices:
        """(B,) the language of both sides of each row."""
        size = self.batch_size if self.sampling in ("X-X-mixed", "row-hybrid") else 1
        languages = self._random(Stream.SAME, t).integers(self.languages, size=size)
        return np.broadcast_to(languages, self.batch_size)

    def _language_pair(self, t: int) -> Indices:
        """(2, B) different languages of query and passage, uniform over ordered pairs."""
        size = 1 if self.sampling == "X-Y-fixed" else self.batch_size
        random = self._random(Stream.PAIR, t)
        first = random.integers(self.languages, size=size)
        step = random.integers(1, self.languages, size=size)
        pair = np.stack([first, (first + step) % self.languages])
        return np.broadcast_to(pair, (2, self.batch_size))

    def _rows(self, t: int) -> Indices:
        """(B,) row numbers, from one epoch or, where the batch straddles them, two."""
        epoch, start = divmod(t * self.batch_size, self.rows)
        head = self._order(epoch)[start : start + self.batch_size]
        if len(head) == self.batch_size:
            return head.copy()
        return np.concatenate([head, self._order(epoch + 1)[: self.batch_size - len(head)]])

    def _order(self, epoch: int) -> Indices:
        """(rows,) the order of an epoch: its permutation, the rows held over put off.

        Putting off moves only the first `batch_size` places. So the end of an epoch, on which the
        next depends, is settled by its own permutation unless epochs are shorter than two
        batches; only then must earlier epochs be followed from the first.
        """
        if epoch not in self._orders:
            order = self._permutation(epoch)
            held = epoch * self.rows % self.batch_size
            if held:
                long = self.rows >= 2 * self.batch_size
                before = self._permutation(epoch - 1) if long else self._walk(epoch - 1)
                order = self._put_off(order, before[self.rows - held :])
            self._remember(epoch, order)
        return self._orders[epoch]

    def _walk(self, epoch: int) -> Indices:
        """Settle the epochs up to this one in turn, from the last one remembered."""
        past = [known for known in self._orders if known <= epoch]
        for number in range(max(past, default=0), epoch):
            self._order(number)
        return self._order(epoch)

    def _remember(self, epoch: int, order: Indices) -> None:
        """Keep the two latest: those that a batch may straddle, and that a walk stands on."""
        self._orders[epoch] = order
        for old in list(self._orders)[:-2]:
            del self._orders[old]

    def _permutation(self, epoch: int) -> Indices:
        return self._random(Stream.CONTENT, epoch).permutation(self.rows)

    def _put_off(self, permutation: Indices, held: Indices) -> Indices:
        """Move `held` rows among those that complete the batch to right after it."""
        window = permutation[: self.batch_size]
        ready = np.flatnonzero(~np.isin(window, held))[: self.batch_size - len(held)]
        waiting = np.ones(len(window), dtype=bool)
        waiting[ready] = False
        return np.concatenate([window[ready], window[waiting], permutation[len(window) :]])
