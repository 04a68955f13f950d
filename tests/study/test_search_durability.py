"""A search that was killed goes on as if nothing had happened: the same trials, byte for byte.

A few points by default; with `-m slow` every point of a driver that searches, for each sampler.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from study.state.study_folder import StudyFolder
from tests.study.inline import assert_whole, results, states, study, warm, write_space
from trainables import faults

SPACE = """
question: Does a search get lost?
fixed:
  languages: [qaa, qad]
  eval_languages: [qaa, qad]
  reference_batch_size: 8
  steps: 2
search:
  sampling: [X-X, hybrid]
  alpha: {low: 0.1, high: 0.9, when: {sampling: [hybrid]}}
  batch_size: {ordered: [4, 8]}
  learning_rate: {low: 1.0e-3, high: 1.0e-1, log: true}
optimize:
  sampler: SAMPLER
  population: 2
  trials: TRIALS
  seeds: {first: 1, most: 2}
  confirm: {top: 1, seeds: 2}
tiers: {demo: {}, full: {}}
"""
MODELLED = {"tpe": 13, "nsga2": 6}
"""Trials of each search, so that its model is asked: after ten cells, or two generations."""

SHORT = ("asked.writing hit=2", "asked.written hit=2", "start.noted hit=2", "committed hit=2")
MISSED = ("reconcile.completed",)
POINTS = tuple(
    point
    for point in faults.DRIVER_POINTS + faults.SEARCH_POINTS + faults.WORKER_POINTS
    if point not in MISSED
)


def space_of(folder: Path, sampler: str) -> Path:
    text = SPACE.replace("SAMPLER", sampler).replace("TRIALS", str(MODELLED[sampler]))
    return write_space(folder, text)


def trajectory(root: Path, name: str = "s") -> list[dict[str, Any]]:
    """What the search proposed, without who wrote it down, and when."""
    return [proposal.line() for proposal in StudyFolder.of(root, name).record().proposals]


def survives(root: Path, folder: Path, whole: Path, sampler: str, *points: str) -> None:
    """Kill a search once at each point, run it to its end, compare it with the whole one."""
    space = space_of(folder, sampler)
    for point in points:
        fault = f"save point=step; kill point={point}"
        assert study(root, space, fault=fault) == -9, f"{point} is never passed"
    assert study(root, space) == 0
    assert trajectory(root) == trajectory(whole)
    assert_whole(root, results(whole))
    assert study(root, space) == 0
    assert trajectory(root) == trajectory(whole)


@pytest.fixture(scope="module", params=["nsga2", pytest.param("tpe", marks=pytest.mark.slow)])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that nobody disturbed."""
    warm()
    root = tmp_path_factory.mktemp(f"whole-{request.param}")
    assert study(root, space_of(root, request.param)) == 0
    (root / "sampler").write_text(request.param, encoding="utf-8")
    return root


def test_a_search_killed_four_times_asks_for_the_same_trials(tmp_path: Path, whole: Path) -> None:
    sampler = (whole / "sampler").read_text(encoding="utf-8")
    survives(tmp_path / "root", tmp_path, whole, sampler, *SHORT)
    lines = trajectory(whole)
    assert [line["phase"] for line in lines[-2:]] == ["confirm", "confirm"]
    assert len(lines) == MODELLED[sampler] + 2
    assert len(states(whole)) == len(lines) + 1


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_changes_nothing(tmp_path: Path, whole: Path, point: str) -> None:
    sampler = (whole / "sampler").read_text(encoding="utf-8")
    survives(tmp_path / "root", tmp_path, whole, sampler, point)


def test_more_trials_go_on_where_fewer_ended(tmp_path: Path) -> None:
    warm()
    space = space_of(tmp_path, "nsga2")
    assert study(tmp_path, space, "--trials", "2") == 0
    few = trajectory(tmp_path)
    assert study(tmp_path, space, "--trials", "4") == 0
    more = trajectory(tmp_path)
    assert more[: len(few)] == few
    phases = [line["phase"] for line in more]
    assert phases[:6] == ["search"] * 2 + ["confirm"] * 2 + ["search"] * 2
    assert study(tmp_path, space, "--sampler", "tpe") == 2


def test_another_studys_trials_are_its_own_where_they_are_equal(tmp_path: Path) -> None:
    warm()
    space = space_of(tmp_path, "nsga2")
    root = tmp_path / "root"
    assert study(root, space, "--trials", "2") == 0
    before = results(root)
    text = space.read_text(encoding="utf-8")
    warmed = text.replace("sampler: nsga2", "sampler: random\n  warm_start: [s]")
    assert warmed != text
    space.write_text(warmed, encoding="utf-8")
    assert study(root, space, "--trials", "1", "--name", "t") == 0
    asked = trajectory(root, "t")
    assert [line["phase"] for line in asked][:3] == ["warm", "warm", "search"]
    assert {line["digest"] for line in asked[:2]} <= before.keys()
    plan = json.loads((root / "studies/t/plan.json").read_bytes())
    assert len(plan["search"]["transferred"]) == 2
    other = warmed.replace("steps: 2", "steps: 3").replace("[s]", "[t]")
    space.write_text(other, encoding="utf-8")
    assert study(root, space, "--trials", "1", "--name", "u") == 0
    asked = trajectory(root, "u")
    plan = json.loads((root / "studies/u/plan.json").read_bytes())
    assert asked[0]["phase"] == "search"
    assert asked[0]["params"] == plan["search"]["transferred"][0]


def test_a_grid_asks_for_every_point_once_and_then_ends(tmp_path: Path) -> None:
    warm()
    text = SPACE.replace("TRIALS", "30").replace("{low: 0.1, high: 0.9,", "{choices: [0.2, 0.8],")
    text = text.replace("{low: 1.0e-3, high: 1.0e-1, log: true}", "[0.01]")
    text = text.replace("{first: 1, most: 2}", "1")
    root = tmp_path / "root"
    space = write_space(tmp_path, text.replace("SAMPLER", "tpe"))
    assert study(root, space, "--sampler", "grid") == 0
    asked = trajectory(root)
    searched = [json.dumps(one["params"]) for one in asked if one["phase"] == "search"]
    assert len(searched) == len(set(searched)) == 2 * (1 + 2)
    assert study(root, space, "--sampler", "grid") == 0
    assert len(trajectory(root)) == len(asked)


def test_a_search_whose_ranges_change_goes_on_marked_post_hoc(tmp_path: Path) -> None:
    warm()
    space = space_of(tmp_path, "tpe")
    root = tmp_path / "root"
    assert study(root, space, "--trials", "2") == 0
    few, before = trajectory(root), results(root)
    space.write_text(space.read_text("utf-8").replace("high: 1.0e-1", "high: 2.0e-3"), "utf-8")
    assert study(root, space, "--trials", "3") == 2, "another search under the same name"
    assert study(root, space, "--trials", "3", "--extend") == 0
    assert trajectory(root)[: len(few)] == few
    assert before.items() <= results(root).items()
    asked = trajectory(root)
    last = [one for one in asked if one["phase"] == "search"][-1]
    assert last["params"]["learning_rate"] <= 2.0e-3
    assert len(StudyFolder.of(root, "s").record().marks) == 1
