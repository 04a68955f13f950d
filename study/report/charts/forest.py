"""Rows of values on one axis: forest plots, dot plots, languages with a mark per arm."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from study.report.charts.svg import (
    WIDTH,
    Scale,
    axis_below,
    legend,
    line,
    marker,
    picture,
    tag,
    words,
)

LEFT, RIGHT = 10.0, WIDTH - 12.0
LABEL_LINE = 16.0
MARKS = 20.0
LABEL_CHARACTERS = 50


@dataclass(frozen=True)
class Mark:
    """One value of a row, with its interval and the values that it averages."""

    value: float
    series: int = 0
    interval: tuple[float, float] | None = None
    dots: tuple[float, ...] = ()

    @property
    def reach(self) -> tuple[float, ...]:
        """All values that the axis must include."""
        return (self.value, *(self.interval or ()), *self.dots)


@dataclass(frozen=True)
class ForestRow:
    """A label with its marks below, and the value expected without bias."""

    label: str
    marks: tuple[Mark, ...]
    due: float | None = None


def rows_chart(
    title: str,
    description: str,
    rows: Sequence[ForestRow],
    axis: str,
    *,
    names: Sequence[str] = (),
    margin: float | None = None,
    apart: bool = False,
) -> str:
    """Draw rows below each other over a common horizontal axis.

    Args:
        title: Title, for screen readers.
        description: Summary, for screen readers.
        rows: Rows from top to bottom.
        axis: Title of the axis, with the unit.
        names: Names of the series for a legend; empty for none.
        margin: Half-width of a band to draw around zero; None for no band.
        apart: Whether every mark has its own line, for marks with intervals.
    """
    values = [value for row in rows for mark in row.marks for value in mark.reach]
    values += [0.0, -margin, margin] if margin is not None else []
    values += [row.due for row in rows if row.due is not None]
    scale = Scale.over(values, LEFT + 6, RIGHT - 6)
    key, top = legend(names, 14)
    top += 8
    parts, y = [], top
    for row in rows:
        wrapped = textwrap.wrap(row.label, LABEL_CHARACTERS) or [""]
        for text in wrapped:
            y += LABEL_LINE
            parts.append(words(LEFT, y, text, "label"))
        if row.due is not None:
            x = scale(row.due)
            parts.append(line(x, y + 3, x, y + MARKS, "due"))
        lines = len(row.marks) if apart else 1
        for number, mark in enumerate(row.marks):
            parts.append(_mark(mark, scale, y + MARKS * ((number if apart else 0) + 0.6)))
        y += MARKS * lines + 4
    frame = [axis_below(scale, top, y, axis)]
    if margin is not None:
        frame.insert(0, _band(scale, margin, top, y))
    return picture(y + 38, title, description, key, *frame, *parts)


def _band(scale: Scale, margin: float, top: float, bottom: float) -> str:
    left, right = scale(-margin), scale(margin)
    box = tag("rect", x=left, y=top, width=right - left, height=bottom - top, class_="band")
    return box + line(scale(0), top, scale(0), bottom, "zero")


def _mark(mark: Mark, scale: Scale, y: float) -> str:
    parts = []
    if mark.interval:
        low, high = map(scale, mark.interval)
        style = f"bar s{mark.series}"
        parts = [line(low, y, high, y, style)]
        parts += [line(x, y - 4, x, y + 4, style) for x in (low, high)]
    for dot in mark.dots:
        parts.append(tag("circle", cx=scale(dot), cy=y + 7, r=2.0, class_=f"dot s{mark.series}"))
    return "".join([*parts, marker(mark.series, scale(mark.value), y)])
