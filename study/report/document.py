"""Content of a report, independent of its format: HTML, Markdown and JSON are made from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

MISSING = "-"
"""Shown for a missing value."""

LARGE = 10.0
"""Absolute value from which a number has at most one decimal place."""


@dataclass(frozen=True)
class Spread:
    """Mean over seeds with its standard deviation, which is None for a single trial."""

    mean: float
    deviation: float | None
    count: int


Value = str | int | float | Spread | None


@dataclass(frozen=True)
class Column:
    """Column of a table.

    Attributes:
        title: Header.
        digits: Decimal places of numbers.
        best: Value to highlight: `greatest`, `least` or empty; not a claim of significance.
        least: Smaller numbers are shown as `< least`, for p-values.
    """

    title: str
    digits: int = 4
    best: str = ""
    least: float = 0.0


@dataclass(frozen=True)
class Table:
    """Table of values; the first column labels the rows.

    Attributes:
        id: Key for programs, unique in a report.
        caption: Content, with the unit.
        columns: Columns from left to right.
        rows: Rows, each as long as `columns`.
        note: Remark below the table; may be empty.
    """

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """Drawing with its explanation, and its data as a table.

    Attributes:
        title: Title.
        text: How to read it; what was left out and by which rule.
        drawing: Self-contained SVG.
        table: Data of the drawing.
        wide: Whether it scrolls sideways on small screens instead of shrinking.
    """

    title: str
    text: str
    drawing: str
    table: Table
    wide: bool = False


@dataclass(frozen=True)
class Gallery:
    """Figures side by side, as many as fit, under one text."""

    text: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Text:
    """Paragraph."""

    text: str


@dataclass(frozen=True)
class Code:
    """Commands to type."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """List of items."""

    items: tuple[str, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Notice:
    """Highlighted warning."""

    title: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """Hypothesis with its verdict, a remark, and the sentences behind it."""

    verdict: str
    title: str
    marks: tuple[str, ...]
    remark: str
    lines: tuple[str, ...]


Block = Table | Figure | Gallery | Text | Code | Bullets | Notice | Card


@dataclass(frozen=True)
class Section:
    """Part of the report under a heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """Complete report.

    Attributes:
        title: Name of the study.
        question: Question of its space.
        facts: Space, tier, size, benchmarks and encoders, in one line.
        sections: Sections in reading order.
    """

    title: str
    question: str
    facts: str
    sections: tuple[Section, ...]

    def tables(self) -> list[Table]:
        """List all tables, including those of figures."""
        tables: list[Table] = []
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Table):
                    tables.append(block)
                elif isinstance(block, Figure):
                    tables.append(block.table)
                elif isinstance(block, Gallery):
                    tables += [figure.table for figure in block.figures]
        return tables


def finite(value: float | None) -> float | None:
    """Return the number, or None for NaN and infinity."""
    return value if value is not None and math.isfinite(value) else None


def shown(value: Value, digits: int = 4, least: float = 0.0) -> str:
    """Format a value for a table; NaN and infinity count as missing."""
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
    """Return the number that a value is compared by; None for text and missing values."""
    if isinstance(value, Spread):
        return finite(value.mean)
    return finite(float(value)) if isinstance(value, (int, float)) else None
