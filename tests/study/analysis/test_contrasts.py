from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from study.analysis.contrasts import ByTrial, Coefficients, chosen, difference, paired, slope
from study.analysis.inference import contributions, estimate
from study.analysis.scores import Scores
from study.spaces.hypothesis import Slope
from study.state.plan import Cell, PlannedTrial
from tests.study.analysis.planned import cell, scores_of
from trainables.errors import UserError

UNTRAINED = Cell(params={"steps": 0}, trials=(PlannedTrial(digest="untrained"),))


def grid(**factors: list[Any]) -> list[Cell]:
    (first, one), (second, other) = factors.items()
    return [UNTRAINED] + [cell(2, **{first: a, second: b}) for a in one for b in other]


def applied(coefficients: Coefficients, cells: list[Cell], value: Any) -> float:
    """The contrast of a metric that is `value(**params)`."""
    params = {c.label: c.params for c in cells}
    return float(sum(w * value(**params[label]) for label, w in coefficients.items()))


def test_a_difference_is_averaged_over_what_it_does_not_name() -> None:
    cells = grid(alpha=[0, 0.5], batch_size=[8, 32])
    found = difference(cells, {"alpha": 0.5}, {"alpha": 0})
    assert applied(found, cells, lambda alpha, batch_size: 10 * alpha + batch_size) == 5
    assert sorted(found.values()) == [-0.5, -0.5, 0.5, 0.5]


def test_untrained_cells_are_compared_only_by_name() -> None:
    cells = grid(alpha=[0, 0.5], batch_size=[8, 32])
    assert UNTRAINED not in chosen(cells, {"alpha": 0})
    assert chosen(cells, {"steps": 0}) == [UNTRAINED]
    with pytest.raises(UserError, match=r"alpha=0\.3: no cell of this study; cells are untrained"):
        difference(cells, {"alpha": 0.3}, {"alpha": 0})


def over(factor: str, *levels: Any, scale: str = "linear", **where: Any) -> Slope:
    return Slope.model_validate(
        {"factor": factor, "scale": scale, "levels": levels, "where": where}
    )


def test_the_slope_of_a_line_is_its_slope() -> None:
    cells = grid(alpha=[0, 0.25, 1], batch_size=[8, 32])
    found = slope(cells, over("alpha", 0, 0.25, 1))
    assert applied(found, cells, lambda alpha, batch_size: 3 * alpha + batch_size) == pytest.approx(
        3
    )


def test_the_slope_is_least_squares() -> None:
    cells = [cell(1, batch_size=size) for size in (2, 8, 16, 128)]
    value = {2: 0.3, 8: 0.1, 16: 0.9, 128: 0.7}
    found = slope(cells, over("batch_size", *value, scale="log2"))
    expected = np.polyfit([1, 3, 4, 7], list(value.values()), 1)[0]
    assert applied(found, cells, lambda batch_size: value[batch_size]) == pytest.approx(expected)


def test_a_slope_over_names_is_per_step() -> None:
    cells = [cell(1, encoder=name) for name in ("large", "small", "base")]
    found = slope(cells, over("encoder", "small", "base", "large", scale="order"))
    value = {"small": 1.0, "base": 5.0, "large": 5.0}
    assert applied(found, cells, lambda encoder: value[encoder]) == pytest.approx(2)


def test_a_slope_reads_only_the_cells_that_are_meant() -> None:
    cells = grid(alpha=[0, 1], batch_size=[8, 16])
    found = slope(cells, over("batch_size", 8, 16, scale="log2", alpha=1))
    assert found == {"alpha=1 batch_size=8": -1, "alpha=1 batch_size=16": 1}


def test_an_interaction_is_a_difference_of_differences() -> None:
    cells = grid(alpha=[0, 1], batch_size=[8, 16])
    found = slope(cells, over("batch_size", 8, 16, scale="log2"), ({"alpha": 1}, {"alpha": 0}))
    assert {label: round(w) for label, w in found.items()} == {
        "alpha=0 batch_size=8": 1,
        "alpha=0 batch_size=16": -1,
        "alpha=1 batch_size=8": -1,
        "alpha=1 batch_size=16": 1,
    }
    additive = applied(found, cells, lambda alpha, batch_size: 5 * alpha + batch_size)
    assert additive == pytest.approx(0)


@pytest.mark.parametrize(
    ("cells", "levels", "said"),
    [
        ([cell(1, x=0), cell(1, x=4)], (0, 4), "numbers above 0"),
        ([cell(1, x="a"), cell(1, x="b")], ("a", "b"), "numbers"),
        ([cell(1, x=2)], (2,), "two levels or more"),
        ([cell(1, y=2)], (), "none"),
        ([cell(1, x=2)], (2, 4), "x=4: no cell of this study"),
        ([cell(1, x=2, y=1), cell(1, x=4, y=1), cell(1, x=4, y=2)], (2, 4), "lacks cells of this"),
    ],
)
def test_what_has_no_slope_is_refused(
    cells: list[Cell], levels: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        slope(cells, over("x", *levels, scale="log2"))


def test_a_hole_in_the_grid_has_no_interaction() -> None:
    with pytest.raises(UserError, match="lacks cells of this grid"):
        slope(grid(a=[0, 1], b=[0, 1])[:-1], over("b", 0, 1), ({"a": 1}, {"a": 0}))


def test_trials_of_a_seed_are_paired_and_others_left_out() -> None:
    one, two = np.array([1.0, 2.0]), np.array([5.0, 9.0])
    trials: ByTrial = {
        "alpha=1": {0: scores_of(one), 2: scores_of(two), 3: scores_of(one)},
        "alpha=0": {1: scores_of(one), 2: scores_of(one), 3: scores_of(two)},
    }
    found = paired(trials, {"alpha=1": 1.0, "alpha=0": -1.0})
    assert found is not None
    assert found.seeds == (2, 3)
    assert found.sums[..., 0].tolist() == [[4, 7], [-4, -7]]


def test_an_untrained_encoder_is_paired_with_every_seed() -> None:
    trained: dict[int | None, Scores] = {seed: scores_of(np.array([seed, 1.0])) for seed in (0, 1)}
    trials: ByTrial = {"alpha=1": trained, "untrained": {None: scores_of(np.array([1.0, 1.0]))}}
    found = paired(trials, {"alpha=1": 1.0, "untrained": -1.0})
    assert found is not None
    assert found.sums[..., 0].tolist() == [[-1, 0], [0, 0]]


def test_no_common_seed_makes_no_pair() -> None:
    one = scores_of(np.ones(2))
    assert paired({"a": {0: one}, "b": {1: one}}, {"a": 1, "b": -1}) is None
    assert paired({"a": {0: one}}, {"a": 1, "b": -1}) is None
    assert paired({"a": {None: one}, "b": {None: one}}, {"a": 1, "b": -1}) is None


def test_other_questions_are_refused() -> None:
    one, other = scores_of(np.ones(2)), scores_of(np.ones(3))
    renamed = replace(one, clusters=("c0", "c9"))
    for strange in (other, renamed):
        with pytest.raises(UserError, match="not asked the same questions"):
            paired({"a": {0: one}, "b": {0: strange}}, {"a": 1, "b": -1})


def test_the_slope_of_planted_values_is_estimated() -> None:
    rng = np.random.default_rng(0)
    sizes, seeds = (8, 16, 32), range(5)
    steady = rng.normal(size=40)
    trials: ByTrial = {
        f"batch_size={size}": {
            seed: scores_of(steady + 0.1 * np.log2(size) + rng.normal(0, 0.02, 40))
            for seed in seeds
        }
        for size in sizes
    }
    cells = [cell(5, batch_size=size) for size in sizes]
    pairs = paired(trials, slope(cells, over("batch_size", *sizes, scale="log2")))
    assert pairs is not None
    found = estimate(contributions(pairs.sums, pairs.counts))
    assert found is not None
    low, high = found.interval()
    assert low < 0.1 < high
    assert high - low < 0.02
