from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from study.search.history import EvaluatedCell
from study.search.importance import EXACT, FOREST, REST, importance
from study.spaces.optimize import SearchPlan


def plan(ranges: dict[str, Any], **changes: Any) -> SearchPlan:
    return SearchPlan.model_validate({"ranges": ranges, "objectives": ["map/multi"]} | changes)


def complete(params: dict[str, Any], value: float) -> EvaluatedCell:
    return EvaluatedCell(params=params, state="complete", values=(value,), seeds=1)


def drawn(
    search: SearchPlan, count: int, value: Callable[[dict[str, Any]], float]
) -> list[EvaluatedCell]:
    rng = np.random.default_rng(3)
    cells = []
    for _ in range(count):
        params = {key: one.at(float(rng.random())) for key, one in search.ranges.items()}
        cells.append(complete(params, value(params)))
    return cells


RANGES = {
    "alpha": {"low": 0.0, "high": 1.0},
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "sampling": ["X-X", "X-Y", "hybrid"],
    "warmup": {"low": 0.0, "high": 0.5},
}


def test_a_known_structure_of_variance_is_recovered() -> None:
    search = plan(RANGES)
    steps = {"X-X": -1.0, "X-Y": 0.0, "hybrid": 1.0}

    def value(params: dict[str, Any]) -> float:
        # uniform over four decades, so its variance is 16/12 times the square of the slope
        rate = np.log10(params["learning_rate"])
        return float(2 * params["alpha"] + 0.75 * rate + 0.5 * steps[params["sampling"]])

    variances = {"alpha": 4 / 12, "learning_rate": 0.5625 * 16 / 12, "sampling": 0.25 * 2 / 3}
    total = sum(variances.values())
    found = importance(search, drawn(search, 150, value))
    assert (found.method, found.cells, found.note) == (FOREST, 150, "")
    shares = dict(found.shares)
    for key, variance in variances.items():
        assert shares[key] == pytest.approx(variance / total, abs=0.1), key
    assert shares["warmup"] < 0.02
    assert shares[REST] < 0.15
    order = [name for name, _ in found.shares if name != REST]
    assert order == ["learning_rate", "alpha", "sampling", "warmup"]


def test_the_same_cells_have_the_same_importance() -> None:
    search = plan({"a": {"low": 0.0, "high": 1.0}, "b": {"low": 0.0, "high": 1.0}})
    cells = drawn(search, 8, lambda p: p["a"] + p["b"] ** 2)
    assert importance(search, cells) == importance(search, cells)


def test_a_pure_interaction_is_no_setting_s_own() -> None:
    search = plan({"a": {"low": -1.0, "high": 1.0}, "b": {"low": -1.0, "high": 1.0}})
    found = importance(search, drawn(search, 80, lambda p: p["a"] * p["b"]))
    assert dict(found.shares)[REST] > 0.6


def grid(ranges: dict[str, list[Any]], value: Callable[..., float]) -> list[EvaluatedCell]:
    points = [dict(zip(ranges, v, strict=True)) for v in itertools.product(*ranges.values())]
    return [complete(point, value(**point)) for point in points]


def test_a_complete_grid_is_taken_apart_exactly() -> None:
    ranges = {"a": [0, 1, 2], "b": [0, 1], "c": [5]}
    cells = grid(ranges, lambda a, b, c: 3.0 * a + 1.0 * b + 2.0 * a * b + c)
    found = importance(plan(ranges), cells)
    table = np.array([cell.values[0] for cell in cells]).reshape(3, 2)
    total = table.var()
    shares = dict(found.shares)
    assert found.method == EXACT
    assert shares["a"] == pytest.approx(table.mean(1).var() / total)
    assert shares["b"] == pytest.approx(table.mean(0).var() / total)
    assert shares["a x b"] == pytest.approx(1 - shares["a"] - shares["b"])


def test_a_grid_that_lacks_a_cell_is_not() -> None:
    ranges = {"a": [0, 1, 2], "b": [0, 1]}
    cells = grid(ranges, lambda a, b: 3.0 * a + b)[1:]
    found = importance(plan(ranges), cells)
    assert (found.method, found.cells) == (FOREST, 5)
    assert "knows little" in found.note


def test_settings_without_effect_somewhere() -> None:
    ranges = {
        "sampling": ["X-X", "hybrid"],
        "alpha": {"low": 0.0, "high": 1.0, "when": {"sampling": ["hybrid"]}},
    }
    search = plan(ranges)
    rng = np.random.default_rng(0)
    cells = [complete({"sampling": "X-X"}, 0.0)]
    cells += [complete({"sampling": "hybrid", "alpha": x}, x) for x in rng.random(30)]
    shares = dict(importance(search, cells).shares)
    assert shares["alpha"] > 0.5


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_cells_say_so(count: int) -> None:
    found = importance(plan(RANGES), drawn(plan(RANGES), count, lambda _: 1.0))
    assert (found.shares, found.method) == ((), "")
    assert found.note == (
        f"importance needs 2 complete cells with different settings; {count} are there"
    )


def test_equal_values_have_no_importance() -> None:
    found = importance(plan(RANGES), drawn(plan(RANGES), 5, lambda _: 0.25))
    assert (found.shares, found.note) == ((), "all complete cells have the same value")


def test_what_is_not_complete_does_not_count() -> None:
    search = plan({"a": [0, 1, 2]})
    cells = [complete({"a": 0}, 0.1), complete({"a": 1}, 0.5)]
    others = [
        EvaluatedCell(params={"a": 2}, state="pruned", reached={100: 0.9}),
        EvaluatedCell(params={"a": 2}, state="failed"),
        EvaluatedCell(params={"a": 2}, state="running"),
    ]
    assert importance(search, [*cells, *others]) == importance(search, cells)
