"""How often intervals cover, families err, and stated effects are found, in simulated studies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.figures import Figure, figure
from benchmarks.simulation import World, articles, questions_alone
from study.analysis.comparison import POWER, detectable, detectable_effect
from study.analysis.inference import (
    LEVEL,
    Estimate,
    bootstrap,
    contributions,
    estimate,
    freedom,
    percentile_interval,
)
from study.analysis.verdicts import Evidence, judge

Floats = NDArray[np.float64]

SIMULATIONS = 4000
SEEDS = (3, 5, 10)
SEED_VARIANCES = (0.0, 1.0, 3.0)
"""Seed variances, as multiples of the question variance of a trial's metric."""


def studies(
    world: World, seeds: int, seed_variance: float, number: int, rng: np.random.Generator
) -> Estimate:
    """Estimate the effects of `number` simulated studies without a true effect."""
    table = contributions(world.sums(number, seeds, seed_variance, rng), world.counts)
    found = estimate(table)
    assert found is not None
    return found


def coverage(found: Estimate, truth: float = 0.0) -> float:
    """Return the percentage of 95 % intervals that cover the truth."""
    low, high = found.interval()
    return float(100 * np.mean((low <= truth) & (truth <= high)))


def figures() -> list[Figure]:
    """Compute all figures of calibration."""
    rng = np.random.default_rng(20240810)
    worlds = {
        "articles, parallel": articles(partly=False),
        "articles, partly parallel": articles(partly=True),
        "questions, parallel": questions_alone(),
    }
    found = []
    for name, world in worlds.items():
        found += _coverages(name, world, rng)
    covered = [item["ours"] for item in found]
    found += [
        figure("coverage, highest", max(covered), unit="%", goal="ours <= 97"),
        figure(
            "coverage, lowest", min(covered), 92, min(covered) / 92, unit="%", goal="ratio >= 1"
        ),
    ]
    world = worlds["articles, partly parallel"]
    return [
        *found,
        *_caution(world, rng),
        *_conservative(rng),
        *_bootstraps(world, rng),
        *_rows(world, rng),
        *_family(world, rng),
        *_power(world, rng),
    ]


def _coverages(name: str, world: World, rng: np.random.Generator) -> list[Figure]:
    found = []
    for seeds in SEEDS:
        for times in SEED_VARIANCES:
            variance = times * world.question_variance
            share = coverage(studies(world, seeds, variance, SIMULATIONS, rng))
            label = f"coverage: {name}, {seeds} seeds, seed variance x{times:g}"
            found.append(figure(label, share, unit="%"))
        share = coverage(studies(world, seeds, world.between_questions**2, SIMULATIONS, rng))
        label = f"coverage: {name}, {seeds} seeds, seed variance that of a single question"
        found.append(figure(label, share, unit="%"))
    return found


def _caution(world: World, rng: np.random.Generator) -> list[Figure]:
    """Compare with plain Satterthwaite degrees of freedom (the peer), in their worst case."""
    found = []
    for seeds in SEEDS:
        one = studies(world, seeds, 10 * world.question_variance, SIMULATIONS, rng)
        plain = stats.t.ppf(1 - LEVEL / 2, freedom(one.squares, seeds, one.clusters, caution=1))
        share = 100 * float(np.mean(abs(one.effect) <= plain * one.error))
        label = f"coverage, {seeds} seeds, seed variance x10; peer: Satterthwaite"
        ours = coverage(one)
        found.append(figure(label, ours, share, ours / share, unit="%"))
    return found


def _conservative(rng: np.random.Generator) -> list[Figure]:
    """Measure coverage when no cluster, question or seed has an effect that lasts."""
    base = questions_alone()
    world = World(base.cluster, base.asked, 0.0, 0.0)
    label = "coverage where nothing but the residual varies (too wide is safe)"
    return [
        figure(f"{label}, {seeds} seeds", coverage(studies(world, seeds, 0, 2000, rng)), unit="%")
        for seeds in SEEDS
    ]


def _bootstraps(world: World, rng: np.random.Generator) -> list[Figure]:
    """Measure the coverage of the two-level percentile bootstrap, which is reported beside."""
    found = []
    strong = world.between_questions**2
    for name, variance in {
        "x3": 3 * world.question_variance,
        "of a single question": strong,
    }.items():
        for seeds in SEEDS:
            sums = world.sums(500, seeds, variance, rng)
            bounds = [percentile_interval(bootstrap(one, world.counts, 500)) for one in sums]
            share = 100 * float(np.mean([low <= 0 <= high for low, high in bounds]))
            label = f"coverage of the bootstrap, {seeds} seeds, seed variance {name}"
            found.append(figure(label, share, unit="%"))
    return found


def row_coverage(
    world: World, seeds: int, seed_variance: float, number: int, rng: np.random.Generator
) -> float:
    """Return the coverage, in per cent, of 95 % bootstrap intervals that resample rows.

    Rows are (question, language), averaged over seeds: the wrong unit, shown as a warning.
    """
    held = 0
    offset = np.linspace(-0.2, 0.2, world.asked.shape[1]) @ world.asked.sum(0) / world.asked.sum()
    for rows in world.rows(number, seeds, seed_variance, rng):
        values = rows.mean(0)[world.asked]
        drawn = values[rng.integers(0, len(values), (300, len(values)))].mean(1)
        low, high = percentile_interval(drawn)
        held += low <= offset <= high
    return 100 * held / number


def _rows(world: World, rng: np.random.Generator) -> list[Figure]:
    """Show that resampling rows fails even without seed variance: the goal is to miss the band."""
    found = []
    for times in (0.0, 3.0):
        share = row_coverage(world, 5, times * world.question_variance, 300, rng)
        label = f"coverage where rows are resampled, 5 seeds, seed variance x{times:g}"
        found.append(figure(label, share, unit="%", goal="ours <= 92"))
    return found


def family_errors(world: World, number: int, rng: np.random.Generator) -> int:
    """Count families of four hypotheses, of `number`, with a true null rejected after Holm.

    Two hypotheses have no effect (their difference is a true null), two an effect of exactly the
    margin (their equivalence is). The margin is many standard errors, so that the four false nulls
    are rejected and the whole level is left to the four true ones.
    """
    margin = 60 * world.question_variance**0.5
    found = [studies(world, 5, world.question_variance, number, rng) for _ in range(4)]
    tables = [
        Estimate(one.effect + margin * (i >= 2), one.squares, one.seeds, one.clusters)
        for i, one in enumerate(found)
    ]
    errors = 0
    for family in zip(*(_evidence(one, margin) for one in tables), strict=True):
        judged = judge([[evidence] for evidence in family], [margin] * 4)
        ps = [judged[0].p, judged[1].p, judged[2].p_equivalent, judged[3].p_equivalent]
        errors += any(p is not None and p < LEVEL for p in ps)
    return errors


def _evidence(found: Estimate, margin: float) -> list[Evidence]:
    columns = found.effect, *found.interval(), found.p(), found.p_equivalent(margin)
    return [
        Evidence(gain, low, high, p, p_equivalent, found.seeds)
        for gain, low, high, p, p_equivalent in np.stack(columns, -1).tolist()
    ]


def _family(world: World, rng: np.random.Generator) -> list[Figure]:
    errors = family_errors(world, SIMULATIONS, rng)
    bound = stats.binomtest(errors, SIMULATIONS).proportion_ci()
    low, high = 100 * bound.low, 100 * bound.high
    return [
        figure("family-wise error, 5 seeds", 100 * errors / SIMULATIONS, unit="%"),
        figure("family-wise error, lower bound", low, unit="%", goal="ours <= 5"),
        figure("family-wise error, upper bound", high, 5, high / 5, unit="%", goal="ratio >= 1"),
    ]


def _power(world: World, rng: np.random.Generator) -> list[Figure]:
    """Measure power at the detectable effect of the true variances; goal: within 5 points."""
    found = []
    for seeds in SEEDS:
        for times in SEED_VARIANCES:
            variance = times * world.question_variance
            squares = world.squares(seeds, variance)
            truth = Estimate(np.zeros(()), squares, seeds, len(world.counts))
            effect = detectable(float(truth.error), float(truth.freedom))
            simulated = studies(world, seeds, variance, SIMULATIONS, rng)
            moved = Estimate(
                simulated.effect + effect, simulated.squares, seeds, simulated.clusters
            )
            label = f"{seeds} seeds, seed variance x{times:g}"
            power = 100 * float(np.mean(moved.p() < LEVEL))
            gap = abs(power - 100 * POWER)
            found.append(figure(f"power at the detectable effect, {label}", power, unit="%"))
            found.append(figure("  its distance from 80 %", gap, unit="points", goal="ours <= 5"))
            stated = [
                detectable_effect(Estimate(e, s, seeds, simulated.clusters))
                for e, s in zip(simulated.effect[:200], simulated.squares.T[:200], strict=True)
            ]
            ratio = float(np.median(stated)) / effect
            found.append(figure("  median stated effect over the true one", ratio, unit="ratio"))
    return found
