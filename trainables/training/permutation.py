"""Order in which rows are read: one permutation per epoch, a pure function of the seed."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Stream(IntEnum):
    """Purpose of a random stream; streams are independent of one another."""

    CONTENT = 0
    COIN = 1
    SAME = 2
    PAIR = 3
    SUBSET = 4
    VOLUME = 5
    NEGATIVES = 6


def stream(seed: int, what: Stream, *place: int) -> np.random.Generator:
    """Return the random generator for a purpose at one place, such as a batch or an epoch."""
    key = np.random.SeedSequence(seed, spawn_key=(int(what), *place))
    return np.random.Generator(np.random.Philox(key))


class EpochPermutation:
    """Order in which batches read rows.

    Each epoch is one permutation of all rows, and epochs are read batch by batch without a gap. If
    a batch straddles two epochs, rows of the new permutation that the batch already holds are
    deferred to right after it. So no row is twice in a batch, and each is once in every epoch.
    """

    def __init__(self, rows: int, batch_size: int, seed: int, key: tuple[int, ...] = ()) -> None:
        """Fix what is read; nothing is drawn yet.

        Args:
            rows: Number of rows, at least `batch_size`.
            batch_size: Rows per batch.
            seed: Trial seed.
            key: Key of an order that is independent of the seed's others, such as a language pair.
        """
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self._key = key
        self._orders: dict[int, Indices] = {}

    def block(self, t: int) -> Indices:
        """Return the (batch_size,) row numbers of batch t, from one epoch or two in a row."""
        epoch, start = divmod(t * self.batch_size, self.rows)
        head = self._order(epoch)[start : start + self.batch_size]
        if len(head) == self.batch_size:
            return head.copy()
        return np.concatenate([head, self._order(epoch + 1)[: self.batch_size - len(head)]])

    def _order(self, epoch: int) -> Indices:
        """Return the (rows,) order of an epoch: its permutation with repeated rows deferred.

        Deferring moves only the first `batch_size` places. So the end of an epoch, on which the
        next one depends, is known from its own permutation, unless epochs are shorter than two
        batches: only then are earlier epochs computed in turn.
        """
        if epoch not in self._orders:
            order = self._permutation(epoch)
            carried = epoch * self.rows % self.batch_size
            if carried:
                long = self.rows >= 2 * self.batch_size
                previous = self._permutation(epoch - 1) if long else self._walk(epoch - 1)
                order = self._defer(order, previous[self.rows - carried :])
            self._remember(epoch, order)
        return self._orders[epoch]

    def _walk(self, epoch: int) -> Indices:
        """Compute the orders up to this epoch in turn, from the last one remembered."""
        past = [known for known in self._orders if known <= epoch]
        for number in range(max(past, default=0), epoch):
            self._order(number)
        return self._order(epoch)

    def _remember(self, epoch: int, order: Indices) -> None:
        """Keep the two latest orders: a batch may straddle them, and a walk starts from them."""
        self._orders[epoch] = order
        for old in list(self._orders)[:-2]:
            del self._orders[old]

    def _permutation(self, epoch: int) -> Indices:
        return stream(self.seed, Stream.CONTENT, epoch, *self._key).permutation(self.rows)

    def _defer(self, permutation: Indices, carried: Indices) -> Indices:
        """Defer rows that the batch already carries to right after those that complete it."""
        window = permutation[: self.batch_size]
        ready = np.flatnonzero(~np.isin(window, carried))[: self.batch_size - len(carried)]
        waiting = np.ones(len(window), dtype=bool)
        waiting[ready] = False
        return np.concatenate([window[ready], window[waiting], permutation[len(window) :]])
