"""Heatmap of query language against corpus language, with each value as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from study.report.charts.colours import DIVERGING, VIRIDIS, at, css, ink_on
from study.report.charts.svg import WIDTH, picture, tag, words
from study.report.html import POLICY

Pairs = Mapping[tuple[str, str], float]
"""Value by query and corpus language."""

LEFT, TOP = 58.0, 44.0
LARGEST = 44.0

MOST_LANGUAGES = 40
"""Above this number cells are too small to read; `pairs.json` has every number."""

STYLE = "body{font:15px sans-serif;margin:1em}svg{max-width:100%}text{font:11px sans-serif}"


def heatmap(
    title: str,
    description: str,
    languages: Sequence[str],
    values: Pairs,
    reach: tuple[float, float],
    *,
    difference: bool = False,
) -> str:
    """Draw query languages as rows and corpus languages as columns; missing pairs stay empty.

    Args:
        title: Title, for screen readers.
        description: Summary, for screen readers.
        languages: Languages of rows and columns.
        values: Values of the pairs that exist.
        reach: Values at both ends of the colour scale; the same for heatmaps to be compared.
        difference: Whether to use the diverging scale, for differences.
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
                corner = LEFT + size * column, TOP + size * row
                parts.append(_cell(*corner, size, value, reach, difference))
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


def heatmap_page(title: str, metrics: Mapping[str, float]) -> str | None:
    """Draw a page of MAP by languages; None without cross-lingual pairs or with too many languages.

    Colours run from 0 to 1, so that pages of different trials are comparable.

    Args:
        title: Label of the trial.
        metrics: Metrics of the trial, such as `map/mono/de` and `map/cross/de-en`.
    """
    prefix = "map/mono/"
    languages = sorted(m.removeprefix(prefix) for m in metrics if m.startswith(prefix))
    names = {
        (query, corpus): prefix + query if query == corpus else f"map/cross/{query}-{corpus}"
        for query in languages
        for corpus in languages
    }
    pairs = {pair: metrics[name] for pair, name in names.items() if name in metrics}
    if len(pairs) == len(languages) or len(languages) > MOST_LANGUAGES:
        return None
    span = f"{min(pairs.values()):.3f} to {max(pairs.values()):.3f}"
    description = f"map/mono on the diagonal, map/cross elsewhere: {span}"
    drawing = heatmap(title, description, languages, pairs, (0.0, 1.0))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8>{POLICY}<title>{escape(title)}</title>"
        f"<style>{STYLE}</style><h1>{escape(title)}</h1><p>{escape(description)}</p>{drawing}</html>"
    )
