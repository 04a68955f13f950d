"""Trials that were stopped early are in no mean and make no cell the best."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from study.analysis.results import best_cell, by_cell
from study.cli.tables import comparison
from study.planning.build import make_plan
from study.spaces.schema import load_space
from study.state.plan import Cell, Plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(load_space("mixing_ratio"), "mixing_ratio", "demo", {}, seeds=3)[0]


def result(value: float) -> dict[str, Any]:
    return {"metrics": {"map/multi": value}, "validation": {"map/multi": value}}


def measured(plan: Plan) -> tuple[dict[str, dict[str, Any]], Cell]:
    """All complete, later cells better, but for the last seed of the last cell; and that cell."""
    arms = [cell for cell in plan.cells if cell.is_arm]
    results = {
        trial.digest: result(0.1 * place + 0.01 * (trial.seed or 0))
        for place, cell in enumerate(arms)
        for trial in cell.trials
    }
    del results[arms[-1].trials[2].digest]
    return results, arms[-1]


def shown(plan: Plan, results: dict[str, dict[str, Any]], pruned: set[str]) -> list[str]:
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    console.print(comparison(plan, by_cell(plan, results, pruned)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_best_cell_of_a_bias_has_the_least(plan: Plan) -> None:
    biased = plan.model_copy(update={"primary": "rank_distance"})
    arms = [cell for cell in plan.cells if cell.is_arm]
    results = {
        trial.digest: {"metrics": {}, "validation": {"rank_distance": 9.0 - place}}
        for place, cell in enumerate(arms)
        for trial in cell.trials
    }
    best = best_cell(biased, by_cell(biased, results))
    assert best is not None
    assert best["params"] == arms[-1].params


def test_survivors_of_a_pruned_cell_are_not_the_best(plan: Plan) -> None:
    results, last = measured(plan)
    missing = last.trials[2].digest
    best = best_cell(plan, by_cell(plan, results))
    assert best is not None
    assert best["params"] == last.params, "a seed that is merely missing says nothing"
    best = best_cell(plan, by_cell(plan, results, {missing}))
    assert best is not None
    assert best["params"] == [cell for cell in plan.cells if cell.is_arm][-2].params
    results[missing] = result(0.9)
    best = best_cell(plan, by_cell(plan, results, {missing}))
    assert best is not None
    assert best["params"] == last.params, "another study completed it"


def test_the_table_marks_them(plan: Plan) -> None:
    results, last = measured(plan)
    lines = shown(plan, results, {last.trials[2].digest})
    (row,) = [line for line in lines if last.label in line]
    assert "2 (1 pruned)" in row
    assert "\x1b[1m0.4" not in row, "bold is the best"
    assert any("\x1b[1m0.3" in line for line in lines)
