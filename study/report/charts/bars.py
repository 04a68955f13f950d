"""Bar chart of shares, with the name above each bar."""

from __future__ import annotations

from collections.abc import Sequence

from study.report.charts.svg import WIDTH, clipped, picture, tag, words

LEFT, RIGHT = 10.0, WIDTH - 60.0
LINE = 38.0


def bars(title: str, description: str, shares: Sequence[tuple[str, float]]) -> str:
    """Draw a bar for each share of one whole, with its percentage at the end."""
    parts = []
    for number, (name, share) in enumerate(shares):
        y = 14 + LINE * number
        width = max(1.0, (RIGHT - LEFT) * min(max(share, 0.0), 1.0))
        parts += [
            words(LEFT, y, clipped(name, 50), "label"),
            tag("rect", x=LEFT, y=y + 5, width=RIGHT - LEFT, height=12.0, class_="band"),
            tag("rect", x=LEFT, y=y + 5, width=width, height=12.0, class_="share"),
            words(RIGHT + 6, y + 15, f"{share:.0%}", "tick"),
        ]
    return picture(14 + LINE * len(shares), title, description, *parts)
