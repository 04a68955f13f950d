"""Sections on retrieval between pairs of languages and on language bias in the pool."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from study.analysis.contrasts import contrasts_of
from study.analysis.results import CellResult, waiting
from study.report.charts.forest import ForestRow, Mark, rows_chart
from study.report.charts.heatmap import heatmap
from study.report.charts.svg import SERIES
from study.report.document import Block, Column, Figure, Gallery, Section, Table, Text
from study.report.material import Material, some_languages
from study.state.plan import Plan

Pairs = Mapping[tuple[str, str], float]

SHARE = "share_at_10"


def drawn(material: Material) -> list[CellResult]:
    """Return the arms to draw, at most `SERIES` with results; prefer those in hypotheses."""
    complete = [arm for arm in material.arms if arm.results]
    named = _labels_in_hypotheses(material.plan)
    ordered = sorted(complete, key=lambda arm: arm.cell.label not in named)[:SERIES]
    return [arm for arm in complete if arm in ordered]


def pairs_of_languages(material: Material) -> Section:
    """Draw heatmaps of arms, and of the difference that the first hypothesis compares."""
    by_arm = {material.name(arm.cell): material.pairs(arm) for arm in drawn(material)}
    by_arm = {name: pairs for name, pairs in by_arm.items() if pairs}
    if len(material.languages) < 2 or not by_arm:
        text = "There are no figures of several query and corpus languages."
        return Section("Pairs of languages", (Text(text),))
    chosen = _chosen(material, by_arm)
    values = [
        v for pairs in by_arm.values() for (q, c), v in pairs.items() if {q, c} <= set(chosen)
    ]
    reach = min(values), max(values)
    figures = [
        _map(f"pairs/{name}", f"map of {name}", name, chosen, pairs, reach)
        for name, pairs in by_arm.items()
    ]
    text = (
        "Mean average precision by the language of the query (rows) and of the corpus (columns): "
        "map/mono on the diagonal, map/cross elsewhere, means over seeds, colours alike in all."
    )
    blocks: list[Block] = [Gallery(text + _left_out(material, chosen), tuple(figures))]
    if (difference := _difference(material)) is not None:
        label, pairs = difference
        largest = max(abs(v) for (q, c), v in pairs.items() if {q, c} <= set(chosen)) or 1.0
        text = f"Difference: {label}, as the first hypothesis compares; orange below 0, blue above."
        figure = _map(
            "pairs", f"map, {label}", label, chosen, pairs, (-largest, largest), difference=True
        )
        blocks.append(Gallery(text, (figure,)))
    return Section("Pairs of languages", tuple(blocks))


def bias(material: Material) -> Section:
    """Draw rank distance, mean rank and share of the first ten, by language."""
    arms = drawn(material)
    names = [material.name(arm.cell) for arm in arms]
    distance = [_by_language(material, arm, "rank_distance") for arm in arms]
    shares = [_by_language(material, arm, SHARE) for arm in arms]
    ranks = [_mean_rank(material, arm) for arm in arms]
    if not any([*distance, *shares, *ranks]):
        text = (
            "Language bias is not defined here: it needs a pool of several languages in all of "
            "which relevance is judged, and a trial with a result."
        )
        return Section("Language bias", (Text(text),))
    due = _by_language(material, arms[0], "relevant_share")
    drawings = [
        _languages(
            "bias/rank_distance",
            "Rank distance by query language",
            "rank_distance",
            names,
            distance,
            1,
        ),
        _languages("bias/mean_rank", "Mean rank by corpus language", "mean rank", names, ranks, 1),
        _languages(
            f"bias/{SHARE}",
            "Share of the first ten by corpus language",
            "share of top 10",
            names,
            shares,
            3,
            due,
        ),
    ]
    text = (
        "In the pool of all languages. Rank distance: of a query's parallel relevant candidates, "
        "the largest minus the smallest rank. Without bias, ranks would be equal and the shares "
        "of the first ten would be those of the relevant candidates (vertical lines)."
    )
    figures = tuple(figure for figure in drawings if figure is not None)
    return Section("Language bias", (Gallery(text, figures),))


def _labels_in_hypotheses(plan: Plan) -> set[str]:
    contrasts = (
        contrast for hypothesis in plan.hypotheses for contrast in contrasts_of(plan, hypothesis)
    )
    return {label for contrast in contrasts for label in contrast.coefficients}


def _difference(material: Material) -> tuple[str, Pairs] | None:
    """Compute the first contrast that has values, by language pair; return it with its name."""
    named = _labels_in_hypotheses(material.plan)
    compared = [arm for arm in material.arms if arm.cell.label in named]
    cells = {arm.cell.label: material.pairs(arm) for arm in compared}
    placeholders = waiting(material.plan, material.cells)
    arms = (*(arm.cell for arm in material.arms), *placeholders)
    plan = material.plan.model_copy(update={"cells": arms})
    for hypothesis in plan.hypotheses:
        for contrast in contrasts_of(plan, hypothesis):
            weighted = [
                (weight, cells.get(label, {})) for label, weight in contrast.coefficients.items()
            ]
            common = set.intersection(*(set(pairs) for _, pairs in weighted)) if weighted else set()
            if common:
                return contrast.what, {
                    k: sum(w * pairs[k] for w, pairs in weighted) for k in common
                }
    return None


def _chosen(material: Material, by_arm: Mapping[str, Pairs]) -> list[str]:
    """Choose the languages to draw by their monolingual values."""
    values = []
    for language in material.languages:
        monolingual = [
            pairs[language, language] for pairs in by_arm.values() if (language,) * 2 in pairs
        ]
        values.append((language, statistics.fmean(monolingual) if monolingual else 0.0))
    return some_languages(values)


def _left_out(material: Material, chosen: Sequence[str]) -> str:
    names = material.languages
    if len(chosen) == len(names):
        return ""
    half = len(chosen) // 2
    return (
        f" Of {len(names)} languages the {half} with the lowest and the {half} with the highest "
        "map/mono are drawn; report.csv has all."
    )


def _map(
    table: str,
    title: str,
    label: str,
    languages: Sequence[str],
    pairs: Pairs,
    reach: tuple[float, float],
    *,
    difference: bool = False,
) -> Figure:
    low, high = min(pairs.values()), max(pairs.values())
    description = f"From {low:.3f} to {high:.3f} over {len(pairs)} pairs"
    columns = (Column("query language"), *(Column(f"corpus {name}") for name in languages))
    rows = tuple((q, *(pairs.get((q, c)) for c in languages)) for q in languages)
    drawing = heatmap(title, description, languages, pairs, reach, difference=difference)
    return Figure(label, "", drawing, Table(table, title, columns, rows))


def _by_language(material: Material, arm: CellResult, measure: str) -> dict[str, float]:
    names = {
        name.partition("/")[2]
        for result in arm.results
        for name in result["metrics"]
        if name.startswith(f"{measure}/")
    }
    means = {name: material.mean(arm, f"{measure}/{name}") for name in sorted(names)}
    return {name: value for name, value in means.items() if value is not None}


def _mean_rank(material: Material, arm: CellResult) -> dict[str, float]:
    """Average ranks per corpus language over query languages, unweighted."""
    by_corpus: dict[str, list[float]] = {}
    for (_, corpus), value in material.mean_ranks(arm).items():
        by_corpus.setdefault(corpus, []).append(value)
    return {corpus: statistics.fmean(values) for corpus, values in sorted(by_corpus.items())}


def _languages(
    table: str,
    title: str,
    axis: str,
    names: Sequence[str],
    values: Sequence[Mapping[str, float]],
    digits: int,
    due: Mapping[str, float] | None = None,
) -> Figure | None:
    """Draw a row per language with a mark per arm; None if no arm has a value."""
    every_language = sorted({language for by_language in values for language in by_language})
    if not every_language:
        return None
    spread = [
        (
            language,
            statistics.fmean(
                by_language[language] for by_language in values if language in by_language
            ),
        )
        for language in every_language
    ]
    chosen = some_languages(spread)
    rows = [
        ForestRow(
            language,
            tuple(
                Mark(by_language[language], i)
                for i, by_language in enumerate(values)
                if language in by_language
            ),
            due=(due or {}).get(language),
        )
        for language in chosen
    ]
    extra = (Column("share of the relevant", digits),) if due else ()
    columns = (Column("language"), *(Column(name, digits) for name in names), *extra)
    data = tuple(
        (
            language,
            *(by_language.get(language) for by_language in values),
            *([due.get(language)] if due else []),
        )
        for language in every_language
    )
    text = (
        ""
        if len(chosen) == len(every_language)
        else "The lowest and the highest of many languages."
    )
    description = f"{len(chosen)} languages, {len(names)} arms"
    drawing = rows_chart(title, description, rows, axis, names=names)
    return Figure(title, text, drawing, Table(table, title, columns, data))
