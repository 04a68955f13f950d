"""Best levels and shares of variance: worlds whose truth is known, and honest refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from study.analysis.exploration import (
    Decomposition,
    best_levels,
    decompose,
    explore,
)
from study.analysis.scores import Scores
from study.state.plan import Cell, Plan
from tests.study.analysis.planned import cell, plan_of, scores_of

LEVELS = (0, 0.25, 0.5, 0.75, 1)
CLUSTERS = 40
STEADY = np.random.default_rng(1).normal(0.5, 0.1, CLUSTERS)


def one_factor(seeds: int = 5) -> list[Cell]:
    return [cell(seeds, alpha=alpha) for alpha in LEVELS]


def peaked(cells: Sequence[Cell], noise: float) -> dict[str, Scores]:
    """Scores that are best at alpha 0.5, and only a hair worse at 0.75."""
    gain = dict(zip(LEVELS, (0.0, 0.05, 0.1, 0.099, 0.02), strict=True))
    return {
        trial.digest: scores_of(
            STEADY
            + gain[one.params["alpha"]]
            + np.random.default_rng([place, trial.seed or 0]).normal(0, noise, CLUSTERS)
        )
        for place, one in enumerate(cells)
        for trial in one.trials
    }


def test_levels_that_cannot_be_told_apart_share_the_first_place() -> None:
    cells = one_factor()
    [found] = best_levels(plan_of(cells, []), cells[::-1], peaked(cells, 0.02))
    assert [one.level for one in found.levels] == list(LEVELS)
    assert sum(one.share for one in found.levels) == pytest.approx(1)
    assert {one.level for one in found.likely} == {0.5, 0.75}
    assert (found.seeds, found.clusters) == (5, CLUSTERS)
    assert found.note == ""
    assert (found.factor, found.metric, found.at_edge) == ("alpha", "map/multi", False)


def test_shares_follow_the_noise() -> None:
    cells = one_factor()
    plan = plan_of(cells, [])
    [exact], [loud] = (best_levels(plan, cells, peaked(cells, n)) for n in (0.0001, 0.5))
    assert [one.level for one in exact.likely] == [0.5]
    assert exact.likely[0].share == 1
    assert len(loud.likely) > 2


def test_a_best_at_the_end_says_that_more_may_lie_beyond() -> None:
    cells = [cell(5, batch_size=size) for size in (8, 16, 32)]
    scores = {
        t.digest: scores_of(STEADY + 0.1 * place + 0.01 * (t.seed or 0))
        for place, one in enumerate(cells)
        for t in one.trials
    }
    [found] = best_levels(plan_of(cells, []), cells, scores)
    assert [(one.level, one.share) for one in found.likely] == [(32, 1)]
    assert found.at_edge


def test_less_is_best_for_rank_distance() -> None:
    cells = one_factor()
    plan = plan_of(cells, []).model_copy(update={"primary": "rank_distance"})
    [found] = best_levels(plan, cells, peaked(cells, 0.0001))
    assert [one.level for one in found.likely] == [0]


def test_factors_are_averaged_over_and_drawn_subsets_are_not_chosen() -> None:
    cells = [cell(5, alpha=a, subset_seed=s) for a in (0, 1) for s in (0, 1)]
    scores = {
        t.digest: scores_of(STEADY + one.params["alpha"]) for one in cells for t in one.trials
    }
    [found] = best_levels(plan_of(cells, []), cells, scores)
    assert found.factor == "alpha"
    assert found.averaged == ("subset_seed",)


@pytest.mark.parametrize(
    ("seeds", "keep", "why"),
    [
        (1, lambda alpha, seed: True, "fewer than two seeds"),
        (5, lambda alpha, seed: alpha or seed == 3, "fewer than two seeds"),
        (5, lambda alpha, seed: False, "fewer than two seeds"),
    ],
)
def test_too_little_has_no_best_level(seeds: int, keep: Any, why: str) -> None:
    cells = one_factor(seeds)
    every = peaked(cells, 0.01)
    scores = {
        t.digest: every[t.digest]
        for one in cells
        for t in one.trials
        if keep(one.params["alpha"], t.seed)
    }
    [found] = best_levels(plan_of(cells, []), cells, scores)
    assert found.levels == ()
    assert why in found.note


def test_all_equal_has_no_best_level() -> None:
    cells = one_factor()
    same = {t.digest: scores_of(STEADY) for one in cells for t in one.trials}
    [found] = best_levels(plan_of(cells, []), cells, same)
    assert "no level differs from another" in found.note


def grid(values: np.ndarray, drop: Sequence[tuple[int, ...]] = ()) -> tuple[Plan, dict[str, Any]]:
    """A plan of alpha by batch size, and results with these values, (alpha, batch size, seed)."""
    alphas, sizes, seeds = values.shape
    cells = [cell(seeds, alpha=a, batch_size=b) for a in range(alphas) for b in range(sizes)]
    results = {
        trial.digest: {"metrics": {"map/multi": float(values[at])}, "validation": {}}
        for one in cells
        for trial in one.trials
        if (at := (one.params["alpha"], one.params["batch_size"], trial.seed)) not in drop
    }
    return plan_of(cells, []), results


def planted(noise: float = 0.0) -> np.ndarray:
    """Of orthogonal parts: alpha 3 by variance, batch size 1, both together 1, seed 2."""
    two, three = np.array([-1.0, 1.0]), np.array([-1.0, 0.0, 1.0]) * np.sqrt(1.5)
    alpha, size, seed = three[:, None, None], two[:, None], three
    world = 3**0.5 * alpha + size + alpha * size + 2**0.5 * seed
    return np.asarray(world + noise * np.random.default_rng(0).normal(size=world.shape))


def shares(found: Decomposition) -> dict[str, float]:
    return {part.of: part.share for part in found.parts}


def test_planted_shares_are_found_exactly() -> None:
    plan, results = grid(planted())
    found = decompose(plan, plan.cells, results)
    expected = {"alpha": 3, "seed": 2, "batch_size": 1, "alpha x batch_size": 1, "residual": 0}
    assert shares(found) == pytest.approx({k: v / 7 for k, v in expected.items()}, abs=1e-12)
    assert (found.trials, found.filled) == (18, 0)


def test_the_parts_are_those_of_a_linear_model() -> None:
    values = planted(0.7)
    plan, results = grid(values)
    found = decompose(plan, plan.cells, results)
    total = ((values - values.mean()) ** 2).sum()
    of_alpha = 6 * ((values.mean((1, 2)) - values.mean()) ** 2).sum() / total
    assert shares(found)["alpha"] == pytest.approx(of_alpha)
    assert sum(shares(found).values()) == pytest.approx(1)
    residual = shares(found)["residual"]
    by_chance = {part.of: part.by_chance for part in found.parts}
    # 18 trials: 10 degrees of freedom are the residual's, 2 alpha's
    assert by_chance["alpha"] == pytest.approx(residual * 2 / 10)


def test_noise_alone_gives_factors_what_chance_gives() -> None:
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(200):
        plan, results = grid(rng.normal(size=(3, 2, 4)))
        parts = {part.of: part for part in decompose(plan, plan.cells, results).parts}
        ratios.append(parts["alpha"].share - (parts["alpha"].by_chance or 0))
    assert abs(np.mean(ratios)) < 0.02


def test_a_few_missing_trials_are_filled_in_and_counted() -> None:
    whole = decompose(*_asked(planted(0.3)))
    found = decompose(*_asked(planted(0.3), [(0, 0, 0), (2, 1, 1)]))
    assert (found.trials, found.filled) == (18, 2)
    for name, share in shares(whole).items():
        assert shares(found)[name] == pytest.approx(share, abs=0.08)


def _asked(values: np.ndarray, drop: Sequence[tuple[int, ...]] = ()) -> Any:
    plan, results = grid(values, drop)
    return plan, plan.cells, results


SEED = [(a, b, 1) for a in range(3) for b in range(2)]


@pytest.mark.parametrize(
    ("values", "drop", "why"),
    [
        (planted(), [(0, 0, s) for s in range(3)] + [(1, 1, 0)], "4 of 18 trials have no result"),
        (np.ones((3, 2, 3)), [], "all trials have the same value"),
        (planted()[:1, :1], [], "all trained cells have the same settings"),
        (np.zeros((6, 2, 6)) + 0.5, [(0, b, s) for b in range(2) for s in range(6)], "no result"),
    ],
)
def test_what_cannot_be_taken_apart(
    values: np.ndarray, drop: Sequence[tuple[int, ...]], why: str
) -> None:
    found = decompose(*_asked(values, drop))
    assert found.parts == ()
    assert why in found.note


def test_one_seed_has_no_residual() -> None:
    found = decompose(*_asked(planted()[:, :, :1]))
    assert set(shares(found)) == {"alpha", "batch_size", "alpha x batch_size"}
    assert {part.by_chance for part in found.parts} == {None}


def test_a_hole_in_the_plan_is_no_grid() -> None:
    plan, results = grid(planted())
    found = decompose(plan, plan.cells[1:], results)
    assert "no complete grid" in found.note


def test_nothing_is_selected_without_a_validation_benchmark(tmp_path: Any) -> None:
    plan, results = grid(planted())
    found = explore(plan, plan.cells, tmp_path, results)
    assert found.best == ()
    assert "the test must not be read" in found.note
