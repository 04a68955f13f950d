"""Enumerate and count the points of a finite space."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from study.spaces.ranges import Point, Range, active

MOST = 200_000
"""Most points of a space that is enumerated; points of a larger one are only drawn."""


def points(ranges: Mapping[str, Range]) -> Iterator[Point]:
    """Yield every point of a finite space once; the last setting changes fastest."""
    yield from _from(list(ranges), ranges, {})


def _from(keys: list[str], ranges: Mapping[str, Range], point: Point) -> Iterator[Point]:
    if not keys:
        yield dict(point)
        return
    key, *rest = keys
    if not active(ranges, point, key):
        yield from _from(rest, ranges, point)
        return
    for value in ranges[key].values():
        yield from _from(rest, ranges, point | {key: value})


def size(ranges: Mapping[str, Range]) -> float:
    """Count the points; infinite if the space is continuous or too large to enumerate."""
    counts = [searched.count for searched in ranges.values()]
    if None in counts:
        return math.inf
    if math.prod(count or 1 for count in counts) > MOST:
        return math.inf
    return sum(1 for _ in points(ranges))


def endless(ranges: Mapping[str, Range]) -> list[str]:
    """Return settings with a continuous range."""
    return [key for key, searched in ranges.items() if searched.count is None]
