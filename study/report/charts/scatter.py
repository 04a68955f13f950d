"""Scatter plot of numbered cells by two measures, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.report.charts.svg import (
    WIDTH,
    Scale,
    axis_below,
    axis_left,
    path,
    picture,
    tag,
    words,
)

LEFT, RIGHT, TOP, PLOT = 52.0, WIDTH - 14.0, 26.0, 220.0


@dataclass(frozen=True)
class Spot:
    """A cell: its number in the list beside the drawing, and its two values."""

    number: int
    across: float
    up: float


def scatter(
    title: str,
    description: str,
    spots: Sequence[Spot],
    axes: tuple[str, str],
    less: tuple[bool, bool] = (False, False),
) -> str:
    """Draw numbered spots; those on the Pareto front are filled and joined.

    Args:
        title: Title, for screen readers.
        description: Summary, for screen readers.
        spots: Cells.
        axes: Titles of the horizontal and the vertical axis.
        less: Whether less is better, for each axis.
    """
    across = Scale.over([spot.across for spot in spots], LEFT, RIGHT, 0.1)
    up = Scale.over([spot.up for spot in spots], TOP + PLOT, TOP, 0.1)
    on_front = front([(spot.across, spot.up) for spot in spots], less)
    joined = sorted((spots[i].across, spots[i].up) for i in on_front)
    parts = [
        axis_left(up, LEFT, RIGHT),
        axis_below(across, TOP, TOP + PLOT, axes[0]),
        words(8, 14, axes[1], "axis"),
        path([(across(x), up(y)) for x, y in joined], "front"),
    ]
    for index, spot in enumerate(spots):
        x, y = across(spot.across), up(spot.up)
        style = "spot on" if index in on_front else "spot"
        parts.append(tag("circle", cx=x, cy=y, r=9.0, class_=style))
        ink = "ink on" if index in on_front else "ink"
        parts.append(words(x, y + 4, str(spot.number), ink, "middle"))
    return picture(TOP + PLOT + 38, title, description, *parts)


def front(points: Sequence[Sequence[float]], less: Sequence[bool]) -> list[int]:
    """Return the indices of the Pareto front: points that no other point dominates.

    A point dominates another if it is at least as good in every measure and better in one.

    Args:
        points: Measures of each point.
        less: Whether less is better, for each measure.
    """
    signed = [
        [-v if is_less_better else v for v, is_less_better in zip(p, less, strict=True)]
        for p in points
    ]

    def dominated(point: list[float]) -> bool:
        return any(
            all(a >= b for a, b in zip(other, point, strict=True)) and other != point
            for other in signed
        )

    return [index for index, point in enumerate(signed) if not dominated(point)]
