from __future__ import annotations

from typing import Any

from study.search.summary import TrialOutcome, ahead, best_of, cells_of, course
from study.spaces.optimize import SearchPlan


def plan(**changes: Any) -> SearchPlan:
    values = {"ranges": {"a": [0, 1, 2, 3]}, "objectives": ["map/multi"]}
    return SearchPlan.model_validate(values | changes)


def visit(a: int, value: float | None, seed: int = 0, **changes: Any) -> TrialOutcome:
    values: dict[str, Any] = {
        "digest": f"{a}-{seed}",
        "params": {"a": a},
        "seed": seed,
        "state": "complete" if value is not None else "failed",
        "values": (value,) if value is not None else (),
        "examples": 100.0,
    }
    return TrialOutcome(**(values | changes))


def test_cells_are_means_over_the_seeds_of_the_search() -> None:
    visits = [visit(0, 0.2), visit(1, 0.5), visit(0, 0.4, 1), visit(0, 0.9, 7, phase="confirm")]
    first, second = cells_of(plan(), visits)
    assert (first.number, first.params, first.seeds) == (1, {"a": 0}, 2)
    assert first.means == (0.30000000000000004,)
    assert abs((first.deviations[0] or 0) - 0.1414213562) < 1e-9
    assert (second.number, second.means, second.deviations) == (2, (0.5,), (None,))


def test_pruned_and_failed_trials_are_no_cells_and_keep_their_numbers() -> None:
    pruned = visit(1, 0.99, state="pruned")
    cells = cells_of(plan(), [visit(0, None), pruned, visit(2, 0.3)])
    assert [(cell.number, cell.means) for cell in cells] == [(3, (0.3,))]
    assert best_of(plan(), cells) == cells[0]


def test_a_cell_with_a_pruned_seed_is_no_cell_whichever_came_first() -> None:
    lost, well = visit(1, None, state="pruned"), visit(1, 0.9, 1)
    other = visit(2, 0.3)
    for visits in ([lost, well, other], [well, lost, other]):
        assert [cell.means for cell in cells_of(plan(), visits)] == [(0.3,)]


def test_course_counts_what_was_spent_and_may_become_worse() -> None:
    visits = [
        visit(0, None),
        visit(1, 0.5),
        visit(2, 0.9, state="pruned", examples=30.0),
        visit(1, 0.1, 1),
        visit(3, 0.4),
        visit(3, 0.8, 9, phase="confirm"),
        visit(2, None, 1, state="running"),
    ]
    found = [(p.trials, p.examples, p.value) for p in course(plan(), visits)]
    assert found == [
        *((1, 100.0, None), (2, 200.0, 0.5), (3, 230.0, 0.5)),
        *((4, 330.0, 0.3), (5, 430.0, 0.4)),
    ]


def test_a_cell_that_misses_a_constraint_is_neither_best_nor_ahead() -> None:
    search = plan(constraints=[{"metric": "rank_distance", "at_most": 10}])
    visits = [visit(0, 0.9, limited=(12.0,)), visit(1, 0.5, limited=(9.0,))]
    visits += [visit(0, 0.9, 1, limited=(11.0,))]
    cells = cells_of(search, visits)
    assert cells[0].violations == (1.5,)
    assert best_of(search, cells) == cells[1]
    assert ahead(search, cells) == [cells[1]]
    assert course(search, visits)[0].value is None


def test_front_of_two_objectives_one_of_them_less() -> None:
    search = plan(objectives=["map/multi", "rank_distance"])
    assert [o.direction for o in search.objectives] == ["maximize", "minimize"]
    values = [(0.5, 10.0), (0.6, 20.0), (0.4, 12.0), (0.6, 20.0)]
    visits = [visit(a, None, state="complete", values=v) for a, v in enumerate(values)]
    cells = cells_of(search, visits)
    # the third is beaten by the first; equal cells beat none
    assert [cell.number for cell in ahead(search, cells)] == [2, 4, 1]


def test_of_a_loss_the_least_is_best() -> None:
    search = plan(objectives=[{"metric": "rank_distance"}])
    cells = cells_of(search, [visit(0, 3.0), visit(1, 2.0)])
    best = best_of(search, cells)
    assert best is not None
    assert best.params == {"a": 1}
    assert ahead(search, cells) == [best]
