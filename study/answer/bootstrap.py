"""The two-level percentile bootstrap: seeds and clusters drawn anew, macro means made anew.

It stands beside the interval of `inference` and decides nothing: at 3 to 5 seeds it is too narrow
wherever seeds vary (docs/statistics.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from study.answer.inference import LEVEL

Floats = NDArray[np.float64]

RESAMPLES = 10_000
CHUNK = 500
"""Resamples at once, which bounds the memory."""


def bootstrap(sums: Floats, counts: Floats, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Means over seeds of the macro mean, (resamples,).

    A draw takes S seeds and G clusters with replacement, the same clusters for all seeds. A
    setting without a query in a draw is left out of its macro mean.

    Args:
        sums: (S, G, C) sums over queries, of a trial or of a contrast of trials.
        counts: (G, C) numbers of queries.
        resamples: Number of draws.
        seed: Keys the draws.
    """
    rng = np.random.default_rng(seed)
    count = len(sums)
    parts = _merged(sums, counts)
    found = np.empty(resamples)
    for begin in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - begin)
        clusters = _draws(rng, size, len(counts))
        total, held = np.zeros((size, count)), np.zeros((size, 1))
        for pooled, number, settings in parts:
            queries = (clusters @ number)[:, None]
            present = queries > 0
            total += np.where(present, clusters @ pooled / np.where(present, queries, 1), 0)
            held += settings * present
        seeds = _draws(rng, size, count) / count
        found[begin : begin + size] = (seeds * total / np.maximum(held, 1)).sum(1)
    return found


def percentile_interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Percentiles that hold the middle 1 - level of the values."""
    low, high = np.quantile(values, [level / 2, 1 - level / 2])
    return float(low), float(high)


def _merged(sums: Floats, counts: Floats) -> list[tuple[Floats, Floats, int]]:
    """Settings that hold the same numbers of queries in every cluster, added up.

    A fully parallel benchmark is a single one. Each is ((G, S) sums, (G,) counts, settings).
    """
    distinct, group = np.unique(counts, axis=1, return_inverse=True)
    return [
        (
            np.ascontiguousarray(sums[:, :, group == code].sum(2).T),
            np.ascontiguousarray(distinct[:, code]),
            int(np.count_nonzero(group == code)),
        )
        for code in range(distinct.shape[1])
    ]


def _draws(rng: np.random.Generator, size: int, units: int) -> Floats:
    """How often each unit is drawn, (size, units), `units` draws a row."""
    drawn = rng.integers(0, units, (size, units), dtype=np.int32)
    drawn += np.arange(size, dtype=np.int32)[:, None] * units
    return np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units).astype(float)
