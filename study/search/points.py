"""Turn points of a searched space into specs, and estimate their cost beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from study.search.history import named
from study.spaces.optimize import MEMORY, OPERATIONS, SearchPlan
from study.spaces.ranges import Choice, Point, Range, strip
from study.spaces.resolve import Resolver
from study.spaces.settings import build_settings
from trainables.errors import UserError
from trainables.spec import Spec

if TYPE_CHECKING:
    from study.cost.trial import Estimator

PROBED = 64
"""Most values of one setting with which a plan is checked before anything runs."""


class Points:
    """Factory of specs for the points of one search.

    Attributes:
        refused: Why a point may not be run, by its key (`named`).
    """

    def __init__(
        self, search: SearchPlan, resolver: Resolver, estimator: Estimator | None = None
    ) -> None:
        """Keep what specs are made from.

        Args:
            search: The search.
            resolver: Turns settings into specs.
            estimator: Estimates the cost of trials; None if the search does not ask for it.
        """
        self.search = search
        self.resolver = resolver
        self.estimator = estimator
        self.refused: dict[str, str] = {}
        self._specs: dict[tuple[str, int], Spec] = {}
        self._known: dict[str, dict[str, float]] = {}

    def spec(self, point: Point, seed: int) -> Spec:
        """Build the spec of a point's trial with a seed.

        Raises:
            UserError: Settings contradict each other at this point.
        """
        key = named(point), seed
        if key not in self._specs:
            settings = build_settings(self.search.base | point, where="search")
            held_out = self.search.held_out
            self._specs[key] = self.resolver.spec(settings, seed, held_out=held_out)
        return self._specs[key]

    def known(self, point: Point) -> dict[str, float]:
        """Estimate the cost of a point's trial, by metric; empty if the search does not need it."""
        if self.estimator is None:
            return {}
        name = named(point)
        if name not in self._known:
            operations, memory = self.estimator.needs(self.spec(point, 0))
            self._known[name] = {OPERATIONS: operations, MEMORY: round(memory / 1e9, 6)}
        return self._known[name]

    def why_not(self, point: Point) -> str:
        """Return why a point may not be run; empty if it may."""
        try:
            self.spec(point, 0)
        except UserError as error:
            self.refused[named(point)] = str(error)
            return str(error)
        limit = self.search.memory_gb
        needed = self.known(point).get(MEMORY, 0.0)
        if limit is None or needed <= limit:
            return ""
        reason = f"needs {needed:.1f} GB by estimate, and memory_gb is {limit:g}"
        self.refused[named(point)] = reason
        return reason

    def probes(self) -> Iterator[Spec]:
        """Yield specs that cover the first points and each value or range end of every setting.

        The other settings take their first value. A combination may still be invalid; such a point
        is refused when it is drawn.

        Raises:
            UserError: A value makes no valid spec.
        """
        first = {key: next(ends(searched)) for key, searched in self.search.ranges.items()}
        for point in self.search.first_points:
            yield self.spec(strip(self.search.ranges, first | point), 0)
        for key, searched in self.search.ranges.items():
            for value in ends(searched):
                try:
                    yield self.spec(strip(self.search.ranges, first | {key: value}), 0)
                except UserError as error:
                    raise UserError(f"search.{key}: {value}: {error}") from None


def ends(searched: Range) -> Iterator[object]:
    """Yield the first `PROBED` values of a choice, or both ends of a range of numbers."""
    if isinstance(searched, Choice):
        yield from searched.choices[:PROBED]
    else:
        yield from (searched.low, searched.high)


def asks_cost(search: SearchPlan) -> bool:
    """Return whether a search has an objective, constraint or limit on estimated cost."""
    metrics = [*(o.metric for o in search.objectives), *(c.metric for c in search.constraints)]
    return search.memory_gb is not None or bool({OPERATIONS, MEMORY} & set(metrics))
