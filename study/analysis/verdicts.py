"""From intervals, p and margins to verdicts: one family, one table.

Every hypothesis brings two p to one Holm correction: of *no difference*, and of *a difference
beyond the margin* (TOST). After the correction, at .05:

| difference | equivalence | sign      | verdict      | remark                                   |
|------------|-------------|-----------|--------------|------------------------------------------|
| p < .05    | p >= .05    | declared  | supported    | interval beyond the margin: at least as  |
|            |             |           |              | large as matters; else: may be smaller   |
| p < .05    | p >= .05    | opposite  | contradicted | the same two remarks                     |
| p < .05    | p < .05     | any       | equivalent   | significant but inside the margin        |
| p >= .05   | p < .05     | any       | equivalent   |                                          |
| p >= .05   | p >= .05    | any       | undecided    | interval without 0: not after correction |
| fewer than five seeds, no interval  | undecided    | says which                               |

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
    remark: str


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
    remark = ""
    if seeds < LEAST_SEEDS:
        remark = f"{seeds} seeds, and fewer than {LEAST_SEEDS} decide nothing"
    elif p_equivalent < LEVEL:
        verdict = "equivalent"
        remark = "significant but inside the margin" if p < LEVEL else ""
    elif p < LEVEL:
        verdict = "supported" if one.gain > 0 else "contradicted"
        # all comparisons must be ahead, but one behind contradicts
        least = min(each.low for each in evidence) if one.gain > 0 else -one.high
        large = least >= margin
        remark = "at least as large as matters" if large else "may be smaller than the margin"
    elif max(one.low, -one.high) > 0:
        remark = "the interval excludes 0, but not after correction for the family"
    return Judgement(verdict, p, p_equivalent, decisive, remark)
