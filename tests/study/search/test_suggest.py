from __future__ import annotations

import math
from typing import Any

import pytest

from study.search.history import EvaluatedCell, front, generation_of, named
from study.search.suggest import Suggestion, suggest
from study.spaces.optimize import SAMPLERS, SearchPlan
from study.spaces.ranges import Point, fits

MIXED = {
    "sampling": ["X-X", "hybrid"],
    "alpha": {"low": 0.1, "high": 0.9, "when": {"sampling": ["hybrid"]}},
    "batch_size": {"ordered": [8, 16, 32, 64]},
    "rate": {"low": 1e-4, "high": 1e-1, "log": True},
}

CATEGORICAL = {name: list("abcdefgh") for name in ("one", "two", "three")}


def plan(ranges: dict[str, Any], sampler: str, **more: Any) -> SearchPlan:
    values = {"sampler": sampler, "ranges": ranges, "objectives": ["map/multi"]}
    return SearchPlan.model_validate(values | more)


def objective(point: Point) -> float:
    """Best at hybrid, alpha 0.6, batch 32 and rate 0.01."""
    alpha = float(point.get("alpha", 0.0))
    batch, rate = math.log2(point["batch_size"] / 32), math.log10(point["rate"] / 0.01)
    return -((alpha - 0.6) ** 2) - 0.1 * batch**2 - 0.3 * rate**2


def run(search: SearchPlan, trials: int, values: Any = objective) -> list[EvaluatedCell]:
    history: list[EvaluatedCell] = []
    for number in range(trials):
        asked = suggest(search, history, number)
        if asked is None:
            break
        value = values(asked.params)
        value = value if isinstance(value, tuple) else (value,)
        history.append(EvaluatedCell(asked.params, "complete", value, generation=asked.generation))
    return history


GP = pytest.param("gp", marks=pytest.mark.slow)
"""It takes a second a suggestion."""


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "nsga2", "nsga3", GP])
def test_the_same_history_gives_the_same_suggestion(sampler: str) -> None:
    search = plan(MIXED, sampler, population=6)
    history = run(search, 16)
    again = [suggest(search, history[:n], n) for n in (0, 5, 11, 15)]
    found = [Suggestion(history[n].params, history[n].generation) for n in (0, 5, 11, 15)]
    assert again == found
    assert all(fits(search.ranges, cell.params) for cell in history)
    other = run(search.model_copy(update={"seed": 1}), 16)
    assert [cell.params for cell in other] != [cell.params for cell in history]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", GP])
def test_a_model_beats_its_own_start(sampler: str) -> None:
    history = run(plan(MIXED, sampler, population=8), 40)
    early = max(cell.values[0] for cell in history[:10])
    late = sum(cell.values[0] for cell in history[30:]) / 10
    start = sum(cell.values[0] for cell in history[:10]) / 10
    assert max(cell.values[0] for cell in history) >= early
    assert late > start


@pytest.mark.parametrize(
    ("sampler", "trials"),
    [
        ("random", 500),
        ("qmc", 60),
        ("grid", 60),
        ("tpe", 40),
        ("nsga2", 40),
        pytest.param("tpe", 500, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
        pytest.param("nsga2", 500, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
)
def test_no_point_of_a_small_space_is_suggested_twice(sampler: str, trials: int) -> None:
    """Of 512 points; a model that knows the best ones would suggest them again and again."""
    search = plan(CATEGORICAL, sampler)
    history = run(search, trials, lambda point: -sum(map(ord, point.values())) / 300)
    assert len({named(cell.params) for cell in history}) == len(history) == trials


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s != "gp"])
def test_a_space_ends_when_every_point_was_tried(sampler: str) -> None:
    search = plan({"one": ["a", "b", "c"], "two": {"low": 1, "high": 4}}, sampler, population=3)
    history = run(search, 50, lambda point: float(point["two"]))
    assert len({named(cell.params) for cell in history}) == len(history) == 12
    assert len(run(plan({"one": ["a"]}, sampler), 5, lambda _: 0.0)) == 1


def test_points_come_first_and_what_they_leave_open_is_drawn() -> None:
    points = [
        {"sampling": "hybrid", "alpha": 0.3, "batch_size": 8, "rate": 0.001},
        {"sampling": "hybrid", "rate": 0.002},
    ]
    history = run(plan(MIXED, "tpe", points=points), 3)
    assert history[0].params == points[0]
    assert points[1].items() <= history[1].params.items()
    assert "alpha" in history[1].params
    assert fits(plan(MIXED, "tpe").ranges, history[1].params)


def test_what_may_not_run_is_never_suggested() -> None:
    search = plan(MIXED, "tpe")
    history: list[EvaluatedCell] = []
    for number in range(30):
        asked = suggest(search, history, number, lambda point: point["batch_size"] > 16)
        assert asked is not None
        assert asked.params["batch_size"] <= 16
        history.append(EvaluatedCell(asked.params, "complete", (objective(asked.params),)))
    assert suggest(search, history, 30, lambda _: True) is None


def test_cells_that_run_are_kept_away_from() -> None:
    search = plan(MIXED, "tpe")
    history = run(search, 20)
    alone = suggest(search, history, 20)
    assert alone is not None
    beside = suggest(search, [*history, EvaluatedCell(alone.params)], 21)
    assert beside is not None
    assert beside.params != alone.params


def test_failed_and_pruned_cells_are_never_the_model() -> None:
    search = plan(MIXED, "tpe")
    good = run(search, 14)
    failed = [EvaluatedCell(cell.params, "failed") for cell in run(search, 10)]
    pruned = [EvaluatedCell(c.params, "pruned", reached={100: -9.0}) for c in failed]
    for cells in ([*good, *failed], [*good, *pruned]):
        asked = suggest(search, cells, len(cells))
        assert asked is not None
        assert front(search, cells) == front(search, good)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", GP])
def test_a_constraint_leads_the_search_to_where_it_is_kept(sampler: str) -> None:
    search = plan(
        {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0.0, "high": 1.0}},
        sampler,
        population=8,
        constraints=[{"metric": "x", "at_most": 0.3}],
    )
    history: list[EvaluatedCell] = []
    for number in range(48):
        asked = suggest(search, history, number)
        assert asked is not None
        x, y = asked.params["x"], asked.params["y"]
        history.append(
            EvaluatedCell(asked.params, "complete", (x + y,), (x - 0.3,), asked.generation)
        )
    kept = [cell.feasible for cell in history]
    assert sum(kept[32:]) / 16 > sum(kept[:8]) / 8
    assert all(cell.feasible for cell in front(search, history))


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3", "tpe", GP])
def test_several_objectives_end_in_a_front(sampler: str) -> None:
    search = plan(
        {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0.0, "high": 1.0}},
        sampler,
        population=8,
        objectives=["map/multi", "rank_distance"],
    )
    history = run(search, 40, lambda p: (p["x"] - p["y"], p["x"] ** 2 + p["y"]))
    best = front(search, history)
    assert len(best) > 2
    values = [cell.values for cell in best]
    assert values == sorted(values, reverse=True)
    assert [gain for _, gain in values] == sorted((g for _, g in values), reverse=True)


def test_generations_fill_up_with_complete_cells_only() -> None:
    search = plan(MIXED, "nsga2", population=4)
    history = run(search, 3)
    history.append(EvaluatedCell(history[-1].params | {"rate": 0.05}, "failed", generation=0))
    assert generation_of(search, history) == 0
    full = [
        *history,
        EvaluatedCell({"sampling": "X-X", "batch_size": 8, "rate": 0.1}, "complete", (0.0,)),
    ]
    assert generation_of(search, full) == 1
    assert generation_of(plan(MIXED, "tpe"), full) is None
