"""What a search has seen so far: its cells in the order in which they were asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from study.spaces.optimize import GENETIC, SearchPlan

STARTUP = 10
"""Complete cells that a model needs; until then cells are random for TPE and quasi-random for a
Gaussian process, which covers a space more evenly."""

CellState = Literal["running", "complete", "failed", "pruned"]


@dataclass(frozen=True)
class Tried:
    """A cell as a sampler sees it.

    Attributes:
        params: Its settings, of those searched that have an effect.
        state: `complete` with the first value that it has, of whichever seed.
        values: Mean over seeds of each objective, as it is (not negated); empty unless complete.
        violations: By how much it misses each constraint, at most 0 where it does not.
        generation: Of a genetic sampler.
        reached: Of a pruned cell, value by examples seen.
        spread: Standard deviation of the first objective over seeds; None below two.
        seeds: Number of the values.
    """

    params: dict[str, Any]
    state: CellState = "running"
    values: tuple[float, ...] = ()
    violations: tuple[float, ...] = ()
    generation: int | None = None
    reached: dict[int, float] = field(default_factory=dict)
    spread: float | None = None
    seeds: int = 0

    @property
    def feasible(self) -> bool:
        """Complete, and within every constraint."""
        return self.state == "complete" and all(by <= 0 for by in self.violations)

    @property
    def missed(self) -> float:
        """By how much all constraints together are missed; 0 where none is."""
        return sum(by for by in self.violations if by > 0)


def named(params: Mapping[str, Any]) -> str:
    """The same text for the same cell."""
    return json.dumps(params, sort_keys=True)


def generation_of(search: SearchPlan, history: Sequence[Tried]) -> int | None:
    """The generation that the next cell belongs to; None where the sampler has none.

    A generation is full once as many of its cells are complete as a population has; those that
    failed are made up for.
    """
    if search.sampler not in GENETIC:
        return None
    complete = [cell.generation or 0 for cell in history if cell.state == "complete"]
    latest = max(complete, default=0)
    return latest + (complete.count(latest) >= search.population)


def losses(search: SearchPlan, cells: Sequence[Tried]) -> NDArray[np.float64]:
    """(cells, objectives) values of complete cells, signed so that less is better."""
    signs = np.array([objective.sign for objective in search.objectives])
    values = np.array([cell.values for cell in cells], dtype=np.float64)
    found: NDArray[np.float64] = -signs * values.reshape(len(cells), len(signs))
    return found


def front(search: SearchPlan, cells: Sequence[Tried]) -> list[Tried]:
    """The cells within all constraints that no other beats in every objective, best first.

    Of one objective that is the best cell, and those equal to it.
    """
    known = [cell for cell in cells if cell.feasible]
    if not known:
        return []
    found = losses(search, known)
    behind = np.all(found[:, None] >= found[None], axis=2)
    worse = np.any(found[:, None] > found[None], axis=2)
    kept = np.flatnonzero(~np.any(behind & worse, axis=1))
    order = sorted(kept, key=lambda i: (found[i].tolist(), i))
    return [known[i] for i in order]
