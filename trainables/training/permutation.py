"""The order in which rows are read: permutations, one an epoch, as a pure function of a seed."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Stream(IntEnum):
    """What a random stream decides; each is independent of the others."""

    CONTENT = 0
    COIN = 1
    SAME = 2
    PAIR = 3
    SUBSET = 4
    VOLUME = 5
    NEGATIVES = 6


def stream(seed: int, what: Stream, *place: int) -> np.random.Generator:
    """The generator that decides `what` at one place, such as a batch or an epoch."""
    key = np.random.SeedSequence(seed, spawn_key=(int(what), *place))
    return np.random.Generator(np.random.Philox(key))


class EpochPermutation:
    """Rows in the order in which batches read them.

    Rows follow permutations of all rows, one an epoch, read batch by batch without a gap. Where
    a batch straddles two epochs, rows of the new permutation that the batch already holds are put
    off to right after the batch; so no row is twice in a batch and each is once in every epoch.
    """

    def __init__(self, rows: int, batch_size: int, seed: int, key: tuple[int, ...] = ()) -> None:
        """Settle what is read; nothing is drawn yet.

        Args:
            rows: How many there are, at least `batch_size`.
            batch_size: Rows in a batch.
            seed: Of the trial.
            key: Of an order that is independent of others of this seed, such as a pair's.
        """
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self._key = key
        self._orders: dict[int, Indices] = {}

    def block(self, t: int) -> Indices:
        """(batch_size,) row numbers of batch t, from one epoch or, where it straddles them, two."""
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
                order = self._defer(order, before[self.rows - held :])
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
        return stream(self.seed, Stream.CONTENT, epoch, *self._key).permutation(self.rows)

    def _defer(self, permutation: Indices, held: Indices) -> Indices:
        """Move `held` rows among those that complete the batch to right after it."""
        window = permutation[: self.batch_size]
        ready = np.flatnonzero(~np.isin(window, held))[: self.batch_size - len(held)]
        waiting = np.ones(len(window), dtype=bool)
        waiting[ready] = False
        return np.concatenate([window[ready], window[waiting], permutation[len(window) :]])
