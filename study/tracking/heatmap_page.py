"""A trial's heatmap of languages as a page of its own, for MLflow's artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from study.report.charts.heatmap import heatmap
from study.report.html import POLICY

MOST_LANGUAGES = 40
"""With more, cells are too small to read; every number is in `pairs.json`."""

STYLE = "body{font:15px sans-serif;margin:1em}svg{max-width:100%}text{font:11px sans-serif}"


def heatmap_page(title: str, metrics: Mapping[str, float]) -> str | None:
    """Mean average precision by query and corpus language; None where no pair was measured.

    Colours run from 0 to 1, so that the pages of two trials can be compared.

    Args:
        title: Of the trial.
        metrics: `map/cross/de-en` and `map/mono/de`, whose corpus is in the query's language.
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
    said = f"map/mono on the diagonal, map/cross elsewhere: {span}"
    drawing = heatmap(title, said, languages, pairs, (0.0, 1.0))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8>{POLICY}<title>{escape(title)}</title>"
        f"<style>{STYLE}</style><h1>{escape(title)}</h1><p>{escape(said)}</p>{drawing}</html>"
    )
