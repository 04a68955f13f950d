"""A study that stops trials early: what is stopped stays so, wherever its driver is killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from study.cli.status import describe
from study.cli.workspace import Workspace
from study.driver import driver
from study.search.cannot_win import looking
from study.search.pruning import Pruning
from study.spaces.fidelity import Fidelity
from study.state.committed import committed_results
from study.state.rungs import Rung
from study.state.study_folder import StudyFolder
from tests.study.inline import SPACE, mlflow_trials, optuna_rows, states, study, warm, write_space
from trainables import faults
from trainables.trial.trial_folder import TrialFolder

POINTS = (*faults.RUNG_POINTS, "trial.ended", "start.noted", "committed", "completion.noted")
ALPHAS = "[0, 0.2, 0.4, 0.6, 0.8, 1]"


@pytest.fixture(autouse=True)
def _asha(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rungs after one and two of three steps of eight rows; half of them go on."""
    fidelity = Fidelity(kind="asha", first=8, factor=2)
    monkeypatch.setattr(driver, "pruning_of", lambda plan: Pruning(fidelity, plan.primary))


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = SPACE.replace("[0, 0.5]", ALPHAS).replace("{alpha: 0.5}", "{alpha: 0.4}")
    return write_space(tmp_path_factory.mktemp("space"), text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, space: Path) -> Path:
    """A study that nobody disturbed."""
    warm()
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        fidelity = Fidelity(kind="asha", first=8, factor=2)
        patch.setattr(driver, "pruning_of", lambda plan: Pruning(fidelity, plan.primary))
        assert study(root, space) == 0
    return root


def rungs(root: Path) -> list[dict[str, Any]]:
    return [rung.to_json() for rung in StudyFolder.of(root, "s").record().rungs]


def results(root: Path) -> dict[str, bytes]:
    return {p.parents[2].name: p.read_bytes() for p in root.glob("trials/*/*/*/result.json")}


def assert_alike(root: Path, whole: Path) -> None:
    """The same decisions in the same order, the same ends, the same numbers."""
    assert rungs(root) == rungs(whole)
    assert states(root) == states(whole)
    assert dict(optuna_rows(root)) == dict(optuna_rows(whole))
    assert results(root) == results(whole)
    status = {digest: state for digest, (state, _) in mlflow_trials(root).items()}
    assert status == {digest: state for digest, (state, _) in mlflow_trials(whole).items()}


def test_stopped_trials_are_pruned_and_have_no_result(whole: Path) -> None:
    stopped = {line["trial"] for line in rungs(whole) if line["stop"]}
    rows = states(whole)
    assert {digest for digest, state in rows.items() if state == "pruned"} == stopped
    assert 2 <= len(stopped) <= 5
    assert results(whole).keys() == rows.keys() - stopped
    for digest in stopped:
        assert list((whole / "trials" / digest).glob("attempts/001/checkpoint/step-*.pt"))
        assert mlflow_trials(whole)[digest][0] == "KILLED"
    for digest, state in rows.items():
        if state == "complete":
            assert mlflow_trials(whole)[digest][0] == "FINISHED"


def test_status_shows_them_apart(whole: Path) -> None:
    home = Workspace.open(str(whole))
    plan, record = home.plan("s"), home.study("s").record()
    report = describe(plan, home, record, committed_results(whole, plan.specs))
    stopped = {line["trial"]: line for line in rungs(whole) if line["stop"]}
    assert report["pruned"] == len(stopped)
    assert report["complete"] + report["pruned"] == report["planned"]
    for trial in report["trials"]:
        line = stopped.get(trial["digest"])
        assert (trial["state"] == "pruned") == (line is not None)
        if line is not None:
            assert trial["metrics"] == {}
            assert trial["reason"] == line["why"]
            assert trial["fidelity"] == {"examples": line["examples"], "value": line["value"]}
    best = [t["params"] for t in report["trials"] if t["digest"] not in stopped]
    assert report["best"]["params"] in best


def test_the_same_command_again_runs_nothing(tmp_path: Path, whole: Path, space: Path) -> None:
    output = tmp_path / "output"
    before = {path: path.stat().st_mtime_ns for path in whole.glob("trials/*/*/*/*")}
    assert study(whole, space, output=output) == 0
    assert {path: path.stat().st_mtime_ns for path in whole.glob("trials/*/*/*/*")} == before
    said = output.read_text(encoding="utf-8")
    assert "every planned trial has ended" in said
    assert "trials were stopped early" in said


def test_a_study_killed_again_and_again_decides_as_if_nothing_had_happened(
    tmp_path: Path, whole: Path, space: Path
) -> None:
    for point in POINTS:
        assert study(tmp_path, space, fault=f"save point=step; kill point={point}") == -9, point
    assert study(tmp_path, space) == 0
    assert_alike(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("hit", [1, 2, 3])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_changes_no_decision(
    tmp_path: Path, whole: Path, space: Path, point: str, hit: int
) -> None:
    assert study(tmp_path, space, fault=f"kill point={point} hit={hit}") in (0, -9)
    assert study(tmp_path, space) == 0
    assert_alike(tmp_path, whole)


def test_lost_views_know_the_pruned_again(tmp_path: Path, space: Path, whole: Path) -> None:
    assert study(tmp_path, space) == 0
    (tmp_path / "optuna.db").unlink()
    (tmp_path / "mlflow.db").unlink()
    assert study(tmp_path, space) == 0
    assert_alike(tmp_path, whole)


def test_another_study_completes_a_pruned_trial_from_its_checkpoint(
    tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert study(tmp_path, space) == 0
    stopped = {line["trial"]: line for line in rungs(tmp_path) if line["stop"]}
    monkeypatch.setattr(driver, "pruning_of", lambda plan: None)
    assert study(tmp_path, space, "--name", "t") == 0
    assert set(states(tmp_path, "t").values()) == {"complete"}
    for digest, line in stopped.items():
        folder = TrialFolder.of(tmp_path, digest).committed()
        environment = json.loads((folder / "environment.json").read_bytes())
        assert environment["resumed_at"] == line["step"]
    monkeypatch.undo()
    assert study(tmp_path, space) == 0
    assert set(states(tmp_path).values()) == {"complete"}, "a result is a result, whosever"


def test_pruned_trials_are_completed_on_request(tmp_path: Path, space: Path) -> None:
    assert study(tmp_path, space) == 0
    stopped = {line["trial"]: line for line in rungs(tmp_path) if line["stop"]}
    assert study(tmp_path, space, "--retry", "pruned", fault="kill point=launch.noted") == -9
    assert study(tmp_path, space) == 0
    assert set(states(tmp_path).values()) == {"complete"}
    assert stopped.keys() <= results(tmp_path).keys()
    assert study(tmp_path, space) == 0
    assert set(states(tmp_path).values()) == {"complete"}


def test_the_queries_behind_every_rung_are_kept(whole: Path) -> None:
    """What the bootstrap reads of a trial, stopped or complete, is what its rung says."""
    look = looking(whole, "map/multi")
    for line in rungs(whole):
        rung = Rung.read(line)
        assert rung is not None
        found = look(rung)
        assert found is not None
        assert found.scores.value == pytest.approx(line["value"], abs=1e-12)
        assert found.seed == 0
        assert len(found.scores.clusters) > 10
