"""A report as Markdown: the same words and tables; a figure is its data."""

from __future__ import annotations

import re

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
    """The whole report."""
    parts = [f"# {_plain(document.title)}", _plain(document.question), _plain(document.facts)]
    for section in document.sections:
        parts.append(f"## {_plain(section.title)}")
        parts += map(_block, section.blocks)
    return "\n\n".join(filter(None, parts)) + "\n"


def _block(block: Block) -> str:
    match block:
        case Text():
            return _plain(block.text)
        case Code():
            return f"```\n{block.text}\n```"
        case Bullets():
            return "\n".join(
                f"{f'{place}.' if block.numbered else '-'} {_plain(item)}"
                for place, item in enumerate(block.items, 1)
            )
        case Notice():
            items = "\n".join(f"> - {_plain(item)}" for item in block.items)
            return f"> **{_plain(block.title)}**\n>\n{items}"
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case Gallery():
            return "\n\n".join(filter(None, [_plain(block.text), *map(_figure, block.figures)]))
        case Card():
            marks = "".join(f" [{mark}]" for mark in block.marks)
            lines = "\n".join(f"- {_plain(text)}" for text in block.lines)
            remark = f" ({_plain(block.remark)})" if block.remark else ""
            return f"### {_plain(block.title)}{marks}: {block.verdict}{remark}\n\n{lines}"


def _figure(figure: Figure) -> str:
    parts = [f"### {_plain(figure.title)}", _plain(figure.text), _table(figure.table)]
    return "\n\n".join(filter(None, parts))


def _table(table: Table) -> str:
    header = [_cell(column.title) for column in table.columns]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for row in table.rows:
        cells = zip(row, table.columns, strict=True)
        lines.append(f"| {' | '.join(_cell(shown(v, c.digits, c.least)) for v, c in cells)} |")
    note = f"\n\n{_plain(table.note)}" if table.note else ""
    return f"*{_plain(table.caption)}*\n\n" + "\n".join(lines) + note


def _plain(text: str) -> str:
    """Text whose characters mean nothing to Markdown or HTML; underscores within words are safe."""
    return re.sub(r"([\\`*\[\]<>]|^[#>+-])", r"\\\1", " ".join(text.split()))


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
