"""Cells by two measures, numbered, with the Pareto front of those that none other beats in both."""

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
    """A cell: its number in the list beside the drawing, and where it is."""

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
    """Numbered spots; those on the front are filled and joined.

    Args:
        title: What is shown.
        description: What it says.
        spots: The cells.
        axes: What is across and what is up.
        less: Whether less is better, for both.
    """
    across = Scale.over([spot.across for spot in spots], LEFT, RIGHT, 0.1)
    up = Scale.over([spot.up for spot in spots], TOP + PLOT, TOP, 0.1)
    ahead = front([(spot.across, spot.up) for spot in spots], less)
    joined = sorted((spots[i].across, spots[i].up) for i in ahead)
    parts = [
        axis_left(up, LEFT, RIGHT),
        axis_below(across, TOP, TOP + PLOT, axes[0]),
        words(8, 14, axes[1], "axis"),
        path([(across(x), up(y)) for x, y in joined], "front"),
    ]
    for index, spot in enumerate(spots):
        x, y = across(spot.across), up(spot.up)
        style = "spot on" if index in ahead else "spot"
        parts.append(tag("circle", cx=x, cy=y, r=9.0, class_=style))
        ink = "ink on" if index in ahead else "ink"
        parts.append(words(x, y + 4, str(spot.number), ink, "middle"))
    return picture(TOP + PLOT + 38, title, description, *parts)


def front(points: Sequence[Sequence[float]], less: Sequence[bool]) -> list[int]:
    """Indices of the points that no other equals or beats in everything and beats in something.

    Args:
        points: Any number of measures each.
        less: For each measure, whether less is better.
    """
    signed = [[-v if low else v for v, low in zip(p, less, strict=True)] for p in points]

    def beaten(mine: list[float]) -> bool:
        return any(
            all(a >= b for a, b in zip(other, mine, strict=True)) and other != mine
            for other in signed
        )

    return [index for index, mine in enumerate(signed) if not beaten(mine)]
