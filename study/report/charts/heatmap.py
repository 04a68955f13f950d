"""Query language against corpus language, every cell with its value as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from study.report.charts.colours import DIVERGING, VIRIDIS, at, css, ink_on
from study.report.charts.svg import WIDTH, picture, tag, words

Pairs = Mapping[tuple[str, str], float]
"""Query and corpus language to a value."""

LEFT, TOP = 58.0, 44.0
LARGEST = 44.0


def heatmap(
    title: str,
    description: str,
    languages: Sequence[str],
    values: Pairs,
    reach: tuple[float, float],
    *,
    difference: bool = False,
) -> str:
    """Rows are query languages, columns corpus languages; what is not known stays empty.

    Args:
        title: What is shown.
        description: What it says.
        languages: Of rows and columns.
        values: Of the pairs that exist.
        reach: Values at both ends of the colours, the same for heatmaps to be compared.
        difference: Colours for below and above zero.
    """
    size = min(LARGEST, (WIDTH - LEFT - 4) / max(1, len(languages)))
    middle = LEFT + size * len(languages) / 2
    parts = [words(middle, 14, "corpus", "axis", "middle"), words(4, TOP - 8, "query", "axis")]
    for number, language in enumerate(languages):
        x, y = LEFT + size * (number + 0.5), TOP + size * (number + 0.5) + 4
        parts.append(words(x, TOP - 8, language, "small", "middle"))
        parts.append(words(LEFT - 6, y, language, "small", "end"))
    for row, query in enumerate(languages):
        for column, corpus in enumerate(languages):
            if (value := values.get((query, corpus))) is not None:
                place = LEFT + size * column, TOP + size * row
                parts.append(_cell(*place, size, value, reach, difference))
    return picture(TOP + size * len(languages) + 8, title, description, *parts)


def _cell(
    x: float, y: float, size: float, value: float, reach: tuple[float, float], difference: bool
) -> str:
    low, high = reach
    share = (value - low) / (high - low) if high > low else 0.5
    colour = at(DIVERGING if difference else VIRIDIS, share)
    box = tag("rect", x=x, y=y, width=size - 1, height=size - 1, fill=css(colour))
    text = f"{value:+.2f}" if difference else f"{value:.2f}"
    text = text.replace("0.", ".", 1) if abs(value) < 0.995 else text
    size_px = 11 if size > 30 else 9
    middle = (x + (size - 1) / 2, y + size / 2 + size_px * 0.33)
    ink = tag(
        "text",
        text,
        x=middle[0],
        y=middle[1],
        text_anchor="middle",
        font_size=size_px,
        fill=ink_on(colour),
        class_="own",
    )
    return box + ink
