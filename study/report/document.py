"""What a report consists of, before it is a page: the same content becomes HTML, Markdown, JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass

MISSING = "-"
"""Shown where there is no value."""

LARGE = 10.0
"""From here on one digit behind the point is enough, whatever a column has."""


@dataclass(frozen=True)
class Spread:
    """A mean over seeds with its standard deviation, which one trial has not."""

    mean: float
    deviation: float | None
    count: int


Value = str | int | float | Spread | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its header.
        digits: Behind the point, of numbers.
        best: Whether the greatest or the least is marked, and nothing more is said of it.
        least: Smaller numbers are shown as less than this: of p.
    """

    title: str
    digits: int = 4
    best: str = ""
    least: float = 0.0


@dataclass(frozen=True)
class Table:
    """Figures in rows; the first column names what a row is of.

    Attributes:
        id: By which programs know it; unique in a report, and no title.
        caption: What it holds, with the unit.
        columns: From left to right.
        rows: Each as long as `columns`.
        note: What must be said of it; may be empty.
    """

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing with what it says, and its data as a table.

    Attributes:
        title: What is shown.
        text: How to read it; what was left out and by which rule.
        drawing: SVG, complete in itself.
        table: The data.
        wide: It keeps its size on small screens, where it is moved sideways.
    """

    title: str
    text: str
    drawing: str
    table: Table
    wide: bool = False


@dataclass(frozen=True)
class Gallery:
    """Figures side by side, as many as there is room for, under one text."""

    text: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code:
    """Commands to be typed."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Notice:
    """What must not be overlooked."""

    title: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """A hypothesis: its verdict with a remark, and the sentences behind it."""

    verdict: str
    title: str
    marks: tuple[str, ...]
    remark: str
    lines: tuple[str, ...]


Block = Table | Figure | Gallery | Text | Code | Bullets | Notice | Card


@dataclass(frozen=True)
class Section:
    """A part of the report under a heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: Name of the study.
        question: Of its space.
        facts: What it is of, in a line.
        sections: In the order in which they are read.
    """

    title: str
    question: str
    facts: str
    sections: tuple[Section, ...]

    def tables(self) -> list[Table]:
        """All tables, those of figures included."""
        every: list[Table] = []
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Table):
                    every.append(block)
                elif isinstance(block, Figure):
                    every.append(block.table)
                elif isinstance(block, Gallery):
                    every += [figure.table for figure in block.figures]
        return every


def finite(value: float | None) -> float | None:
    """The number, or None for one that is none (NaN, infinite)."""
    return value if value is not None and math.isfinite(value) else None


def shown(value: Value, digits: int = 4, least: float = 0.0) -> str:
    """A value of a table as text; NaN and infinity are no values."""
    if isinstance(value, Spread):
        text = shown(value.mean, digits)
        return text if value.deviation is None else f"{text} ± {shown(value.deviation, digits)}"
    if value is None or (isinstance(value, float) and finite(value) is None):
        return MISSING
    if isinstance(value, float) and 0 <= value < least:
        return f"< {least:g}"
    if isinstance(value, float):
        return f"{value:.{digits if abs(value) < LARGE else min(digits, 1)}f}"
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else value


def number(value: Value) -> float | None:
    """What a value is compared by; None for texts and what is missing."""
    if isinstance(value, Spread):
        return finite(value.mean)
    return finite(float(value)) if isinstance(value, (int, float)) else None
