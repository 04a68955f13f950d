"""Sections “Answer” (late changes, Holm-corrected verdicts, forest plots) and “Exploration”."""

from __future__ import annotations

from typing import Any

from study.analysis.answer import Answer, Finding
from study.analysis.contrasts import expects_less
from study.analysis.exploration import Decomposition
from study.analysis.words import (
    EDGE,
    FIXED,
    comparison_words,
    corrected_words,
    mixture_words,
    remark_words,
    selection_words,
    tied_words,
    trials_words,
)
from study.report.charts.forest import ForestRow, Mark, rows_chart
from study.report.document import (
    Block,
    Bullets,
    Card,
    Column,
    Figure,
    Gallery,
    Notice,
    Section,
    Table,
    Text,
)
from study.report.material import Material
from trainables.evaluation.metric_names import lower_is_better

CHANGED = "Changed after results existed"


def answered(material: Material) -> Section:
    """Compose the first section."""
    answer = material.answer
    blocks: list[Block] = []
    if answer.marks:
        blocks.append(Notice(CHANGED, answer.marks))
    blocks += [Text(text) for text in _standing(material)]
    blocks += [_card(finding) for finding in answer.findings]
    if answer.findings:
        blocks += [_forests(material), Text(_family(material))]
        blocks += [_verdicts(material), _comparisons(material)]
    blocks.append(Text(" ".join(["Held fixed in all compared trials:", _fixed(answer)])))
    return Section("Answer", tuple(blocks))


def _standing(material: Material) -> list[str]:
    """State which results exist and what they allow."""
    answer, plan = material.answer, material.plan
    planned, complete = len(plan.specs), len(material.results)
    lines = [f"{complete} of {planned} planned trials have a result."]
    if material.failures:
        lines[0] += f" {len(material.failures)} failed; Validity says why."
    if not complete:
        lines.append("No trial has a result, so nothing can be said about the question yet.")
    if not answer.findings:
        lines.append("No hypothesis was declared, so nothing is decided.")
    if (
        len(seeds := {t.seed for cell in plan.cells for t in cell.trials if t.seed is not None})
        == 1
    ):
        lines.append(
            f"Every arm has the one seed {min(seeds)}: differences below have no uncertainty that "
            "could be known, and decide nothing."
        )
    selected, ties = selection_words(answer.selected), tied_words(answer.tied)
    return [*lines, *selected, *ties, *mixture_words(answer.mixed)]


def _card(finding: Finding) -> Card:
    """Show the corrected p in the sentences, apart from verdict and remark."""
    marks = ("post hoc",) if finding.post_hoc else ()
    lines = filter(None, [corrected_words(finding), *comparison_words(finding)])
    remark = remark_words(finding)
    return Card(finding.verdict, finding.hypothesis, marks, remark, tuple(lines))


def _verdicts(material: Material) -> Table:
    rows = []
    for finding in material.answer.findings:
        p = finding.judgement.p, finding.judgement.p_equivalent
        margin = float(finding.margin)
        rows.append((_hypothesis_label(finding), finding.verdict, *p, margin, finding.why))
    columns = (
        *map(Column, ("hypothesis", "verdict")),
        *(Column(name, 3, least=0.001) for name in ("p of no difference", "p beyond the margin")),
        *map(Column, ("margin", "why this margin")),
    )
    caption = "Verdicts with corrected p"
    return Table("verdicts", caption, columns, tuple(rows))


def _comparisons(material: Material) -> Table:
    rows = []
    for finding in material.answer.findings:
        for comparison in finding.comparisons:
            effect = (
                comparison.effect,
                *(comparison.interval or (None, None)),
                comparison.detectable,
            )
            units = len(comparison.by_seed), comparison.clusters
            rows.append(
                (_hypothesis_label(finding), finding.metric, comparison.what, *effect, *units)
            )
    names = ("hypothesis", "metric", "contrast", "effect", "95 % from", "to", "detectable")
    return Table(
        "comparisons",
        "Every comparison, in units of its metric",
        tuple(map(Column, (*names, "seeds", "clusters"))),
        tuple(rows),
        "Detectable: the effect that is found with 80 % probability. Intervals are not corrected.",
    )


def _hypothesis_label(finding: Finding) -> str:
    return f"{finding.hypothesis}{' [post hoc]' if finding.post_hoc else ''}"


def _forests(material: Material) -> Gallery:
    """Draw one plot per unit and margin, so that an axis has one meaning."""
    expects_less_by_name = {h["name"]: expects_less(h) for h in material.plan.hypotheses}
    plots: dict[tuple[str, str, float], list[tuple[ForestRow, tuple[Any, ...]]]] = {}
    for finding in material.answer.findings:
        measure = finding.metric.rpartition(":")[2].partition("/")[0]
        for comparison in finding.comparisons:
            if comparison.effect is None:
                continue
            contrast = f": {comparison.what}" if len(finding.comparisons) > 1 else ""
            direction = (
                "below 0" if expects_less_by_name.get(finding.hypothesis, False) else "above 0"
            )
            label = f"{finding.hypothesis}{contrast} (declared: {direction})"
            seeds = tuple(comparison.by_seed.values())
            row = ForestRow(label, (Mark(comparison.effect, 0, comparison.interval, seeds),))
            data = (label, comparison.effect, *(comparison.interval or (None, None)))
            plots.setdefault((measure, comparison.per, finding.margin), []).append((row, data))
    figures = [_forest(*key, rows) for key, rows in plots.items()]
    return Gallery("", tuple(figures))


def _forest(
    measure: str, per: str, margin: float, rows: list[tuple[ForestRow, tuple[Any, ...]]]
) -> Figure:
    title = f"Differences in {measure}" + (f", change per {per}" if per else "")
    text = (
        f"Effect with its 95 % interval; small dots are seeds. The band is the margin of "
        f"±{margin:g}, inside which a difference does not matter."
        + (" Lower is better." if lower_is_better(measure) else "")
    )
    drawing = rows_chart(
        title, text, [row for row, _ in rows], f"effect on {measure}", margin=margin, apart=True
    )
    columns = ("hypothesis", "effect", "from", "to")
    name = f"forest/{measure}/{per}/{margin:g}"
    table = Table(name, text, tuple(map(Column, columns)), tuple(data for _, data in rows))
    return Figure(title, text, drawing, table)


def _family(material: Material) -> str:
    count = len(material.answer.findings)
    declared = "one hypothesis declared is" if count == 1 else f"{count} declared hypotheses are"
    return (
        f"The {declared} one family: corrected p are Holm's over two tests each, of no difference "
        "and of a difference beyond the margin. Supported: a difference "
        "with the declared sign. Contradicted: with the opposite sign. Equivalent: inside the "
        "margin. Undecided: neither could be shown, or there are fewer than 5 seeds. Inference is "
        "to new seeds and new articles."
    )


def _fixed(answer: Answer) -> str:
    known = [f"{key} {answer.fixed[key]}" for key in FIXED if answer.fixed.get(key) is not None]
    return "; ".join([*known, "and in a seed the questions and their order"]) + "."


def explored(material: Material) -> Section | None:
    """Compose best levels and variance shares, neither declared nor tested; None without any."""
    exploration = material.answer.exploration
    if exploration is None:
        return None
    blocks: list[Block] = [Text("Neither declared nor tested: what these trials look like.")]
    if exploration.note:
        blocks.append(Text(f"Best levels: {exploration.note}."))
    rows, notes = [], []
    for factor in exploration.best:
        averaged = f" (averaged over {', '.join(factor.averaged)})" if factor.averaged else ""
        if note := EDGE if factor.at_edge else factor.note:
            notes.append(f"{factor.factor}: {note}.")
        for level in factor.levels:
            where = f"{factor.factor}={level.level}{averaged}"
            rows.append((where, level.mean, level.share))
    columns = (Column("level"), Column("mean", 4), Column("share of resamples ahead", 2))
    caption = f"Levels by {material.plan.primary} on the validation benchmark"
    if rows:
        blocks.append(Table("best_levels", caption, columns, tuple(rows), " ".join(notes)))
    elif notes:
        blocks.append(Bullets(tuple(notes)))
    blocks.append(_variance(exploration.variance))
    return Section("Exploration", tuple(blocks))


def _variance(variance: Decomposition) -> Block:
    if not variance.parts:
        return Text(f"Variance of {variance.metric}: not taken apart: {variance.note}.")
    rows = tuple((part.of, part.share, part.by_chance) for part in variance.parts)
    columns = (Column("part"), Column("share", 3), Column("expected by chance", 3))
    filled = f", {variance.filled} filled in" if variance.filled else ""
    caption = f"Shares of the variance of {variance.metric} over {trials_words(variance)}{filled}"
    return Table("variance", caption, columns, rows)
