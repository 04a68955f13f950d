"""One comparison of cells: its effect and everything that can be said of its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from study.answer.bootstrap import bootstrap, percentile_interval
from study.answer.contrasts import Paired
from study.answer.inference import Estimate, contributions, estimate
from study.answer.power import detectable_effect, seeds_needed

Interval = tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """One contrast of cells; None is what cannot be known.

    Attributes:
        what: The contrast in words, such as `alpha=1 minus alpha=0`.
        by_seed: Seed to its contrast, in units of the metric (of a slope: per unit).
        effect: Their mean.
        interval: 95 %, for new seeds and new clusters.
        bootstrap: 95 %, two-level percentile bootstrap; stands beside, decides nothing.
        p: Two-sided, of no difference, uncorrected.
        p_equivalent: Of a difference beyond the margin, uncorrected.
        clusters: Articles, else paragraphs, else questions.
        detectable: Effect found with 80 % probability at the family's strictest level.
        seeds_needed: Seeds that would make `detectable` the margin; None also where more seeds
            cannot.
        note: What is missing and why; may be empty.
    """

    what: str
    by_seed: Mapping[int, float]
    effect: float | None
    interval: Interval | None
    bootstrap: Interval | None
    p: float | None
    p_equivalent: float | None
    clusters: int
    detectable: float | None
    seeds_needed: int | None
    note: str


def compare(
    what: str,
    pairs: Paired,
    missing: str,
    margin: float,
    level: float,
    resamples: int,
) -> Comparison:
    """A contrast with everything that can be said of its uncertainty.

    Args:
        what: The contrast in words.
        pairs: The contrast within each seed.
        missing: What is not among them, for the note.
        margin: Smallest difference that matters.
        level: Of the test whose power is stated.
        resamples: Of the bootstrap.
    """
    table = contributions(pairs.sums, pairs.counts)
    by_seed = dict(zip(pairs.seeds, table.mean(1).tolist(), strict=True))
    clusters = len(pairs.counts)
    effect = float(table.mean())
    found = estimate(table)
    if found is None:
        notes = [why_unknown(len(by_seed), clusters), missing]
        note = "; ".join(filter(None, notes))
        return Comparison(what, by_seed, effect, None, None, None, None, clusters, None, None, note)
    return Comparison(
        what,
        by_seed,
        effect,
        _interval(found),
        percentile_interval(bootstrap(pairs.sums, pairs.counts, resamples)),
        float(found.p()),
        float(found.p_equivalent(margin)),
        clusters,
        detectable_effect(found, level),
        seeds_needed(found, margin, level),
        missing,
    )


def _interval(found: Estimate) -> Interval:
    low, high = found.interval()
    return float(low), float(high)


def why_unknown(seeds: int, clusters: int) -> str:
    """Why an effect of so many seeds and clusters has no interval."""
    if seeds < 2:
        return "one seed: an effect without uncertainty"
    if clusters < 2:
        return "one cluster: an effect without uncertainty"
    return (
        "the difference is the same in every seed and cluster, so nothing can be inferred from it"
    )


def unknown(what: str, note: str) -> Comparison:
    """A comparison of which only the reason is known why there is none."""
    return Comparison(what, {}, None, None, None, None, None, 0, None, None, note)
