"""Render a report as Markdown with the same text and tables; a figure becomes its data."""

from __future__ import annotations

import re

from study.console import in_markdown
from study.report.document import (
    Block,
    Bullets,
    Card,
    Code,
    Document,
    Figure,
    Gallery,
    Notice,
    Table,
    Text,
    shown,
)


def to_markdown(document: Document) -> str:
    """Render the whole report."""
    parts = [
        f"# {in_markdown(document.title)}",
        in_markdown(document.question),
        in_markdown(document.facts),
    ]
    for section in document.sections:
        parts.append(f"## {in_markdown(section.title)}")
        parts += map(_block, section.blocks)
    return "\n\n".join(filter(None, parts)) + "\n"


def _block(block: Block) -> str:
    match block:
        case Text():
            return in_markdown(block.text)
        case Code():
            longest = max(map(len, re.findall("`+", block.text)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}\n{block.text}\n{fence}"
        case Bullets():
            return "\n".join(
                f"{f'{position}.' if block.numbered else '-'} {in_markdown(item)}"
                for position, item in enumerate(block.items, 1)
            )
        case Notice():
            items = "\n".join(f"> - {in_markdown(item)}" for item in block.items)
            return f"> **{in_markdown(block.title)}**\n>\n{items}"
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case Gallery():
            return "\n\n".join(
                filter(None, [in_markdown(block.text), *map(_figure, block.figures)])
            )
        case Card():
            marks = "".join(f" [{mark}]" for mark in block.marks)
            lines = "\n".join(f"- {in_markdown(text)}" for text in block.lines)
            remark = f" ({in_markdown(block.remark)})" if block.remark else ""
            return f"### {in_markdown(block.title)}{marks}: {block.verdict}{remark}\n\n{lines}"


def _figure(figure: Figure) -> str:
    parts = [f"### {in_markdown(figure.title)}", in_markdown(figure.text), _table(figure.table)]
    return "\n\n".join(filter(None, parts))


def _table(table: Table) -> str:
    header = [_cell(column.title) for column in table.columns]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for row in table.rows:
        cells = zip(row, table.columns, strict=True)
        lines.append(f"| {' | '.join(_cell(shown(v, c.digits, c.least)) for v, c in cells)} |")
    note = f"\n\n{in_markdown(table.note)}" if table.note else ""
    return f"*{in_markdown(table.caption)}*\n\n" + "\n".join(lines) + note


def _cell(text: str) -> str:
    return in_markdown(text).replace("|", "\\|")
