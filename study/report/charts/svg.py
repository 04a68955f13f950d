"""SVG as text: elements, scales, axes and markers; the page's theme gives the colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 340
"""Width in CSS pixels at which a drawing fits a phone unscaled."""

SERIES = 6
"""Number of distinguishable markers and colours."""


def tag(name: str, *children: str, **attributes: object) -> str:
    """Format an element; in attribute names, `class_` is `class` and other underscores hyphens."""
    attribute_text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
    )
    return (
        f"<{name}{attribute_text}>{''.join(children)}</{name}>"
        if children
        else f"<{name}{attribute_text}/>"
    )


def words(x: float, y: float, text: str, class_: str = "", anchor: str = "start") -> str:
    """Draw text with its baseline at (x, y)."""
    return tag("text", escape(text), x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """Draw a straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str) -> str:
    """Draw a line through points."""
    return tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)


def picture(height: float, title: str, description: str, *children: str, width: float = 0) -> str:
    """Format a complete drawing; screen readers get its title and description."""
    viewport_width = width or WIDTH
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 {viewport_width:.0f} {height:.0f}",
        width=f"{viewport_width:.0f}",
        height=f"{height:.0f}",
        role="img",
        aria_label=f"{title}. {description}",
    )


def marker(series: int, x: float, y: float, size: float = 4.5, class_: str = "mark") -> str:
    """Draw the marker of a series; shapes differ, so colour is not needed to tell them apart."""
    style = f"{class_} s{series % SERIES}"
    shapes: dict[int, list[tuple[float, float]]] = {
        1: [(-1, -1), (1, -1), (1, 1), (-1, 1)],
        2: [(0, -1.3), (1.2, 1), (-1.2, 1)],
        3: [(0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)],
        4: [(0, 1.3), (1.2, -1), (-1.2, -1)],
        5: [(-1.3, -0.4), (1.3, -0.4), (1.3, 0.4), (-1.3, 0.4)],
    }
    if not (corners := shapes.get(series % SERIES)):
        return tag("circle", cx=x, cy=y, r=size, class_=style)
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    return tag("polygon", points=points, class_=style)


@dataclass(frozen=True)
class Scale:
    """Linear map from values to pixels along an axis.

    Attributes:
        low: Value at `start`.
        high: Value at `end`.
        start: Position of `low` in pixels.
        end: Position of `high` in pixels.
    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, room: float = 0.06) -> Scale:
        """Return a scale for all values, with a margin of `room` of their range at both ends."""
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        span = (high - low) or abs(high) or 1.0
        return cls(low - room * span, high + room * span, start, end)

    def __call__(self, value: float) -> float:
        """Return the position of a value in pixels."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 4) -> list[tuple[float, str]]:
        """Return about `count` round values within the scale, with their text."""
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(k * power for k in (1, 2, 2.5, 5, 10) if k * power >= rough * 0.999)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        digits += step / 10.0**-digits % 1 > 1e-6
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(n * step, f"{n * step:.{digits}f}") for n in range(first, last + 1)]


def axis_below(scale: Scale, top: float, bottom: float, title: str) -> str:
    """Draw a horizontal axis: grid, ticks and title."""
    parts = []
    for value, text in scale.ticks():
        x = scale(value)
        parts += [line(x, top, x, bottom, "grid"), words(x, bottom + 15, text, "tick", "middle")]
    middle = (scale.start + scale.end) / 2
    return "".join([*parts, words(middle, bottom + 31, title, "axis", "middle")])


def axis_left(scale: Scale, left: float, right: float) -> str:
    """Draw a vertical axis: grid and ticks."""
    parts = []
    for value, text in scale.ticks(5):
        y = scale(value)
        parts += [line(left, y, right, y, "grid"), words(left - 6, y + 4, text, "tick", "end")]
    return "".join(parts)


def legend(names: Sequence[str], top: float) -> tuple[str, float]:
    """Draw markers with names, one per line; return them with their height in pixels."""
    parts = []
    for series, name in enumerate(names):
        y = top + 18 * series
        parts += [marker(series, 12, y - 4), words(24, y, clipped(name, 48))]
    return "".join(parts), 18.0 * len(names)


def clipped(text: str, characters: int) -> str:
    """Shorten text at its end; the table beside a drawing has all of it."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def _attribute(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else escape(str(value))
