from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from study.analysis.comparison import detectable, detectable_effect, seeds_needed
from study.analysis.inference import (
    CHUNK,
    Estimate,
    _draws,
    bootstrap,
    contributions,
    estimate,
    freedom,
    percentile_interval,
)


def known(table: object) -> Estimate:
    found = estimate(np.array(table, dtype=np.float64))
    assert found is not None
    return found


@pytest.fixture
def uneven() -> tuple[np.ndarray, np.ndarray]:
    """Sums (3 seeds, 6 clusters, 2 settings) of values around 1 and 3, and uneven counts."""
    rng = np.random.default_rng(1)
    counts = np.array([[3, 1], [2, 0], [5, 4], [1, 2], [0, 6], [4, 1]], dtype=np.float64)
    return rng.normal([1, 3], 0.5, (3, 6, 2)) * counts, counts


def macro_mean(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.asarray((sums.sum(-2) / counts.sum(-2)).mean(-1))


def test_contributions_average_to_the_macro_means(uneven: tuple[np.ndarray, np.ndarray]) -> None:
    table = contributions(*uneven)
    np.testing.assert_allclose(table.mean(1), macro_mean(*uneven), rtol=1e-14)


def test_a_contribution_is_the_mean_plus_the_influence_of_its_cluster(
    uneven: tuple[np.ndarray, np.ndarray],
) -> None:
    sums, counts = uneven
    table, step = contributions(sums, counts).mean(0), 1e-6
    for cluster in range(len(counts)):
        weight = np.ones((len(counts), 1))
        weight[cluster] += step
        moved = macro_mean((sums * weight).mean(0), counts * weight)
        influence = (moved - macro_mean(sums.mean(0), counts)) / step
        expected = (table[cluster] - table.mean()) / len(counts)
        assert influence == pytest.approx(expected, abs=1e-5)


def test_two_way_variance_by_hand() -> None:
    found = known([[1, 2], [3, 6]])
    assert found.effect == 3
    assert found.squares.tolist() == [9, 4, 1]
    assert found.error == pytest.approx(np.sqrt((9 + 4 - 1) / 4))
    freedom = (18 + 4 - 1) ** 2 / (18**2 + 4**2 + 1**2)  # the seeds' mean square counts twice
    assert found.freedom == pytest.approx(freedom)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(3)
    np.testing.assert_allclose(found.interval(), (3 - reach, 3 + reach))
    assert found.components().tolist() == [4, 1.5, 1]


def test_the_variance_is_not_below_the_residual() -> None:
    found = known([[1, 0], [0, 1]])  # mean squares 0, 0, 1
    assert found.error == pytest.approx(np.sqrt(1 / 4))
    assert found.components().tolist() == [0, 0, 1]


def test_p_and_interval_agree() -> None:
    table = np.random.default_rng(0).normal(0.3, 1, (5, 20))
    found = known(table)
    moved = Estimate(found.effect - found.interval()[0], found.squares, 5, 20)
    assert moved.p() == pytest.approx(0.05)
    low, high = found.interval(0.1)
    margin = float(max(-low, high))
    assert found.p_equivalent(margin) == pytest.approx(0.05)


@pytest.mark.parametrize("shape", [(1, 20), (5, 1), (1, 1)])
def test_one_seed_or_one_cluster_has_no_uncertainty(shape: tuple[int, int]) -> None:
    assert estimate(np.random.default_rng(0).normal(size=shape)) is None


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_no_variation_has_no_uncertainty(value: float) -> None:
    assert estimate(np.full((5, 20), value)) is None


def test_many_tables_at_once_are_as_one_by_one() -> None:
    tables = np.random.default_rng(0).normal(size=(4, 3, 7))
    together = known(tables)
    for place, table in enumerate(tables):
        alone = known(table)
        assert together.p()[place] == alone.p()
        assert together.interval()[0][place] == alone.interval()[0]


def test_detectable_effect_with_many_degrees_of_freedom_is_the_normal_one() -> None:
    expected = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert detectable(2.0, 1e5) == pytest.approx(2 * expected, rel=1e-4)


@pytest.mark.parametrize("freedom", [1, 2, 4, 30])
@pytest.mark.parametrize("level", [0.05, 0.001])
def test_the_detectable_effect_is_found_with_its_power(freedom: int, level: float) -> None:
    rng = np.random.default_rng(freedom)
    effect = detectable(1.0, freedom, level)
    error = np.sqrt(rng.chisquare(freedom, 40_000) / freedom)
    t = (effect + rng.normal(size=40_000)) / error
    share = np.mean(2 * stats.t.sf(abs(t), freedom) < level)
    assert share == pytest.approx(0.8, abs=0.01)


def test_seeds_needed_are_the_fewest_that_suffice() -> None:
    squares = np.array([40.0, 2.0, 1.0])
    found = Estimate(np.zeros(()), squares, 5, 50)
    count = seeds_needed(found, 0.4)
    assert count is not None
    by_seed, by_cluster, residual = found.components()

    def planned(seeds: int) -> float:
        expected = [50 * by_seed + residual, seeds * by_cluster + residual, residual]
        return detectable_effect(Estimate(found.effect, np.array(expected), seeds, 50))

    assert planned(count) <= 0.4 < planned(count - 1)
    assert count > 5


def test_no_number_of_seeds_makes_up_for_few_clusters() -> None:
    found = Estimate(np.zeros(()), np.array([1.0, 50.0, 1.0]), 5, 10)
    assert seeds_needed(found, 0.5) is None
    assert seeds_needed(found, 100.0) == 5  # not fewer than a verdict takes


def test_degrees_of_freedom_are_satterthwaite_s() -> None:
    a, b, c = 5.0, 3.0, 2.0
    squares = np.array([a, b, c])
    exact = (a + b - c) ** 2 / (a**2 / 4 + b**2 / 10 + c**2 / 40)
    assert freedom(squares, 5, 11, caution=1) == pytest.approx(exact)
    cautious = (2 * a + b - c) ** 2 / ((2 * a) ** 2 / 4 + b**2 / 10 + c**2 / 40)
    assert freedom(squares, 5, 11, caution=2) == pytest.approx(cautious)
    assert freedom(np.array([0.0, 0.0, c]), 5, 11, caution=1) == pytest.approx(40)
    assert freedom(np.array([a, a, 5 * a]), 3, 4, caution=1) > 2
    assert freedom(np.array([a, a, 1.5 * a]), 3, 4, caution=1) == 2, "not below the fewest of both"


def test_bootstrap_is_the_mean_of_what_was_drawn(uneven: tuple[np.ndarray, np.ndarray]) -> None:
    """Draw by draw, in two chunks; of a draw without a setting the others are the mean."""
    sums, counts = uneven
    sums = np.concatenate([sums, sums[:, :, :1] * [[[2.0]]]], axis=2)  # of the same queries
    lone = np.eye(6)[:, :1]
    sums = np.concatenate([sums, 7.0 * lone * np.ones((3, 1, 1))], axis=2)
    counts = np.concatenate([counts, counts[:, :1], lone], axis=1)
    rng, expected = np.random.default_rng(0), []
    for size in (CHUNK, 20):
        clusters, seeds = _draws(rng, size, 6), _draws(rng, size, 3)
        for cluster, seed in zip(clusters, seeds, strict=True):
            asked = cluster @ counts
            held = asked > 0
            total = np.einsum("s,g,sgc->c", seed / 3, cluster, sums)
            expected.append((total[held] / asked[held]).mean())
    found = bootstrap(sums, counts, CHUNK + 20)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert len(np.unique(np.round(found[:3], 9))) == 3


def test_a_percentile_interval_holds_the_middle() -> None:
    values = np.arange(1001) / 1000
    assert percentile_interval(values, 0.1) == pytest.approx((0.05, 0.95))
    assert percentile_interval(values) == pytest.approx((0.025, 0.975))


def test_bootstrap_agrees_with_resampling_by_hand(uneven: tuple[np.ndarray, np.ndarray]) -> None:
    sums, counts = uneven
    rng = np.random.default_rng(5)
    by_hand = []
    for _ in range(4000):
        seeds, clusters = rng.integers(0, 3, 3), rng.integers(0, 6, 6)
        asked = counts[clusters].sum(0)
        held = asked > 0
        total = sums[seeds][:, clusters].mean(0).sum(0)
        by_hand.append((total[held] / asked[held]).mean() if held.any() else 0.0)
    found = bootstrap(sums, counts, 4000)
    assert found.mean() == pytest.approx(np.mean(by_hand), abs=0.03)
    np.testing.assert_allclose(
        np.quantile(found, [0.1, 0.5, 0.9]), np.quantile(by_hand, [0.1, 0.5, 0.9]), atol=0.05
    )


def test_parallel_settings_are_resampled_as_one() -> None:
    rng = np.random.default_rng(2)
    counts = np.repeat(rng.integers(1, 9, (12, 1)), 3, axis=1).astype(float)
    sums = rng.normal(size=(4, 12, 3))
    together = bootstrap(sums.mean(2, keepdims=True), counts[:, :1], 700)
    np.testing.assert_allclose(bootstrap(sums, counts, 700), together, atol=1e-12)


def test_bootstrap_is_the_same_every_time_and_never_nan() -> None:
    counts = np.eye(4)  # every setting lives in one cluster and may be missing from a draw
    sums = np.random.default_rng(0).normal(size=(2, 4, 4)) * counts
    found = bootstrap(sums, counts, 300)
    np.testing.assert_array_equal(found, bootstrap(sums, counts, 300))
    assert np.isfinite(found).all()
    low, high = percentile_interval(found)
    assert low < high
