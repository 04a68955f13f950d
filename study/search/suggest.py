"""Suggest the next cell of a search, as a pure function of the history.

No state of Optuna lives between two suggestions: each rebuilds a study in memory from the history,
and seeds the sampler with the number of cells proposed before. So a search that was killed goes on
as if it had not been.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.search.history import STARTUP, EvaluatedCell, generation_of, named
from study.spaces import grid as finite
from study.spaces.optimize import SearchPlan
from study.spaces.ranges import Point, fits, strip

REDRAWS = 8
"""Draws from a sampler before falling back on chance, if its suggestions cannot be run."""

CHANCES = 1_000
"""Random draws after that, in a space too large to enumerate."""

Shares = NDArray[np.float64]
"""(settings,) positions within the ranges, from 0 (included) to 1 (excluded)."""


@dataclass(frozen=True)
class Suggestion:
    """A cell to try.

    Attributes:
        params: Values of the searched settings that have an effect.
        generation: Generation, for genetic samplers.
    """

    params: Point
    generation: int | None = None


def suggest(
    search: SearchPlan,
    history: Sequence[EvaluatedCell],
    number: int,
    taken: Callable[[Point], bool] | None = None,
) -> Suggestion | None:
    """Suggest the next cell; None if no point is left that can be run.

    Args:
        search: The search.
        history: Cells proposed so far, in order, warm starts first.
        number: Number of cells proposed before, which seeds the draw.
        taken: Whether a point must not be run, because its spec is invalid or was planned under
            another name. Points of the history are excluded anyway.
    """
    history = [cell for cell in history if fits(search.ranges, cell.params)]
    known = {named(cell.params) for cell in history}
    refused: set[str] = set()

    def free(point: Point) -> bool:
        name = named(point)
        if name in known or name in refused:
            return False
        if taken is not None and taken(point):
            refused.add(name)
            return False
        return True

    for suggestion in _candidates(search, history, number):
        if free(suggestion.params):
            return suggestion
    rng = _rng(search, number, REDRAWS + 1)
    generation = generation_of(search, history)
    if finite.size(search.ranges) <= finite.MOST:
        left = list(finite.points(search.ranges))
        order = range(len(left)) if search.sampler == "grid" else rng.permutation(len(left))
        drawn_point = next((left[i] for i in order if free(left[i])), None)
    else:
        chances = (_point(search, rng.random(len(search.ranges))) for _ in range(CHANCES))
        drawn_point = next(filter(free, chances), None)
    return None if drawn_point is None else Suggestion(drawn_point, generation)


def _candidates(
    search: SearchPlan, history: Sequence[EvaluatedCell], number: int
) -> Iterator[Suggestion]:
    """Yield suggestions in the order of preference."""
    generation = generation_of(search, history)
    shares = [_rng(search, number, draw).random(len(search.ranges)) for draw in range(REDRAWS)]
    for given in search.first_points:
        if not any(_matches(cell.params, given) for cell in history):
            filled = (strip(search.ranges, _values(search, drawn) | given) for drawn in shares)
            yield from (Suggestion(point, generation) for point in filled)
    if search.sampler == "grid":
        return
    complete = sum(cell.state == "complete" for cell in history)
    early = complete < STARTUP if search.sampler in ("tpe", "gp") else generation == 0
    if search.sampler == "qmc" or (early and search.sampler != "tpe"):
        yield Suggestion(_point(search, _sobol(search, number)), generation)
    if search.sampler in ("random", "qmc") or early:
        yield from (Suggestion(_point(search, drawn), generation) for drawn in shares)
        return
    from study.search.samplers import SamplerSession

    session = SamplerSession(search, history, generation or 0)
    for draw in range(REDRAWS):
        seed = int(_rng(search, number, draw).integers(2**31))
        yield Suggestion(session.point(seed), generation)


def _matches(params: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Return whether a cell has all values that a point to try first gives."""
    return all(key in params and params[key] == value for key, value in given.items())


def _sobol(search: SearchPlan, number: int) -> Shares:
    """Draw point `number` of a scrambled Sobol sequence (Owen 1998) over all settings."""
    from scipy.stats import qmc  # slow to import, and most commands suggest nothing

    sobol = qmc.Sobol(len(search.ranges), scramble=True, rng=np.random.default_rng(search.seed))
    if number:
        sobol.fast_forward(number)
    shares: Shares = sobol.random(1)[0]
    return shares


def _values(search: SearchPlan, shares: Shares) -> Point:
    """Return values of all settings, including those without effect, at these positions."""
    pairs = zip(search.ranges.items(), shares, strict=True)
    return {key: searched.at(float(share)) for (key, searched), share in pairs}


def _point(search: SearchPlan, shares: Shares) -> Point:
    return strip(search.ranges, _values(search, shares))


def _rng(search: SearchPlan, number: int, draw: int) -> np.random.Generator:
    return np.random.default_rng([search.seed, number, draw])
