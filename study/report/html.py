"""Render a report as one self-contained HTML page: no scripts, files or network addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from study.report.charts.svg import tag
from study.report.document import (
    Block,
    Bullets,
    Card,
    Code,
    Column,
    Document,
    Figure,
    Gallery,
    Notice,
    Section,
    Spread,
    Table,
    Text,
    Value,
    number,
    shown,
)

POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">"
)
"""Content Security Policy that blocks scripts, files and addresses, whatever the page contains."""

SYMBOLS = {"supported": "✓", "contradicted": "✗", "equivalent": "≈", "undecided": "?"}
"""Symbols beside a verdict's word and colour."""

LONG = 30
"""Length in characters above which text in a table may wrap."""


def to_html(document: Document) -> str:
    """Render the whole page."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    items = [
        tag("li", tag("a", escape(section.title), href=f"#{_slug(section.title)}"))
        for section in document.sections
    ]
    head = [
        tag("h1", escape(document.title)),
        tag("p", escape(document.question), class_="question"),
        tag("p", escape(document.facts), class_="soft"),
        tag("nav", tag("ol", *items), aria_label="Contents"),
    ]
    body = [
        tag("a", "Skip to the answer", class_="skip", href="#main"),
        tag(
            "div",
            tag("header", *head),
            tag("main", *map(_section, document.sections), id="main", tabindex="-1"),
            class_="wrap",
        ),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"{POLICY}\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(document.title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{''.join(body)}\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    name = _slug(section.title)
    heading = tag("h2", escape(section.title), id=name)
    parts: list[str] = []
    cards: list[str] = []
    for block in section.blocks:
        if isinstance(block, Card):
            cards.append(_card(block))
            continue
        if cards:
            parts.append(tag("div", *cards, class_="cards"))
            cards = []
        parts.append(_block(block))
    if cards:
        parts.append(tag("div", *cards, class_="cards"))
    return "\n" + tag("section", heading, *parts, aria_labelledby=name)


def _block(block: Block) -> str:
    match block:
        case Text():
            return tag("p", escape(block.text))
        case Code():
            return tag("pre", tag("code", escape(block.text)))
        case Bullets():
            items = [tag("li", escape(item)) for item in block.items]
            if block.numbered:
                return tag("ol", *items, class_="list numbered")
            return tag("ul", *items, class_="list")
        case Notice():
            items = [tag("li", escape(item)) for item in block.items]
            strong = tag("strong", escape(block.title))
            return tag("div", strong, tag("ul", *items), class_="notice", role="note")
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case Gallery():
            figures = tag("div", *map(_figure, block.figures), class_="gallery")
            return (tag("p", escape(block.text)) if block.text else "") + figures
        case Card():
            return _card(block)


def _card(card: Card) -> str:
    marks = [tag("span", escape(mark), class_="mark6") for mark in card.marks]
    verdict = f"{SYMBOLS[card.verdict]} {card.verdict}"
    remark = tag("span", escape(f"({card.remark})"), class_="remark") if card.remark else ""
    return tag(
        "article",
        tag("h3", escape(card.title), *marks),
        tag("p", tag("span", verdict, class_="verdict"), f" {remark}"),
        *(tag("p", escape(text)) for text in card.lines),
        class_=f"card {card.verdict}",
    )


def _figure(figure: Figure) -> str:
    title = tag("h3", escape(figure.title))
    text = tag("p", escape(figure.text)) if figure.text else ""
    drawing = figure.drawing
    if figure.wide:
        drawing = _region(f"{figure.title}, drawing", drawing)
    summary = tag("summary", f"Data: {escape(figure.title)}")
    return tag(
        "figure",
        tag("figcaption", title, text),
        drawing,
        tag("details", summary, _table(figure.table)),
        class_="wide" if figure.wide else "plain",
    )


def _table(table: Table) -> str:
    kinds = [_is_text(table, index) for index in range(len(table.columns))]
    header = [
        tag("th", escape(column.title), scope="col", class_="text" if text else "value")
        for column, text in zip(table.columns, kinds, strict=True)
    ]
    best = [_best(table, index, column) for index, column in enumerate(table.columns)]
    rows = [tag("tr", *_row(table, row, kinds, best)) for row in table.rows]
    content = tag(
        "table",
        tag("thead", tag("tr", *header)),
        tag("tbody", *rows) if rows else "",
        aria_label=table.caption,
    )
    caption = tag("p", escape(table.caption), class_="caption")
    note = tag("p", escape(table.note), class_="note") if table.note else ""
    return caption + _region(table.caption, content) + note


def _row(
    table: Table, row: Sequence[Value], kinds: Sequence[bool], best: Sequence[float | None]
) -> list[str]:
    cells = []
    for index, (value, column) in enumerate(zip(row, table.columns, strict=True)):
        text = escape(shown(value, column.digits, column.least))
        if best[index] is not None and number(value) == best[index]:
            text = tag("strong", text)
        if index == 0:
            cells.append(tag("th", text or " ", scope="row"))
        else:
            long = isinstance(value, str) and len(value) > LONG
            style = "long" if long else "text" if kinds[index] else "value"
            cells.append(tag("td", text or " ", class_=style))
    return cells


def _is_text(table: Table, index: int) -> bool:
    return index == 0 or not any(isinstance(row[index], (int, float, Spread)) for row in table.rows)


def _best(table: Table, index: int, column: Column) -> float | None:
    numbers = [n for row in table.rows if (n := number(row[index])) is not None]
    if not column.best or len(numbers) < 2:
        return None
    return min(numbers) if column.best == "least" else max(numbers)


def _region(label: str, content: str) -> str:
    """Wrap content that may be wider than the screen; scrolls by touch or arrow keys."""
    return tag("div", content, class_="scroll", role="region", tabindex="0", aria_label=label)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
