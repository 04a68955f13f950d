"""A study killed between any two durable writes ends as if nothing had happened.

Nine points in one study by default; with `-m slow` every named point in a study of its own.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from study.state.record import Journal
from study.state.study_folder import StudyFolder
from tests.study.inline import (
    SPACE,
    assert_whole,
    mlflow_trials,
    optuna_rows,
    results,
    states,
    study,
    warm,
    write_space,
)
from trainables import faults

SHORT = (
    "plan.written",
    "journal.claimed",
    "start.noted",
    "checkpoint.data",
    "result.written",
    "committed",
    "completion.noted",
    "storage.written",
    "view.logged",
)
INLINE = tuple(p for p in faults.DRIVER_POINTS + faults.WORKER_POINTS if p != "reconcile.completed")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_space(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, space: Path) -> tuple[dict[str, bytes], str]:
    """Results and output of a study that nobody disturbed."""
    warm()
    root = tmp_path_factory.mktemp("whole")
    assert study(root, space) == 0
    assert study(root, space, output=root / "output") == 0
    assert_whole(root, results(root))
    return results(root), output(root)


def output(root: Path) -> str:
    """What the study said, without the place where it lies."""
    return (root / "output").read_text(encoding="utf-8").replace(str(root), "ROOT")


def survives(root: Path, space: Path, whole: tuple[dict[str, bytes], str], *points: str) -> None:
    """Kill a study once at each point, run it to its end, compare it with the whole one."""
    for point in points:
        fault = f"save point=step; kill point={point}"
        assert study(root, space, fault=fault) == -9, f"{point} is never passed"
    assert study(root, space) == 0
    assert_whole(root, whole[0])
    assert study(root, space, output=root / "output") == 0
    assert output(root) == whole[1]
    assert_whole(root, whole[0])


def test_a_study_killed_nine_times_ends_as_if_nothing_had_happened(
    tmp_path: Path, space: Path, whole: tuple[dict[str, bytes], str]
) -> None:
    survives(tmp_path, space, whole, *SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("point", INLINE)
def test_a_kill_at_any_point_changes_nothing(
    tmp_path: Path, space: Path, whole: tuple[dict[str, bytes], str], point: str
) -> None:
    survives(tmp_path, space, whole, point)


def test_a_kill_while_recovering_from_a_kill(
    tmp_path: Path, space: Path, whole: tuple[dict[str, bytes], str]
) -> None:
    survives(tmp_path, space, whole, "committed", "reconcile.completed", "view.created")


def test_a_resumed_trial_lost_at_most_what_followed_its_last_save(
    tmp_path: Path, space: Path, whole: tuple[dict[str, bytes], str]
) -> None:
    fault = "save point=step step=1; kill point=step step=2"
    assert study(tmp_path, space, fault=fault) == -9
    assert study(tmp_path, space) == 0
    assert_whole(tmp_path, whole[0])
    environments = [json.loads(p.read_bytes()) for p in tmp_path.glob("**/environment.json")]
    assert sorted(e["resumed_at"] for e in environments) == [0, 0, 1]


def test_two_studies_share_what_they_have_in_common(
    tmp_path: Path, space: Path, whole: tuple[dict[str, bytes], str]
) -> None:
    assert study(tmp_path, space) == 0
    others = SPACE.replace("[0, 0.5]", "[0.5, 1]").replace("than: {alpha: 0}", "than: {alpha: 1}")
    more = write_space(tmp_path, others)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("trials/*/manifest.json")}
    assert study(tmp_path, more, "--name", "t") == 0
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("trials/*/manifest.json")}
    assert before.items() < after.items()
    assert len(after) == len(before) + 1
    assert list(states(tmp_path, "t").values()) == ["complete"] * 3


def test_planted_faults_name_known_points_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(faults.VARIABLE, "kill point=nowhere")
    with pytest.raises(ValueError, match="nowhere"):
        faults.at("step")


def test_a_failed_trial_is_told_and_retried_on_request(tmp_path: Path, space: Path) -> None:
    warm()
    assert (
        study(tmp_path, space, fault="nan point=step step=1 digest=0 ; nan point=step step=2") == 1
    )
    failed = {digest for digest, state in states(tmp_path).items() if state == "failed"}
    assert {digest for digest, state in optuna_rows(tmp_path) if state == "FAIL"} == failed
    assert len(failed) == 2
    for digest in failed:
        assert mlflow_trials(tmp_path)[digest][0] == "FAILED"
        failure = json.loads((tmp_path / f"trials/{digest}/attempts/001/failure.json").read_bytes())
        assert failure["reason"] == "nan"
    assert study(tmp_path, space) == 1
    assert study(tmp_path, space, "--retry", "failed") == 0
    assert {status for status, _ in mlflow_trials(tmp_path).values()} == {"FINISHED"}
    assert set(dict(optuna_rows(tmp_path)).values()) == {"COMPLETE"}


def test_failed_trials_are_retried_though_every_view_was_lost(tmp_path: Path, space: Path) -> None:
    assert study(tmp_path, space, fault="nan point=step step=2") == 1
    (tmp_path / "optuna.db").unlink()
    (tmp_path / "mlflow.db").unlink()
    assert study(tmp_path, space, "--retry", "failed") == 0


def test_only_the_best_encoder_stays_though_the_driver_was_killed(
    tmp_path: Path, space: Path
) -> None:
    assert study(tmp_path, space, fault="kill point=completion.noted hit=2") == -9
    assert len(list(tmp_path.glob("trials/*/attempts/*/encoder"))) == 2
    assert study(tmp_path, space) == 0
    assert len(list(tmp_path.glob("trials/*/attempts/*/encoder"))) == 1


def test_encoders_that_all_were_to_be_kept_stay(tmp_path: Path, space: Path) -> None:
    assert study(tmp_path, space, "--keep", "all") == 0
    assert study(tmp_path, space) == 0
    assert len(list(tmp_path.glob("trials/*/attempts/*/encoder"))) == 2


def test_what_another_command_planned_meanwhile_is_not_overwritten(
    tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = StudyFolder.lease

    def late(self: StudyFolder, *, take_over: bool) -> AbstractContextManager[Journal]:
        assert isinstance(self.plan_path, Path)
        self.plan_path.parent.mkdir(parents=True, exist_ok=True)
        self.plan_path.write_bytes(b"another's")
        return lease(self, take_over=take_over)

    monkeypatch.setattr(StudyFolder, "lease", late)
    assert study(tmp_path, space) == 2
    assert (tmp_path / "studies/s/plan.json").read_bytes() == b"another's"
