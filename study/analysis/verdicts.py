"""From intervals, p and margins to verdicts: one family, one table.

Every hypothesis brings two p to one Holm correction: of *no difference*, and of *a difference
beyond the margin* (TOST). After the correction, at .05:

| difference | equivalence | sign      | verdict      | remark                                   |
|------------|-------------|-----------|--------------|------------------------------------------|
| p < .05    | p >= .05    | declared  | supported    | interval beyond the margin: `large`;     |
|            |             |           |              | else: `maybe small`                      |
| p < .05    | p >= .05    | opposite  | contradicted | the same two remarks                     |
| p < .05    | p < .05     | any       | equivalent   | `significant`, but inside the margin     |
| p >= .05   | p < .05     | any       | equivalent   |                                          |
| p >= .05   | p >= .05    | any       | undecided    | interval without 0: `uncorrected`        |
| fewer than five seeds, no interval  | undecided    | `few seeds`, `no interval`               |

The interval shown is the plain 95 % one. A hypothesis with several comparisons ("better than
both") is an intersection-union test: it is supported only if each comparison is, so its p is the
largest. It is contradicted if any comparison is, so that p is the smallest times their number.
It is equivalent only if every comparison is.
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
"""What is said beside a verdict, as in the table; `words.REMARKS` has the sentences."""

LEAST_SEEDS = 5
"""Fewer give no verdict but undecided."""


@dataclass(frozen=True)
class Evidence:
    """One comparison of a hypothesis.

    Attributes:
        gain: The effect, positive in the declared direction, in units of the metric.
        low: Lower bound of its 95 % interval.
        high: Upper bound.
        p: Two-sided p of no difference.
        p_equivalent: P of a difference beyond the margin.
        seeds: Pairs of trials.
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
        verdict: As the table says.
        p: Of the difference, corrected; None without an interval.
        p_equivalent: Of equivalence, corrected; None without an interval.
        decisive: Index of the comparison that `p` is of.
        remark: As the table says; may be empty.
    """

    verdict: Verdict
    p: float | None
    p_equivalent: float | None
    decisive: int
    remark: Remark


def holm(values: Sequence[float]) -> list[float]:
    """Holm's corrected p of a family, in its order: step-down, never above 1."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, highest = [1.0] * len(values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[index]))
        corrected[index] = highest
    return corrected


def judge(family: Sequence[Sequence[Evidence] | None], margins: Sequence[float]) -> list[Judgement]:
    """The verdicts on all hypotheses of a study.

    Args:
        family: Comparisons of each hypothesis; None where one of them has no interval. It stays
            in the family, with p of 1.
        margins: Smallest difference that matters, one a hypothesis.
    """
    pairs = [_combined(evidence) if evidence else (1.0, 1.0, 0) for evidence in family]
    corrected = holm([p for pair in pairs for p in pair[:2]])
    return [
        _judged(evidence, margin, corrected[2 * i], corrected[2 * i + 1], pairs[i][2])
        for i, (evidence, margin) in enumerate(zip(family, margins, strict=True))
    ]


def _combined(evidence: Sequence[Evidence]) -> tuple[float, float, int]:
    """P of the difference and of equivalence, and the comparison that the first is of."""
    behind = [i for i, one in enumerate(evidence) if one.gain < 0]
    if behind:
        decisive = min(behind, key=lambda i: evidence[i].p)
        p = min(1.0, len(evidence) * evidence[decisive].p)
    else:
        decisive = max(range(len(evidence)), key=lambda i: evidence[i].p)
        p = evidence[decisive].p
    return p, max(one.p_equivalent for one in evidence), decisive


def _judged(
    evidence: Sequence[Evidence] | None,
    margin: float,
    p: float,
    p_equivalent: float,
    decisive: int,
) -> Judgement:
    if not evidence:
        return Judgement("undecided", None, None, 0, "no interval")
    one = evidence[decisive]
    seeds = min(each.seeds for each in evidence)
    verdict: Verdict = "undecided"
    remark: Remark = ""
    if seeds < LEAST_SEEDS:
        remark = "few seeds"
    elif p_equivalent < LEVEL:
        verdict = "equivalent"
        remark = "significant" if p < LEVEL else ""
    elif p < LEVEL:
        verdict = "supported" if one.gain > 0 else "contradicted"
        # all comparisons must be ahead, but one behind contradicts
        least = min(each.low for each in evidence) if one.gain > 0 else -one.high
        remark = "large" if least >= margin else "maybe small"
    elif max(one.low, -one.high) > 0:
        remark = "uncorrected"
    return Judgement(verdict, p, p_equivalent, decisive, remark)
