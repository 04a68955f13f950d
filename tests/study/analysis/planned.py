"""Plans and scores made by hand, without a trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.analysis.scores import Scores
from study.state.plan import Cell, Plan, PlannedTrial


def plan_of(cells: Sequence[Cell], hypotheses: Iterable[Mapping[str, Any]]) -> Plan:
    """A plan of which only cells and hypotheses matter."""
    return Plan(
        name="by-hand",
        space="by-hand",
        tier="demo",
        question="Does it work?",
        primary="map/multi",
        settings={"benchmark": "toy", "steps": 10, "languages": None},
        cells=tuple(cells),
        specs={},
        hypotheses=tuple(dict(h) for h in hypotheses),
    )


def cell(seeds: int, **params: Any) -> Cell:
    """A cell whose digests are `label/seed`."""
    label = Cell(params=params, trials=()).label
    trials = (PlannedTrial(digest=f"{label}/{seed}", seed=seed) for seed in range(seeds))
    return Cell(params=params, trials=tuple(trials))


def hypothesis(**changes: Any) -> dict[str, Any]:
    """The first arm against the second on `map/multi`, with a margin of 0.01."""
    usual = {"name": "h", "metric": "map/multi", "better": {"alpha": 1}, "than": {"alpha": 0}}
    return usual | {"margin": 0.01, "why": "test"} | changes


def scores_of(values: NDArray[Any], metric: str = "map/multi") -> Scores:
    """One setting in which cluster g has the single query value `values[g]`."""
    column = np.asarray(values, dtype=np.float64)[:, None]
    clusters = tuple(f"c{i}" for i in range(len(column)))
    return Scores(metric, ("multi/de",), clusters, column, np.ones_like(column))
