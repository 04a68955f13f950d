"""Put an answer into plain sentences, from its fields alone, for console and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from study.analysis.answer import Answer, Finding, Selection
from study.analysis.caveats import Mixture, Tied
from study.analysis.comparison import Comparison, Lacking
from study.analysis.exploration import RESAMPLES, BestLevel, Decomposition, Exploration, Part
from study.analysis.verdicts import LEAST_SEEDS, Remark
from study.console import count_of
from trainables.evaluation.metric_names import digits_of, lower_is_better

CHECKED_CLUSTERS = 48
"""Articles in the simulations of docs/statistics.md; intervals are unchecked with fewer."""

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
"""Settings that readers of a comparison want to know first, if the study holds them fixed."""

REMARKS: Mapping[Remark, str] = {
    "": "",
    "large": "at least as large as matters",
    "maybe small": "may be smaller than the margin",
    "significant": "significant but inside the margin",
    "uncorrected": "the interval excludes 0, but not after correction for the family",
    "few seeds": "{seeds} seeds, and fewer than {least} decide nothing",
    "no interval": "no interval",
}
"""Phrase for each remark on a verdict."""

EDGE = "the likeliest is an end of what was searched, and a better one may lie beyond"
"""Warning about a factor's best level `at_edge`."""

SHOWN_TIES = 5
"""Most trials whose tied scores are named."""

SHOWN_SHARE = 0.01
"""Smallest share of the variance that is named; `answer.json` has the others."""


def words(answer: Answer) -> list[str]:
    """Write the answer, a sentence or a few to a line; say nothing of what was not computed."""
    lines = selection_words(answer.selected)
    lines += [f"{answer.study}: {answer.question}", *answer.marks]
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
        comparison.clusters
        for finding in answer.findings
        for comparison in finding.comparisons
        if comparison.interval and comparison.clusters < CHECKED_CLUSTERS
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
    if answer.exploration is not None:
        lines += exploratory_words(answer.exploration)
    return [*lines, *tied_words(answer.tied), *mixture_words(answer.mixed)]


def selection_words(selected: Selection | None) -> list[str]:
    """Name the tuned values with which each arm answers; empty if nothing was tuned."""
    if selected is None:
        return []
    choices = (
        f"{arm}: {', '.join(f'{key}={value}' for key, value in values.items())}"
        for arm, values in selected.arms.items()
    )
    return [f"Selected by {selected.metric} on the validation benchmark: {'; '.join(choices)}."]


def finding_words(finding: Finding) -> list[str]:
    """Describe a hypothesis: its verdict, then a line for each comparison."""
    name = f"{finding.hypothesis} [post hoc]" if finding.post_hoc else finding.hypothesis
    remark = remark_words(finding)
    verdict = f"{name}: {finding.verdict}{f' ({remark})' if remark else ''}."
    lines = [f"{verdict} {corrected_words(finding)}".rstrip()]
    return lines + [f"  {line}" for line in comparison_words(finding)]


def remark_words(finding: Finding) -> str:
    """Return the phrase that qualifies the verdict; may be empty."""
    seeds = min(len(comparison.by_seed) for comparison in finding.comparisons)
    return REMARKS[finding.judgement.remark].format(seeds=seeds, least=LEAST_SEEDS)


def corrected_words(finding: Finding) -> str:
    """State both corrected p-values in a sentence; empty if they are unknown."""
    judgement = finding.judgement
    if judgement.p is None or judgement.p_equivalent is None:
        return ""
    return (
        f"Corrected {p_in_words(judgement.p)} of no difference, "
        f"{p_in_words(judgement.p_equivalent)} of one beyond ±{finding.margin:g}."
    )


def comparison_words(finding: Finding) -> list[str]:
    """State effect, interval and power of each comparison of a hypothesis, a line each."""
    return [_comparison(finding, comparison) for comparison in finding.comparisons]


def _comparison(finding: Finding, comparison: Comparison) -> str:
    subject = f"{finding.metric}, {comparison.what}"
    note = "; ".join(filter(None, [comparison.note, *map(_lacking, comparison.lacking)]))
    if comparison.effect is None:
        return f"{subject}: not known: {note}."
    digits = digits_of(finding.metric) if abs(comparison.effect) > 1 else 4
    facts = [f"{count_of(len(comparison.by_seed), 'seed')}, {comparison.clusters} clusters"]
    if comparison.interval:
        low, high = (f"{bound:+.{digits}f}" for bound in comparison.interval)
        facts.insert(0, f"95 % interval {low} to {high}")
    lower = ", lower is better" if lower_is_better(finding.metric) else ""
    text = f"{subject}: {comparison.effect:+.{digits}f} ({'; '.join(facts)}{lower})."
    if comparison.detectable is not None:
        text += f" Detectable with 80 % power: {comparison.detectable:.{digits}f}."
        text += f" {_needed(finding, comparison)}" if finding.verdict == "undecided" else ""
    return f"{text} Note: {note}." if note else text


def _lacking(cell: Lacking) -> str:
    if cell.metric:
        return f"{cell.cell} has no {cell.metric}"
    seeds = ", ".join(map(str, cell.seeds))
    which = f"seed{'s' if len(cell.seeds) > 1 else ''} {seeds}" if seeds else "its result"
    return f"{cell.cell} lacks {which}"


def _needed(finding: Finding, comparison: Comparison) -> str:
    if comparison.seeds_needed is None:
        return f"No number of seeds would make that the margin of {finding.margin:g} here."
    if comparison.detectable is not None and comparison.detectable <= finding.margin:
        return f"That is within the margin of {finding.margin:g}."
    return (
        f"About {comparison.seeds_needed} seeds would make that the margin of {finding.margin:g}."
    )


def p_in_words(p: float) -> str:
    """Format a p-value: `p = 0.043`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"


def exploratory_words(exploration: Exploration) -> list[str]:
    """Describe the exploration; each sentence names the data that it rests on."""
    lines = ["Exploratory, neither declared nor tested:"]
    if exploration.note:
        lines.append(f"  Best levels: {exploration.note}.")
    lines += [f"  {_best(best)}" for best in exploration.best]
    return [*lines, f"  {_variance(exploration.variance)}"]


def _best(best: BestLevel) -> str:
    subject = f"Best {best.factor} by {best.metric} on the validation benchmark"
    if best.averaged:
        subject += f", averaged over {', '.join(best.averaged)}"
    if not best.levels:
        return f"{subject}: not known: {best.note}."
    shares = ", ".join(f"{level.level} in {100 * level.share:.0f} %" for level in best.likely)
    few = ", too few for the shares to be trusted" if best.seeds < LEAST_SEEDS else ""
    text = f"{subject}: {shares} of {RESAMPLES} resamples"
    text = f"{text} ({best.seeds} seeds{few}; {best.clusters} clusters)"
    return f"{text}; {EDGE}." if best.at_edge else f"{text}."


def _variance(variance: Decomposition) -> str:
    subject = f"Variance of {variance.metric} on the test benchmark"
    if not variance.parts:
        return f"{subject}: not taken apart: {variance.note}."
    named = [_part(part) for part in variance.parts if part.share >= SHOWN_SHARE]
    rest = sum(part.share for part in variance.parts if part.share < SHOWN_SHARE)
    filled = f", {variance.filled} of them filled in" if variance.filled else ""
    parts = ", ".join([*named, *([f"all else {100 * rest:.1f} %"] if rest >= 0.0005 else [])])
    trials = trials_words(variance)
    known = any(part.by_chance is not None for part in variance.parts)
    alone = "" if known else "; of one seed, so that what chance has of it is not known"
    return f"{subject}, {trials}{filled}: {parts}{alone}."


def _part(part: Part) -> str:
    text = f"{part.of} {100 * part.share:.1f} %"
    chance = part.by_chance or 0.0
    with_chance = chance >= SHOWN_SHARE / 10 and part.of != "residual"
    return f"{text} (by chance {100 * chance:.1f} %)" if with_chance else text


def trials_words(variance: Decomposition) -> str:
    """Count the trials behind a variance, and the places of its grid if these are more."""
    if variance.distinct == variance.trials:
        return f"{variance.trials} trials"
    return f"{variance.distinct} trials in {variance.trials} places of the grid"


def tied_words(ties: Sequence[Tied]) -> list[str]:
    """Describe the first tied values, and count the others."""
    lines = [
        f"Tied scores: {tied.label} has {tied.metric} {tied.value:.4f} by the order of its "
        f"candidates; under other orders of equal scores it is from {tied.worst:.4f} to "
        f"{tied.best:.4f}."
        for tied in ties[:SHOWN_TIES]
    ]
    more = len(ties) - SHOWN_TIES
    return lines + ([f"Tied scores: {count_of(more, 'more trial')}."] if more > 0 else [])


def mixture_words(mixture: Mixture | None) -> list[str]:
    """Describe how the executions of trials differ, in one sentence; empty if they do not."""
    if mixture is None:
        return []
    groups = "; ".join(
        f"{', '.join(group.differs) or 'unknown'} ({group.trials})" for group in mixture.groups
    )
    resumed = mixture.resumed
    more = f"; {resumed} began with one and went on with another" if resumed else ""
    return [
        f"Libraries or devices are not the same for all trials: {groups}{more}. Last digits may "
        "differ for that."
    ]


def converted_words(converted: Mapping[str, int]) -> list[str]:
    """Write a sentence for each benchmark with converted answer offsets."""
    return [
        f"{name} is not comparable with published numbers: the offsets of {number} of its answers "
        "were converted, as convert_offsets asks."
        for name, number in converted.items()
    ]
