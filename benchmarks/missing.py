"""Shares of variance where trials are missing: the additive model against a random forest.

Grids of known values (5 levels by 3 by 5 seeds, with an interaction) lose some trials and one whole
cell. The figure is the largest difference of any share (factor, interaction, seed) from the share
in the complete grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from benchmarks.figures import Figure, figure
from study.analysis.exploration import fill, parts_of

Floats = NDArray[np.float64]

FACTORS = ("alpha", "batch_size")
DRAWS = 12


def figures() -> list[Figure]:
    """Compute the largest error of a share per number of missing trials; the forest is the peer."""
    rows = []
    for missing in (3, 10):
        rng = np.random.default_rng(0)
        worst = np.zeros(2)
        for _ in range(DRAWS):
            whole = world(rng)
            lost = np.isin(np.arange(whole.size), rng.choice(whole.size, missing, replace=False))
            lost = lost.reshape(whole.shape)
            lost[rng.integers(5), rng.integers(3)] = True
            known = np.where(lost, np.nan, whole)
            errors = [distance(whole, fill(known)), distance(whole, forest(known))]
            worst = np.maximum(worst, errors)
        name = f"share of variance furthest off: {missing} of 75 trials and a cell missing"
        ours, peer = worst.tolist()
        goal = "ratio >= 1"
        rows.append(figure(name, ours, peer, peer / ours, unit="share", goal=goal))
    return rows


def world(rng: np.random.Generator) -> Floats:
    """Draw metrics by alpha, batch size and seed."""
    alpha = np.array([0, 0.06, 0.1, 0.08, 0.03])[:, None, None]
    size = np.array([0, 0.03, 0.06])[:, None]
    both = 0.02 * np.outer([0, 1, 1, 0, 0], [0, 0, 1])[:, :, None]
    seed = rng.normal(0, 0.004, 5)
    return np.asarray(alpha + size + both + seed + rng.normal(0, 0.004, (5, 3, 5)))


def forest(known: Floats) -> Floats:
    """Predict missing values with a random forest of levels and seeds (fANOVA)."""
    places = np.indices(known.shape).reshape(known.ndim, -1).T
    there = ~np.isnan(known).ravel()
    model = RandomForestRegressor(200, random_state=0)
    model.fit(places[there], known.ravel()[there])
    return np.where(np.isnan(known), model.predict(places).reshape(known.shape), known)


def distance(whole: Floats, filled: Floats) -> float:
    """Return the largest difference of a share."""
    truth, found = (
        {part.of: part.share for part in parts_of(FACTORS, table)} for table in (whole, filled)
    )
    return max(abs(truth[name] - found[name]) for name in truth)
