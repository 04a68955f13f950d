"""Whole searches over made-up results: nothing is trained, every spec is a real one."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from study.planning.build import make_plan
from study.planning.extend import extended
from study.search.budget import Clock, Spent, advice, expected_best, more, over, spent
from study.search.history import EvaluatedCell, front, history_of, named
from study.search.points import Points
from study.search.search import Observations, Over, Search, Waiting, next_seed, refuse_impossible
from study.search.summary import outcome
from study.spaces.optimize import OPERATIONS, SearchPlan
from study.spaces.ranges import Point
from study.spaces.resolve import Resolver
from study.spaces.schema import Space
from study.spaces.search_plan import search_options
from study.state.plan import Plan
from study.state.proposals import ProposedTrial
from study.state.record import Moment
from study.state.study_folder import StudyFolder
from trainables.errors import UserError
from trainables.spec import Spec

SEARCH = {
    "sampling": ["X-X", "hybrid"],
    "alpha": {"choices": [0.25, 0.5, 1], "when": {"sampling": ["hybrid"]}},
    "learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
}

Judge = Callable[[Point, int], Mapping[str, float]]


def space(search: Mapping[str, Any] = SEARCH, **optimize: Any) -> Space:
    fixed = {"steps": 3, "batch_size": 8}
    return Space.model_validate(
        {
            "question": "Is anything found?",
            "fixed": fixed,
            "search": search,
            "optimize": {"sampler": "random", "confirm": {"top": 0}} | optimize,
            "tiers": {"demo": {}, "full": {}},
        }
    )


class Played:
    """A search, played to its end with results that a function makes up."""

    def __init__(self, asked: Space, judge: Judge, estimator: Any = None, **seen: Any) -> None:
        self.plan, _ = make_plan(
            asked, "small", "demo", {}, optimize=asked.for_tier("demo").optimize
        )
        assert self.plan.search is not None
        self.search = self.plan.search
        self.points = Points(self.search, Resolver(None, self.plan.primary), estimator)
        self.judge, self.seen = judge, seen
        self.results: dict[str, dict[str, Any]] = {}
        self.asked: list[ProposedTrial] = []
        self.reason = ""
        while not self.reason:
            self.step()

    def step(self) -> None:
        found = self.next()
        if isinstance(found, Over):
            self.reason = found.reason
            return
        assert isinstance(found, ProposedTrial)
        self.asked.append(found)
        self.plan = self.plan.joined([found])
        values = dict(self.judge(found.params, found.seed or 0))
        self.results[found.digest] = {"validation": values, "metrics": {"map/multi": 0.5}}

    def next(self) -> ProposedTrial | Waiting | Over:
        return Search(self.search, self.points).next(
            self.plan, Observations(self.results, **self.seen)
        )

    def words(self) -> str:
        history = history_of(self.plan, self.results, {})
        return "\n".join(outcome(self.plan, history, self.results, self.reason))


def rate(point: Point, seed: int) -> dict[str, float]:
    """Best at a rate of 0.01, with a little noise of the seed."""
    noise = math.sin(7 * seed + 100 * point["learning_rate"]) / 50
    return {"map/multi": 1 - abs(math.log10(point["learning_rate"] / 0.01)) / 4 + noise}


def test_a_search_spends_its_trials_and_confirms_its_best_on_fresh_seeds() -> None:
    played = Played(space(trials=12, confirm={"top": 2, "seeds": 3}), rate)
    phases = [trial.phase for trial in played.asked]
    assert phases == ["search"] * 12 + ["confirm"] * 3
    assert [trial.seed for trial in played.asked] == [0] * 12 + [1, 2, 3]
    best = max(played.asked[:12], key=lambda t: played.results[t.digest]["validation"]["map/multi"])
    assert {str(trial.params) for trial in played.asked[12:]} == {str(best.params)}
    assert played.reason == "the budget of 12 trials is spent"
    assert "Confirmed on 3 fresh seeds" in played.words()
    assert len({trial.digest for trial in played.asked}) == 15


def test_the_test_benchmark_is_never_read() -> None:
    asked = space(trials=12, sampler="tpe", seeds={"first": 1, "most": 2})
    one = Played(asked, rate)

    class Other(Played):
        def step(self) -> None:
            super().step()
            for number, result in enumerate(self.results.values()):
                result["metrics"] = {"map/multi": -float(number)}

    assert [t.line() for t in Other(asked, rate).asked] == [t.line() for t in one.asked]


def test_equal_experiments_are_one_point() -> None:
    """Hybrid at alpha 1 is X-X, so that five of the six points are different."""
    search = {"sampling": ["X-X", "hybrid"], "alpha": SEARCH["alpha"], "warmup": [0.1]}
    played = Played(space(search, trials=20), lambda *_: {"map/multi": 0.1})
    assert len(played.asked) == 3
    assert len({trial.digest for trial in played.asked}) == 3
    assert "every point of the space has been tried (3)" in played.reason


def test_an_objective_that_no_result_has_ends_the_search_early() -> None:
    played = Played(space(trials=12), lambda *_: {"map/mono": 0.5})
    assert len(played.asked) == 3
    assert "map/multi is in none of 3 results" in played.reason
    assert "which has map/mono" in played.reason
    assert "no best one" in played.words()


def test_a_constraint_that_no_result_has_ends_it_too() -> None:
    limit = [{"metric": "rank_distance", "at_most": 3}]
    played = Played(space(trials=12, constraints=limit), rate)
    assert "rank_distance is in none" in played.reason


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_what_is_no_number_counts_as_failed(sampler: str) -> None:
    def judge(point: Point, seed: int) -> dict[str, float]:
        return {"map/multi": math.nan} if point["learning_rate"] > 0.01 else rate(point, seed)

    played = Played(space(trials=14, sampler=sampler), judge)
    states = [tried.state for tried in history_of(played.plan, played.results, {})]
    assert len(states) == 14
    assert {"complete", "failed"} == set(states)
    assert f"{states.count('failed')} failed" in played.words()
    nothing = Played(space(trials=4), lambda *_: {"map/multi": math.nan})
    assert "No cell has map/multi as finite numbers" in nothing.words()


def test_a_constant_objective_is_said() -> None:
    played = Played(space(trials=5), lambda *_: {"map/multi": 0.25})
    assert "All 5 cells have the same map/multi" in played.words()


def test_a_constraint_that_is_never_met_confirms_nothing() -> None:
    limit = [{"metric": "rank_distance", "at_most": 3}]
    judge: Judge = lambda p, s: rate(p, s) | {"rank_distance": 5 + p["learning_rate"]}  # noqa: E731
    played = Played(space(trials=5, constraints=limit, confirm={"top": 1, "seeds": 2}), judge)
    assert {trial.phase for trial in played.asked} == {"search"}
    assert "No cell keeps to rank_distance at most 3" in played.words()
    assert "nothing was confirmed" in played.words()


def test_a_space_of_one_point_is_one_cell() -> None:
    played = Played(space({"learning_rate": [0.01]}, trials=5), rate)
    assert len(played.asked) == 1
    assert played.reason == "every point of the space has been tried (1)"


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"trials": 0}, "the budget of 0 trials is spent"),
        ({"hours": 1e-5}, "0.036 seconds is spent: it is smaller than one trial"),
        ({"accelerator_hours": 1e-5}, "of trials is spent: it is smaller than one trial"),
    ],
)
def test_a_budget_smaller_than_one_trial_runs_none(budget: dict[str, Any], said: str) -> None:
    asked = space(confirm={"top": 1, "seeds": 2}, **budget)
    played = Played(asked, rate, spent=Spent(wall=1.0, busy=1.0))
    assert played.asked == []
    assert said in played.reason


def test_hours_keep_room_for_the_confirmation() -> None:
    """Ten trials took 600 s on two workers; three more of 60 s each are 90 s there."""
    asked = space(hours=0.1, confirm={"top": 1, "seeds": 3})
    for wall, more_of_it in ((200.0, True), (215.0, False)):
        now = Spent(wall=wall, busy=600.0, ended=10, workers=2, finished=600.0)
        played = Played(space(trials=2), rate)
        plan, _ = make_plan(asked, "small", "demo", {}, optimize=asked.for_tier("demo").optimize)
        assert plan.search is not None
        search = Search(plan.search, Points(plan.search, played.points.resolver))
        assert isinstance(search.next(plan, Observations(spent=now)), ProposedTrial) is more_of_it


def test_a_target_ends_a_search() -> None:
    played = Played(space(trials=50, target=0.9), rate)
    assert len(played.asked) < 50
    assert played.reason == "the target map/multi 0.9 is reached"


def test_seeds_go_to_contenders_and_to_no_others() -> None:
    played = Played(space(trials=60, seeds={"first": 1, "most": 4}), rate)
    history = history_of(played.plan, played.results, {})
    ranked = sorted(history, key=lambda tried: -tried.values[0])
    several = [tried for tried in history if tried.seeds > 1]
    assert several
    assert max(tried.seeds for tried in history) <= 4
    assert sum(tried.seeds - 1 for tried in history) <= 20
    assert all(ranked.index(tried) < len(ranked) / 2 for tried in several)
    assert sum(tried.seeds for tried in history) == 60


def test_every_cell_gets_its_first_seeds_before_the_next_cell() -> None:
    played = Played(space(trials=9, seeds=3), rate)
    assert [trial.seed for trial in played.asked] == [0, 1, 2] * 3
    assert [trial.proposal.number for trial in played.asked] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_what_needs_too_much_memory_is_not_run() -> None:
    class Estimator:
        def needs(self, spec: Spec) -> tuple[float, float]:
            return 5.0, 4e9 if spec.sampling == "X-X" else 1e9

    asked = space(trials=10, memory_gb=2, objectives=["map/multi", OPERATIONS])
    played = Played(asked, rate, Estimator())
    assert {trial.spec.sampling for trial in played.asked} == {"hybrid"}
    assert {trial.proposal.known[OPERATIONS] for trial in played.asked} == {5.0}
    impossible = Points(
        SearchPlan.model_validate(dict(played.search) | {"memory_gb": 0.5}),
        played.points.resolver,
        Estimator(),  # type: ignore[arg-type]
    )
    with pytest.raises(UserError, match=r"no point of the space may be run.*memory_gb is 0.5"):
        refuse_impossible(impossible)


def test_trials_that_run_are_waited_for_only_when_they_matter() -> None:
    played = Played(space(trials=2, confirm={"top": 1, "seeds": 1}), rate)
    plan, search = played.plan.planned, Search(played.search, played.points)
    first = search.next(plan, Observations())
    assert isinstance(first, ProposedTrial)
    second = search.next(plan.joined([first]), Observations())
    assert isinstance(second, ProposedTrial)
    assert first.digest != second.digest
    both = plan.joined([first, second])
    assert isinstance(search.next(both, Observations()), Waiting)
    done = {t.digest: {"validation": rate(t.params, 0)} for t in (first, second)}
    assert isinstance(search.next(both, Observations({first.digest: done[first.digest]})), Waiting)
    confirm = search.next(both, Observations(done))
    assert isinstance(confirm, ProposedTrial)
    assert confirm.phase == "confirm"
    failed = search.next(both, Observations({}, dict.fromkeys(done, "failed")))
    assert isinstance(failed, Over)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_search_goes_on_from_its_journal_as_if_nothing_had_happened(
    tmp_path: Path, sampler: str
) -> None:
    asked = space(trials=30, sampler=sampler, population=5, seeds={"first": 1, "most": 2})
    whole = Played(asked, rate)
    folder = StudyFolder.of(tmp_path, "s")
    folder.path.mkdir(parents=True)
    folder.save_plan(whole.plan)
    note(folder, whole.asked[:17])
    read = folder.plan()
    assert read is not None
    assert len(read.cells) < len(whole.plan.cells)
    assert read.differences(whole.plan) == []
    again = Search(whole.search, Points(whole.search, Resolver(None, read.primary)))
    known = {t.digest: whole.results[t.digest] for t in whole.asked[:17]}
    found = again.next(read, Observations(known))
    assert isinstance(found, ProposedTrial)
    assert found.line() == whole.asked[17].line()


def note(folder: StudyFolder, proposals: Iterable[ProposedTrial]) -> None:
    with folder.lease() as journal:
        journal.note_all("proposal", [{"proposal": trial.line()} for trial in proposals])


def test_a_damaged_line_of_a_journal_of_before_is_passed_over(tmp_path: Path) -> None:
    played = Played(space(trials=3), rate)
    folder = StudyFolder.of(tmp_path, "s")
    folder.path.mkdir(parents=True)
    path = folder.path / "asked.jsonl"
    lines = [json.dumps(trial.line()) for trial in played.asked]
    changed = lines[1].replace('"batch_size": 8', '"batch_size": 9')
    assert changed != lines[1]
    path.write_text("\n".join([lines[0], changed, lines[2][:50]]), encoding="utf-8")
    assert folder.record().proposals == played.asked[:1]


def test_a_budget_is_no_part_of_what_a_search_is() -> None:
    def plan(**more_of_it: Any) -> Plan:
        asked = space(**more_of_it)
        return make_plan(asked, "small", "demo", {}, optimize=asked.for_tier("demo").optimize)[0]

    one = plan(trials=3)
    assert one.differences(plan(trials=9, hours=2)) == []
    assert one.frozen == plan(trials=9).frozen
    assert any("sampler" in line for line in one.differences(plan(trials=3, sampler="qmc")))
    assert one.frozen != plan(trials=3, sampler="qmc").frozen
    assert one.search is not None
    assert one.search.with_budget({"trials": 9}).trials == 9


def test_a_grid_becomes_a_search_where_a_sampler_is_named() -> None:
    grid = Space.model_validate(
        {"question": "?", "search": {"alpha": [0, 0.5]}, "tiers": {"demo": {}, "full": {}}}
    )
    assert search_options(grid, "demo", None, {}) is None
    assert search_options(grid, "demo", "grid", {}) is None
    found = search_options(grid, "demo", "tpe", {"trials": 4}, seeds=2)
    assert found is not None
    assert (found.sampler, found.trials, found.seeds.first) == ("tpe", 4, 2)
    with pytest.raises(UserError, match="--trials: this space is a grid"):
        search_options(grid, "demo", None, {"trials": 4})
    with pytest.raises(UserError, match="--sampler bayes: choose grid, random"):
        search_options(grid, "demo", "bayes", {})
    asked = space(sampler="grid")
    with pytest.raises(UserError, match="sampler grid: learning_rate is a continuous range"):
        make_plan(asked, "small", "demo", {}, optimize=asked.for_tier("demo").optimize)


def test_fixing_a_searched_setting_leaves_its_conditions_behind() -> None:
    asked = space()
    plan, _ = make_plan(
        asked, "small", "demo", {"sampling": "hybrid"}, optimize=asked.for_tier("demo").optimize
    )
    assert plan.search is not None
    assert list(plan.search.ranges) == ["alpha", "learning_rate"]
    assert plan.search.ranges["alpha"].when is None


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ({"alhpa": 0.5}, "alhpa is not searched"),
        ({"alpha": 0.3}, "alpha: 0.3 is outside"),
        ({"sampling": "X-X", "alpha": 0.5}, "alpha has no effect"),
    ],
)
def test_points_outside_the_space_are_refused(point: dict[str, Any], said: str) -> None:
    asked = space(points=[point])
    with pytest.raises(UserError, match=said):
        make_plan(asked, "small", "demo", {}, optimize=asked.for_tier("demo").optimize)


def test_the_expected_best_is_the_mean_over_all_choices() -> None:
    values = [0.9, 0.7, 0.4, 0.3, 0.1]
    for k in range(1, 6):
        chosen = [max(part) for part in itertools.combinations(values, k)]
        assert expected_best(values, k) == pytest.approx(sum(chosen) / len(chosen))


def test_what_more_would_buy_is_said_in_the_objectives_direction() -> None:
    search = Played(space(trials=1), rate).search
    cells = [EvaluatedCell({"n": n}, "complete", (n / 16,)) for n in range(16)]
    assert "all reached map/multi 0.9375" not in more(search, cells[:4])
    text = more(search, cells)
    assert "all reached 0.9375; twice as many may be expected to reach about 0." in text


def test_time_is_counted_over_launches_and_what_a_dead_driver_ran() -> None:
    events = [
        Moment("planned", "", 0.0),
        Moment("launch", "", 10.0),
        Moment("started", "a", 10.5),
        Moment("running", "a", 11.0),
        Moment("complete", "a", 15.0),
        Moment("running", "b", 16.0),
        Moment("running", "c", 18.0),
        Moment("planning", "", 100.0),
        Moment("launch", "", 110.0),
        Moment("running", "b", 111.0),
        Moment("failed", "b", 119.0),
        Moment("end", "", 120.0),
    ]
    assert spent(events[:7]) == Spent(wall=8.0, busy=4.0 + 2.0, ended=1, finished=4.0)
    found = spent(events)
    assert found.ended == 2
    assert found.wall == pytest.approx(8.0 + 10.0)
    assert found.busy == pytest.approx(4.0 + 2.0 + 8.0)
    assert found.each == pytest.approx((4.0 + 8.0) / 2), "what a lost trial took is no trial's time"


def test_a_genetic_search_of_few_generations_is_advised_against() -> None:
    search = Played(space(trials=1), rate).search
    few = search.model_copy(update={"sampler": "nsga2", "trials": 59})
    assert "choose --sampler qmc or random" in advice(few)
    assert advice(few.model_copy(update={"trials": 60})) == ""
    assert advice(search) == ""


def test_a_cell_with_a_pruned_seed_is_never_the_best() -> None:
    """Seed 1 was asked for while seed 0 ran, did well, and seed 0 was pruned."""
    asked = space({"learning_rate": [0.01, 0.02]}, sampler="grid", seeds={"first": 2, "most": 2})
    played = Played(asked, rate)
    assert played.plan.search is not None
    cells = [cell for cell in played.plan.cells if cell.proposal is not None]
    lost = cells[0].trials[0].digest
    values = {t.digest: {"map/multi": 0.9} for t in cells[0].trials}
    values |= {t.digest: {"map/multi": 0.5} for t in cells[1].trials}
    results = {digest: {"validation": v} for digest, v in values.items() if digest != lost}
    history = history_of(played.plan, results, {lost: "pruned"}, {lost: {8: 0.2}})
    assert [cell.state for cell in history] == ["pruned", "complete"]
    assert history[0].reached == {8: 0.2}
    assert [cell.params for cell in front(played.plan.search, history)] == [cells[1].params]


def test_more_seeds_after_a_confirmation_are_those_that_are_free() -> None:
    confirm = {"top": 1, "seeds": 3}
    asked = space({"learning_rate": [0.01, 0.02]}, sampler="grid", confirm=confirm)
    played = Played(asked, rate)
    winner = next(t.params for t in played.asked if t.phase == "confirm")
    used = [t.seed for t in played.asked if t.params == winner]
    assert used == [0, 1, 2, 3]
    played.search = played.search.model_copy(
        update={"seeds": played.search.seeds.model_copy(update={"first": 5, "most": 5})}
    )
    played.asked, played.reason = [], ""
    while not played.reason:
        played.step()
    assert [t.seed for t in played.asked if t.params == winner and t.phase == "search"] == [4]
    other = [t.seed for t in played.asked if t.params != winner and t.phase == "search"]
    assert other == [1, 2, 3, 4]


def test_pruned_cells_are_no_credit_for_more_seeds() -> None:
    search = Played(space(trials=1), rate).search
    seeds = search.seeds.model_copy(update={"first": 2, "most": 5})
    search = search.model_copy(update={"seeds": seeds})
    complete = [
        EvaluatedCell({"n": n}, "complete", (n / 16,), spread=1.0, seeds=2) for n in range(10)
    ]
    pruned = [EvaluatedCell({"n": n}, "pruned", ()) for n in range(10, 30)]
    asked = {named(cell.params): 2 for cell in complete} | {named(p.params): 1 for p in pruned}
    assert next_seed(search, [*complete, *pruned], asked) is not None
    for cell in complete[:5]:
        asked[named(cell.params)] += 1
    assert next_seed(search, [*complete, *pruned], asked) is None, "a third have further seeds"


def test_what_running_trials_took_is_counted_once() -> None:
    """A minute into 16 trials of a minute each, of which one has ended."""
    clock = Clock(Spent())
    clock.begin(16)
    for n in range(16):
        clock.running[str(n)] = time.monotonic() - 60
    clock.ended("0")
    now = clock.spent()
    assert now.each == pytest.approx(60, abs=5)
    search = Played(space(trials=1), rate).search
    budget = search.model_copy(update={"trials": 100, "accelerator_hours": 0.3})
    assert over(budget, 16, [], now, 15) == "", "1,020 of 1,080 seconds"
    assert over(budget, 17, [], now, 16) != "", "one more waits for a place"


def test_a_retry_long_after_a_driver_died_is_no_time_of_it() -> None:
    events = [
        Moment("launch", "", 0.0),
        Moment("running", "a", 100.0),
        Moment("opened", "", 1e6),
        Moment("retry", "b", 1e6),
    ]
    assert spent(events) == Spent(wall=100.0, busy=0.0)


def test_what_other_studies_gave_outlives_an_extension() -> None:
    plan = Played(space(trials=1), rate).plan
    assert plan.search is not None

    def having(**changes: Any) -> Plan:
        assert plan.search is not None
        return plan.model_copy(update={"search": plan.search.model_copy(update=changes)})

    before = having(transferred=({"learning_rate": 0.01},))
    assert extended(before, plan).search == before.search
    other = extended(before, having(warm_start=("x",))).search
    assert other is not None
    assert other.transferred == ()
