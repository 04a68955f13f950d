"""Micro-batches of rows of similar length, so that few tokens are padding."""

from __future__ import annotations

from collections.abc import Sequence, Sized

import numpy as np
from numpy.typing import NDArray

Tokens = Sequence[NDArray[np.int32]]
"""One array of token ids per text, special tokens included."""


def micro_batches(lengths: Sequence[int], budget: int) -> list[NDArray[np.int64]]:
    """Cut rows, sorted by length, into micro-batches of at most `budget` padded tokens.

    A row longer than the budget gets a micro-batch of its own. Ties keep their order, so the
    result is a pure function of the lengths.

    Args:
        lengths: (n,) number of tokens of each row.
        budget: Maximum number of rows times tokens of the longest row.

    Returns:
        Row numbers of each micro-batch, longest rows first.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        rows = max(1, budget // max(1, lengths[order[start]]))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def padded_tokens(rows: NDArray[np.int64], items: Sequence[Sized]) -> int:
    """Count the tokens of rows when padded to the longest of them."""
    return len(rows) * max(len(items[row]) for row in rows)
