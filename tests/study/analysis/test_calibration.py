"""The short form of benchmarks/statistics.py: fewer simulations, wider bands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.calibration import coverage, family_errors, row_coverage, studies
from benchmarks.simulation import World, articles
from study.analysis.comparison import detectable
from study.analysis.inference import LEVEL, Estimate

ROOT = Path(__file__).resolve().parents[3]
SIMULATIONS = 300


@pytest.fixture(scope="module")
def world() -> World:
    return articles(partly=True, questions=150)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("times", [0, 3])
def test_intervals_cover_as_often_as_they_say(world: World, seeds: int, times: int) -> None:
    rng = np.random.default_rng(seeds * 10 + times)
    share = coverage(studies(world, seeds, times * world.question_variance, SIMULATIONS, rng))
    # 92 to 97 per cent, and three standard errors of this many simulations on either side
    assert 92 - 4.7 < share < 97 + 3


def test_resampling_rows_covers_far_too_seldom(world: World) -> None:
    rng = np.random.default_rng(0)
    assert row_coverage(world, 5, 0.0, SIMULATIONS, rng) < 92 - 4.7


def test_a_family_errs_in_one_study_of_twenty(world: World) -> None:
    errors = family_errors(world, SIMULATIONS, np.random.default_rng(0))
    bound = stats.binomtest(errors, SIMULATIONS).proportion_ci(0.99)
    assert bound.low < LEVEL < bound.high


def test_the_stated_effect_is_found_with_the_stated_power(world: World) -> None:
    variance = world.question_variance
    truth = Estimate(np.zeros(()), world.squares(5, variance), 5, len(world.counts))
    effect = detectable(float(truth.error), float(truth.freedom))
    found = studies(world, 5, variance, SIMULATIONS, np.random.default_rng(0))
    moved = Estimate(found.effect + effect, found.squares, found.seeds, found.clusters)
    assert np.mean(moved.p() < LEVEL) == pytest.approx(0.8, abs=0.1)


def test_the_simulated_worlds_have_the_variance_they_state(world: World) -> None:
    rng = np.random.default_rng(0)
    found = studies(world, 3, 0.0, 1000, rng)
    expected = world.squares(3, 0.0)
    np.testing.assert_allclose(found.squares.mean(1), expected, rtol=0.12)


def test_the_benchmark_gives_way_to_the_standard_module() -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r}); import statistics"
    script += "; assert statistics.fmean([1, 3]) == 2"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT / "tests")
