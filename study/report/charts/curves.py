"""Response curves: means over seeds along a numeric factor, with intervals and a dot per seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.report.charts.svg import (
    SERIES,
    WIDTH,
    Scale,
    axis_left,
    legend,
    line,
    marker,
    path,
    picture,
    tag,
    words,
)

LEFT, RIGHT, PLOT = 52.0, WIDTH - 14.0, 190.0

DOUBLINGS = 8
"""Ratio of the greatest to the least level from which the axis is logarithmic."""


@dataclass(frozen=True)
class Point:
    """Values per seed at one level of a factor, with mean and interval."""

    level: float
    values: tuple[float, ...]
    mean: float
    interval: tuple[float, float] | None


def curves(
    title: str,
    description: str,
    factor: str,
    series: Sequence[tuple[str, Sequence[Point]]],
) -> str:
    """Draw one curve per series, at most `SERIES`, with a legend if there are several."""
    points = [point for _, curve in series for point in curve]
    levels = sorted({point.level for point in points})
    transform = math.log2 if levels[0] > 0 and levels[-1] / levels[0] >= DOUBLINGS else float
    across = Scale.over([transform(level) for level in levels], LEFT, RIGHT, 0.08)
    values = [v for p in points for v in (*p.values, p.mean, *(p.interval or ()))]
    key, legend_height = legend([name for name, _ in series], 14) if len(series) > 1 else ("", 0.0)
    top = legend_height + 10
    up = Scale.over(values, top + PLOT, top)
    parts = [key, axis_left(up, LEFT, RIGHT)]
    last = -math.inf
    for level in levels:
        x = across(transform(level))
        if x - last > 22:
            parts.append(words(x, top + PLOT + 16, f"{level:g}", "tick", "middle"))
            last = x
    parts.append(words((LEFT + RIGHT) / 2, top + PLOT + 33, factor, "axis", "middle"))
    for number, (_, curve) in enumerate(series[:SERIES]):
        shift = 5.0 * (number - (len(series) - 1) / 2)
        placed = [(across(transform(point.level)) + shift, point) for point in curve]
        parts.append(path([(x, up(point.mean)) for x, point in placed], f"curve s{number}"))
        parts += [_point(x, point, up, number) for x, point in placed]
    return picture(top + PLOT + 40, title, description, *parts)


def _point(x: float, point: Point, up: Scale, series: int) -> str:
    parts = []
    if point.interval:
        low, high = map(up, point.interval)
        style = f"bar s{series}"
        parts = [line(x, low, x, high, style)]
        parts += [line(x - 4, y, x + 4, y, style) for y in (low, high)]
    for value in point.values:
        parts.append(tag("circle", cx=x + 7, cy=up(value), r=2.0, class_=f"dot s{series}"))
    return "".join([*parts, marker(series, x, up(point.mean))])
