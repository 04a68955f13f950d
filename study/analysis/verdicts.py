"""Turn intervals, p-values and margins into verdicts: one family, one table.

Every hypothesis has two p-values in one Holm correction: for *no difference*, and for *a
difference beyond the margin* (TOST, equivalence). After the correction, at .05:

| difference | equivalence | sign      | verdict      | remark                                   |
|------------|-------------|-----------|--------------|------------------------------------------|
| p < .05    | p >= .05    | declared  | supported    | interval beyond the margin: `large`;     |
|            |             |           |              | else: `maybe small`                      |
| p < .05    | p >= .05    | opposite  | contradicted | the same two remarks                     |
| p < .05    | p < .05     | any       | equivalent   | `significant`, but inside the margin     |
| p >= .05   | p < .05     | any       | equivalent   |                                          |
| p >= .05   | p >= .05    | any       | undecided    | interval without 0: `uncorrected`        |
| fewer than five seeds, no interval  | undecided    | `few seeds`, `no interval`               |

Intervals are uncorrected 95 % ones. A hypothesis with several comparisons ("better than both") is
an intersection-union test: it is supported only if every comparison is, so its p is the largest. It
is contradicted if any comparison is, so p is then the smallest times their number (Bonferroni). It
is equivalent only if every comparison is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from study.analysis.inference import LEVEL

Verdict = Literal["supported", "contradicted", "equivalent", "undecided"]

Remark = Literal[
    "", "large", "maybe small", "significant", "uncorrected", "few seeds", "no interval"
]
"""Qualification of a verdict, as in the table; `words.REMARKS` has the sentences."""

LEAST_SEEDS = 5
"""Fewest seeds for a verdict other than undecided."""


@dataclass(frozen=True)
class Evidence:
    """One comparison of a hypothesis.

    Attributes:
        gain: The effect, positive in the declared direction, in units of the metric.
        low: Lower bound of the 95 % interval.
        high: Upper bound.
        p: Two-sided p-value for no difference.
        p_equivalent: P-value for a difference beyond the margin.
        seeds: Number of pairs of trials.
    """

    gain: float
    low: float
    high: float
    p: float
    p_equivalent: float
    seeds: int


@dataclass(frozen=True)
class Judgement:
    """The verdict on a hypothesis.

    Attributes:
        verdict: Verdict by the table.
        p: Corrected p-value of the difference; None without an interval.
        p_equivalent: Corrected p-value of equivalence; None without an interval.
        decisive: Index of the comparison that `p` belongs to.
        remark: Remark by the table; may be empty.
    """

    verdict: Verdict
    p: float | None
    p_equivalent: float | None
    decisive: int
    remark: Remark


def holm(values: Sequence[float]) -> list[float]:
    """Correct a family of p-values by Holm-Bonferroni (step-down), in the given order."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, highest = [1.0] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected


def judge(family: Sequence[Sequence[Evidence] | None], margins: Sequence[float]) -> list[Judgement]:
    """Judge all hypotheses of a study.

    Args:
        family: Comparisons of each hypothesis. None if one lacks an interval; the hypothesis then
            stays in the family with p-values of 1.
        margins: Smallest difference that matters, for each hypothesis.
    """
    pairs = [_combined(evidence) if evidence else (1.0, 1.0, 0) for evidence in family]
    corrected = holm([p for pair in pairs for p in pair[:2]])
    return [
        _judged(evidence, margin, corrected[2 * i], corrected[2 * i + 1], pairs[i][2])
        for i, (evidence, margin) in enumerate(zip(family, margins, strict=True))
    ]


def _combined(evidence: Sequence[Evidence]) -> tuple[float, float, int]:
    """Return p of the difference, p of equivalence, and the index of the decisive comparison."""
    behind = [i for i, comparison in enumerate(evidence) if comparison.gain < 0]
    if behind:
        decisive = min(behind, key=lambda i: evidence[i].p)
        p = min(1.0, len(evidence) * evidence[decisive].p)
    else:
        decisive = max(range(len(evidence)), key=lambda i: evidence[i].p)
        p = evidence[decisive].p
    return p, max(comparison.p_equivalent for comparison in evidence), decisive


def _judged(
    evidence: Sequence[Evidence] | None,
    margin: float,
    p: float,
    p_equivalent: float,
    decisive: int,
) -> Judgement:
    if not evidence:
        return Judgement("undecided", None, None, 0, "no interval")
    deciding = evidence[decisive]
    seeds = min(comparison.seeds for comparison in evidence)
    verdict: Verdict = "undecided"
    remark: Remark = ""
    if seeds < LEAST_SEEDS:
        remark = "few seeds"
    elif p_equivalent < LEVEL:
        verdict = "equivalent"
        remark = "significant" if p < LEVEL else ""
    elif p < LEVEL:
        verdict = "supported" if deciding.gain > 0 else "contradicted"
        # support needs all comparisons ahead, but one behind suffices to contradict
        least = (
            min(comparison.low for comparison in evidence) if deciding.gain > 0 else -deciding.high
        )
        remark = "large" if least >= margin else "maybe small"
    elif max(deciding.low, -deciding.high) > 0:
        remark = "uncorrected"
    return Judgement(verdict, p, p_equivalent, decisive, remark)
