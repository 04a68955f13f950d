"""Slice plot: every cell's value against one setting, whatever the other settings were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from study.report.charts.svg import (
    WIDTH,
    Scale,
    axis_below,
    axis_left,
    clipped,
    line,
    marker,
    picture,
    words,
)

LEFT, RIGHT, TOP, PLOT = 52.0, WIDTH - 14.0, 26.0, 190.0

NAMED = 12
"""Maximum number of levels that are all named below an axis."""


@dataclass(frozen=True)
class Dot:
    """A cell in a slice.

    Attributes:
        at: Value of the setting.
        up: Value of the objective.
        apart: Whether it is drawn as a triangle, for cells of another kind.
    """

    at: Any
    up: float
    apart: bool = False


def sliced(
    title: str,
    description: str,
    dots: Sequence[Dot],
    best: int | None,
    axes: tuple[str, str],
    *,
    log: bool = False,
    levels: Sequence[Any] = (),
) -> str:
    """Draw dots over one setting.

    Args:
        title: Title, for screen readers.
        description: Summary, for screen readers.
        dots: Cells.
        best: Index of the best cell, which is marked; None for no mark.
        axes: Titles of the horizontal and the vertical axis.
        log: Whether the horizontal axis is logarithmic.
        levels: Levels of a choice in order; empty for numbers.
    """
    up = Scale.over([dot.up for dot in dots], TOP + PLOT, TOP)
    if levels:
        below, xs = _levels(dots, levels, axes[0])
    else:
        below, xs = _numbers(dots, log, axes[0])
    parts = [words(8, 14, axes[1], "axis"), axis_left(up, LEFT, RIGHT), below]
    for dot, x in zip(dots, xs, strict=True):
        parts.append(marker(4 if dot.apart else 0, x, up(dot.up), 3.0, "dot"))
    if best is not None:
        parts.append(marker(3, xs[best], up(dots[best].up), 6.0))
    return picture(TOP + PLOT + 38, title, description, *parts)


def _numbers(dots: Sequence[Dot], log: bool, title: str) -> tuple[str, list[float]]:
    """Draw a numeric axis and return it with the dots' positions."""
    transform = math.log10 if log else float
    values = [transform(dot.at) for dot in dots]
    scale = Scale.over(values, LEFT, RIGHT, 0.05)
    if not log:
        return axis_below(scale, TOP, TOP + PLOT, title), [scale(v) for v in values]
    parts, last = [], -math.inf
    factors = (1,) if scale.high - scale.low > 2.5 else (1, 2, 5)
    for power in range(math.floor(scale.low), math.ceil(scale.high) + 1):
        for factor in factors:
            x = scale(power + math.log10(factor))
            if LEFT <= x <= RIGHT and x - last > 44:
                text = f"{factor * 10.0**power:.6g}"
                parts.append(line(x, TOP, x, TOP + PLOT, "grid"))
                parts.append(words(x, TOP + PLOT + 15, text, "tick", "middle"))
                last = x
    middle = (LEFT + RIGHT) / 2
    parts.append(words(middle, TOP + PLOT + 31, f"{title} (log)", "axis", "middle"))
    return "".join(parts), [scale(v) for v in values]


def _levels(dots: Sequence[Dot], levels: Sequence[Any], title: str) -> tuple[str, list[float]]:
    """Draw an axis with a position per level; return it with the dots' jittered positions."""
    names = [str(level) for level in levels]
    width = (RIGHT - LEFT) / len(names)
    parts = []
    step = -(-len(names) // NAMED)
    characters = max(3, int(width * step / 6.6))
    for number, name in enumerate(names):
        x = LEFT + width * (number + 0.5)
        parts.append(line(x, TOP, x, TOP + PLOT, "grid"))
        if number % step == 0:
            text = clipped(name, characters)
            parts.append(words(x, TOP + PLOT + 15, text, "tick", "middle"))
    parts.append(words((LEFT + RIGHT) / 2, TOP + PLOT + 31, title, "axis", "middle"))
    counts: dict[str, int] = {}
    xs = []
    for dot in dots:
        name = str(dot.at)
        count = counts[name] = counts.get(name, 0) + 1
        # golden-ratio jitter: deterministic, and different for neighbours
        shift = ((count * 0.618034) % 1 - 0.5) * 0.6
        xs.append(LEFT + width * (names.index(name) + 0.5 + shift))
    return "".join(parts), xs
