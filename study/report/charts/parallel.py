"""Parallel coordinates: every cell is a line over its parameters and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.report.charts.colours import VIRIDIS, at, css
from study.report.charts.svg import Scale, clipped, line, picture, tag, words

TOP, PLOT, GAP, SIDE = 34.0, 230.0, 116.0, 58.0


@dataclass(frozen=True)
class Axis:
    """Axis of one parameter or metric, with its value in every cell.

    Attributes:
        title: Name.
        values: Numbers or texts, None if missing; distinct texts are spaced evenly.
        searched: Whether it is a parameter, of which every level gets a tick.
    """

    title: str
    values: tuple[float | str | None, ...]
    searched: bool = False


def parallel(title: str, description: str, axes: Sequence[Axis], shade: Sequence[float]) -> str:
    """Draw lines over vertical axes.

    Args:
        title: Title, for screen readers.
        description: Summary, for screen readers.
        axes: Axes from left to right.
        shade: 0 (dark) to 1 (light and thick) for every cell.
    """
    width = 2 * SIDE + GAP * (len(axes) - 1)
    axis_positions: list[list[float | None]] = []
    parts = []
    for number, axis in enumerate(axes):
        x = SIDE + GAP * number
        drawn, ys = _axis(axis, x)
        parts.append(drawn)
        axis_positions.append(ys)
    lines = []
    for cell, share in enumerate(shade):
        known = [
            (SIDE + GAP * number, y)
            for number, ys in enumerate(axis_positions)
            if (y := ys[cell]) is not None
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in known)
        colour = css(at(VIRIDIS, 0.15 + 0.6 * share))
        lines.append(
            tag(
                "polyline",
                points=points,
                class_="strand",
                stroke=colour,
                stroke_width=1 + 2 * share,
            )
        )
    return picture(TOP + PLOT + 16, title, description, *lines, *parts, width=width)


def _axis(axis: Axis, x: float) -> tuple[str, list[float | None]]:
    parts = [
        line(x, TOP, x, TOP + PLOT, "rail"),
        words(x, 16, clipped(axis.title, 17), "axis", "middle"),
    ]
    numbers = [v for v in axis.values if isinstance(v, float)]
    if len(numbers) == sum(v is not None for v in axis.values):
        scale = Scale.over(numbers, TOP + PLOT, TOP, 0.04)
        levels = sorted(set(numbers))
        ticks = [(v, f"{v:g}") for v in levels] if axis.searched else scale.ticks(5)
        parts += [_tick(x, scale(value), text) for value, text in ticks]
        return "".join(parts), [scale(v) if isinstance(v, float) else None for v in axis.values]
    names = list(dict.fromkeys(str(v) for v in axis.values if v is not None))
    step = PLOT / max(1, len(names) - 1)
    y_of = {name: TOP + PLOT - step * index for index, name in enumerate(names)}
    parts += [_tick(x, y, clipped(name, 16)) for name, y in y_of.items()]
    return "".join(parts), [None if v is None else y_of[str(v)] for v in axis.values]


def _tick(x: float, y: float, text: str) -> str:
    return line(x - 3, y, x + 3, y, "rail") + words(x + 5, y - 3, text, "tick halo")
