"""Best value so far against what was spent, as a staircase, with a dot for every trial."""

from __future__ import annotations

from collections.abc import Sequence

from study.report.charts.svg import (
    WIDTH,
    Scale,
    axis_below,
    axis_left,
    legend,
    path,
    picture,
    tag,
    words,
)

LEFT, RIGHT, PLOT = 52.0, WIDTH - 14.0, 190.0

Point = tuple[float, float]


def staircase(
    title: str,
    description: str,
    best: Sequence[Point],
    dots: Sequence[Point],
    axes: tuple[str, str],
) -> str:
    """Draw a staircase and dots.

    Args:
        title: Title, for screen readers.
        description: Summary, for screen readers.
        best: Points of amount spent and best value so far, in ascending order of the amount.
        dots: Points of amount spent and value, for single trials.
        axes: Titles of the horizontal and the vertical axis.
    """
    key, legend_height = legend(["best cell so far, mean over its seeds"], 14)
    top = legend_height + 26
    across = Scale.over([0.0, *(x for x, _ in (*best, *dots))], LEFT, RIGHT, 0.03)
    up = Scale.over([y for _, y in (*best, *dots)], top + PLOT, top)
    corners: list[Point] = []
    for x, y in best:
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    parts = [
        key,
        words(8, top - 6, axes[1], "axis"),
        axis_left(up, LEFT, RIGHT),
        axis_below(across, top, top + PLOT, axes[0]),
        *(tag("circle", cx=across(x), cy=up(y), r=2.5, class_="dot s1") for x, y in dots),
        path([(across(x), up(y)) for x, y in corners], "curve s0"),
    ]
    return picture(top + PLOT + 38, title, description, *parts)
