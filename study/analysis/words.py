"""An answer in plain sentences, made from its numbers and nothing else."""

from __future__ import annotations

from study.analysis.answer import Answer, Finding
from study.analysis.comparison import Comparison
from trainables.evaluation.metric_names import digits_of, lower_is_better

CHECKED_CLUSTERS = 48
"""Articles in the simulations of docs/statistics.md; with fewer, intervals were not checked."""

FIXED = (
    "benchmark",
    "train",
    "languages",
    "steps",
    "control",
    "batch_size",
    "learning_rate",
    "learning_rate_rule",
    "temperature",
    "pairs",
    "image_tower",
    "max_examples",
    "volume",
)
"""Settings that a reader of a comparison asks for first, where the study holds them fixed."""


def words(answer: Answer) -> list[str]:
    """The answer, a sentence or a few to a line; no line says what was not computed."""
    lines = [f"{answer.study}: {answer.question}", *answer.marks]
    if answer.with_result < answer.trials:
        lines.append(
            f"Trials that the hypotheses need: {answer.trials}; with a result: "
            f"{answer.with_result}."
        )
    if not answer.findings:
        lines.append("No hypothesis was declared, so nothing is decided.")
    for finding in answer.findings:
        lines += finding_words(finding)
    few = [
        one.clusters
        for finding in answer.findings
        for one in finding.comparisons
        if one.interval and one.clusters < CHECKED_CLUSTERS
    ]
    if few:
        lines.append(
            f"Intervals rest on as few as {min(few)} clusters of questions (articles, where they "
            f"are known); they were checked with {CHECKED_CLUSTERS} (docs/statistics.md)."
        )
    fixed = [f"{key}={answer.fixed[key]}" for key in FIXED if answer.fixed.get(key) is not None]
    lines.append(
        f"Held fixed: {', '.join([*fixed, 'and in a seed the questions and their order'])}."
    )
    if len(answer.findings) > 1:
        lines.append(
            f"Corrected p are Holm's over {len(answer.findings)} hypotheses with two tests each; "
            "intervals are not corrected."
        )
    return lines


def counted(places: int, distinct: int) -> str:
    """How many trials a variance is over, where some may hold several places of its grid."""
    return (
        f"{places} trials"
        if distinct == places
        else f"{distinct} trials in {places} places of the grid"
    )


def finding_words(finding: Finding) -> list[str]:
    """A hypothesis in sentences: its verdict, then a line a comparison."""
    judgement = finding.judgement
    name = f"{finding.hypothesis} [post hoc]" if finding.post_hoc else finding.hypothesis
    corrected = corrected_words(judgement.p, judgement.p_equivalent, finding.margin)
    verdict = f"{name}: {finding.verdict}{_brackets(judgement.remark)}."
    lines = [f"{verdict} {corrected}".rstrip()]
    for comparison in finding.comparisons:
        lines.append(f"  {_comparison(finding, comparison)}")
    return lines


def corrected_words(p: float | None, p_equivalent: float | None, margin: float) -> str:
    """Both corrected p in a sentence; empty where they are not known."""
    if p is None or p_equivalent is None:
        return ""
    return (
        f"Corrected {p_in_words(p)} of no difference, "
        f"{p_in_words(p_equivalent)} of one beyond ±{margin:g}."
    )


def _comparison(finding: Finding, one: Comparison) -> str:
    what = f"{finding.metric}, {one.what}"
    if one.effect is None:
        return f"{what}: not known: {one.note}."
    digits = digits_of(finding.metric) if abs(one.effect) > 1 else 4
    seeds = f"{len(one.by_seed)} seed{'s' if len(one.by_seed) > 1 else ''}"
    facts = [f"{seeds}, {one.clusters} clusters"]
    if one.interval:
        low, high = (f"{bound:+.{digits}f}" for bound in one.interval)
        facts.insert(0, f"95 % interval {low} to {high}")
    lower = ", lower is better" if lower_is_better(finding.metric) else ""
    text = f"{what}: {one.effect:+.{digits}f} ({'; '.join(facts)}{lower})."
    if one.detectable is not None:
        text += f" Detectable with 80 % power: {one.detectable:.{digits}f}."
        text += f" {_needed(finding, one)}" if finding.verdict == "undecided" else ""
    return f"{text} Note: {one.note}." if one.note else text


def _needed(finding: Finding, one: Comparison) -> str:
    if one.seeds_needed is None:
        return f"No number of seeds would make that the margin of {finding.margin:g} here."
    if one.detectable is not None and one.detectable <= finding.margin:
        return f"That is within the margin of {finding.margin:g}."
    return f"About {one.seeds_needed} seeds would make that the margin of {finding.margin:g}."


def p_in_words(p: float) -> str:
    """`p = 0.043`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"


def _brackets(remark: str) -> str:
    return f" ({remark})" if remark else ""
