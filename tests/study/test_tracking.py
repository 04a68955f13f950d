"""The MLflow view against real stores: what it says, once, and that it never harms a study."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.tracking import StudyInfo, Tracker, TrialView, default_uri, metric_name, studies
from study.tracking.mlflow_storage import MlflowStore, open_client
from study.tracking.values import MAX_PAIRS, points, without_pairs

if TYPE_CHECKING:
    from mlflow.entities import Run

STUDY = StudyInfo(
    name="mixing_ratio-demo",
    space="mixing_ratio",
    tier="demo",
    question="Does a mix of batches serve both settings?",
    params={"primary": "map/mono", "trials": 3},
    tags={"frozen": "ab12"},
)
CLOSE = 120.0


def trial(number: int, **changes: object) -> TrialView:
    draw = random.Random(number)
    view = TrialView(
        digest=f"{number:020x}",
        name=f"X-X seed={number}",
        state="complete",
        reason="",
        params={"sampling": "X-X", "batch_size": 32, "learning_rate": 1e-3, "alpha": None},
        seed=number,
        metrics={"map/mono": draw.random(), "map/mono/de": draw.random()},
        history=[(step, {"train/loss": draw.random()}) for step in (10, 20, 30)],
        tags={"zero_shot": "none found"},
        artifacts={"spec.json": json.dumps({"seed": number})},
    )
    return replace(view, **changes)  # type: ignore[arg-type]


def tracking(uri: str, study: StudyInfo) -> Tracker:
    """What fills MLflow's store at `uri`."""
    return Tracker(partial(MlflowStore, uri, study))


@pytest.fixture(scope="module")
def store_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One SQLite store for the module: creating its hundred tables takes seconds."""
    return tmp_path_factory.mktemp("a root, 100% odd")


@pytest.fixture
def uri(store_of_tests: Path) -> str:
    return default_uri(store_of_tests)


@pytest.fixture
def study(request: pytest.FixtureRequest) -> StudyInfo:
    """A study of its own for each test, in one store."""
    return replace(STUDY, name=request.node.name, space=f"space of {request.node.name}")


def fill(uri: str, study: StudyInfo, *trials: TrialView) -> None:
    tracker = tracking(uri, study)
    for view in trials:
        tracker.record(view)
    assert tracker.close(CLOSE) == [], tracker.problem


def runs(uri: str, study: StudyInfo, kind: str = "trial") -> list[Run]:
    client = open_client(uri)
    experiment = client.get_experiment_by_name(study.space)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'"))


def stored_points(uri: str, run: Run) -> list[tuple[str, float, int]]:
    client = open_client(uri)
    return sorted(
        (name, point.value, point.step)
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    )


def test_child_says_what_the_trial_says(uri: str, study: StudyInfo, store_of_tests: Path) -> None:
    view = trial(1, started_ms=1_700_000_000_000, ended_ms=1_700_000_060_000)
    fill(uri, study, view)
    [run] = runs(uri, study)
    [parent] = runs(uri, study, "study")
    assert run.info.run_name == "X-X seed=1"
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_000, 1_700_000_060_000)
    assert run.data.params == {
        "sampling": "X-X",
        "batch_size": "32",
        "learning_rate": "0.001",
        "seed": "1",
    }
    assert run.data.metrics["map/mono"] == view.metrics["map/mono"]
    expected = {"digest": view.digest, "study": study.name, "tier": "demo", "frozen": "ab12"}
    assert expected.items() <= run.data.tags.items()
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.params == {"primary": "map/mono", "trials": "3"}
    assert parent.data.tags["mlflow.note.content"] == study.question
    assert parent.info.status == "FINISHED"
    [spec] = store_of_tests.glob(f"mlartifacts/{run.info.run_id}/artifacts/spec.json")
    assert json.loads(spec.read_text()) == {"seed": 1}


def test_writing_again_changes_nothing(uri: str, study: StudyInfo) -> None:
    views = [trial(1), trial(2)]
    fill(uri, study, *views)
    before = {run.info.run_id: stored_points(uri, run) for run in runs(uri, study)}
    fill(uri, study, *views)
    assert {run.info.run_id: stored_points(uri, run) for run in runs(uri, study)} == before
    [parent] = runs(uri, study, "study")
    [found] = [s for s in studies(uri) if s.name == study.name]
    assert (found.parent_id, set(found.run_ids)) == (parent.info.run_id, set(before))


def test_an_interrupted_write_is_completed_without_duplicates(uri: str, study: StudyInfo) -> None:
    fill(uri, study, trial(1))
    [run] = runs(uri, study)
    # As a driver leaves it that was killed before the last call: all points, still running.
    open_client(uri).update_run(run.info.run_id, status="RUNNING")
    before = stored_points(uri, run)
    fill(uri, study, trial(1))
    [again] = runs(uri, study)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert stored_points(uri, again) == before == sorted(points(trial(1)))


def test_a_trial_that_says_something_else_replaces_its_run(uri: str, study: StudyInfo) -> None:
    lost = trial(1, state="failed", reason="out of memory", metrics={}, history=[(10, {"a": 1.0})])
    fill(uri, study, lost)
    [run] = runs(uri, study)
    assert (run.info.status, run.data.tags["reason"]) == ("FAILED", "out of memory")
    fill(uri, study, trial(1))
    [run] = runs(uri, study)
    assert run.info.status == "FINISHED"
    assert stored_points(uri, run) == sorted(points(trial(1)))


def test_an_extended_study_keeps_its_trials_and_says_its_new_size(
    uri: str, study: StudyInfo
) -> None:
    fill(uri, study, trial(1))
    [before] = runs(uri, study)
    fill(uri, replace(study, params={"primary": "map/mono", "trials": 9}), trial(1), trial(2))
    assert before.info.run_id in {run.info.run_id for run in runs(uri, study)}
    [parent] = runs(uri, study, "study")
    assert (parent.data.params["trials"], parent.data.tags["now.trials"]) == ("3", "9")


def test_two_studies_of_a_space_may_share_a_trial(uri: str, study: StudyInfo) -> None:
    fill(uri, study, trial(1))
    fill(uri, replace(study, name="it's another"), trial(1))
    names = sorted(run.data.tags["study"] for run in runs(uri, study))
    assert names == sorted([study.name, "it's another"])


def test_pruned_and_its_reason(uri: str, study: StudyInfo) -> None:
    fill(uri, study, trial(1, state="pruned", reason="x" * 10_000))
    [run] = runs(uri, study)
    assert run.info.status == "KILLED"
    assert run.data.tags["reason"] == "x" * 8000


def test_many_pairs_go_to_an_artifact(uri: str, study: StudyInfo, store_of_tests: Path) -> None:
    languages = [f"l{number}" for number in range(13)]
    pairs = {f"map/cross/{a}-{b}": 0.5 for a in languages for b in languages if a != b}
    fill(uri, study, trial(1, metrics={"map/cross": 0.5, **pairs}))
    [run] = runs(uri, study)
    assert set(run.data.metrics) == {"map/cross", "train/loss"}
    [file] = store_of_tests.glob(f"mlartifacts/{run.info.run_id}/artifacts/pairs.json")
    assert json.loads(file.read_text()) == pairs


def test_pairs_of_twelve_languages_stay() -> None:
    pairs = {f"map/cross/{number}": 0.5 for number in range(MAX_PAIRS)}
    assert without_pairs(pairs) == (pairs, {})


def test_summary_adds_a_point_only_where_something_changed(
    uri: str, study: StudyInfo, store_of_tests: Path
) -> None:
    for value in (0.5, 0.5, 0.75):
        tracker = tracking(uri, study)
        tracker.summarize({"best/map/mono": value}, {"table.txt": f"mean {value}\n"})
        assert tracker.close(CLOSE) == []
    [parent] = runs(uri, study, "study")
    assert stored_points(uri, parent) == [("best/map/mono", 0.5, 0), ("best/map/mono", 0.75, 1)]
    [table] = store_of_tests.glob(f"mlartifacts/{parent.info.run_id}/artifacts/table.txt")
    assert table.read_text() == "mean 0.75\n"


def test_one_bad_trial_does_not_hold_up_the_others(uri: str, study: StudyInfo) -> None:
    tracker = tracking(uri, study)
    bad = trial(1, metrics={"map@10": 0.5})
    tracker.record(bad)
    tracker.record(trial(2))
    assert tracker.close(CLOSE) == [bad.digest]
    assert "FINISHED" in {run.info.status for run in runs(uri, study)}


def test_a_run_id_in_the_environment_is_ignored(
    uri: str, study: StudyInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    fill(uri, study, trial(1))
    [run] = runs(uri, study)
    [parent] = runs(uri, study, "study")
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id


NAMES = st.text(st.sampled_from("abZ09_-. :/"), min_size=1, max_size=30)


@given(NAMES)
def test_every_name_that_passes_is_accepted_by_mlflow(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    try:
        assert metric_name(name) == name
    except ValueError:
        return
    _validate_metric_name(name)  # type: ignore[no-untyped-call]
    _validate_param_name(name)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "name",
    ["", "map@10", "map/", "/map", "a//b", "../a", "a/./b", "é", "map\n", "m" * 251, "a=b", "a(b)"],
)
def test_refused_names(name: str) -> None:
    with pytest.raises(ValueError, match="allowed are"):
        metric_name(name)


@pytest.mark.parametrize("name", ["map/cross/zh-Hant-en", "recall_at_1/mono/de", "rank_distance"])
def test_names_of_this_project_pass(name: str) -> None:
    assert metric_name(name) == name


def test_final_numbers_win_over_history_at_the_last_step() -> None:
    view = trial(1, metrics={"loss": 2.0}, history=[(1, {"loss": 5.0}), (2, {"loss": 4.0})])
    assert sorted(points(view)) == [("loss", 2.0, 2), ("loss", 5.0, 1)]


def test_a_closed_port_costs_nothing_and_is_reported(study: StudyInfo) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tracker = tracking(f"http://user:secret@127.0.0.1:{port}", study)
    start = time.monotonic()
    for number in range(100):
        tracker.record(trial(number))
    assert time.monotonic() - start < 1
    assert tracker.close(1) == sorted(trial(number).digest for number in range(100))
    assert time.monotonic() - start < 3


def test_a_password_in_an_error_is_not_repeated(
    uri: str, study: StudyInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(store: MlflowStore, trial: TrialView) -> None:
        raise OSError("cannot reach https://me:secret@host/api")

    monkeypatch.setattr(MlflowStore, "write", broken)
    tracker = tracking(uri, study)
    tracker.record(trial(1))
    assert tracker.close(CLOSE) == [trial(1).digest]
    assert tracker.problem == "OSError: cannot reach https://me:***@host/api"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a real MLflow server on 127.0.0.1, any number of times, always on one port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        log = (tmp_path / "server.log").open("w")
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"),
                *("--artifacts-destination", str(tmp_path / "artifacts")),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        process.port = port  # type: ignore[attr-defined]
        started.append(process)
        end = time.monotonic() + 120
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert time.monotonic() < end, (tmp_path / "server.log").read_text()
            time.sleep(0.2)
        return process

    yield start
    for process in started:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_server_killed_on_the_way_never_slows_the_study(
    server: Callable[[], subprocess.Popen[bytes]], study: StudyInfo
) -> None:
    process = server()
    uri = f"http://127.0.0.1:{process.port}"  # type: ignore[attr-defined]
    fill(uri, study, trial(1), trial(2))
    tracker = tracking(uri, study)
    tracker.record(trial(3))
    kill(process)
    start = time.monotonic()
    for number in range(4, 10):
        tracker.record(trial(number))
        assert time.monotonic() - start < 1
    lost = tracker.close(5)
    assert time.monotonic() - start < 7
    assert set(lost) >= {trial(number).digest for number in range(4, 10)}
    assert tracker.problem

    server()
    fill(uri, study, *(trial(number) for number in range(1, 10)))
    found = runs(uri, study)
    assert sorted(run.data.tags["digest"] for run in found) == [
        trial(number).digest for number in range(1, 10)
    ]
    for run in found:
        number = int(run.data.tags["digest"], 16)
        assert stored_points(uri, run) == sorted(points(trial(number)))


@pytest.mark.slow
def test_a_server_that_never_answers_never_slows_the_study(study: StudyInfo) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        tracker = tracking(f"http://127.0.0.1:{silent.getsockname()[1]}", study)
        start = time.monotonic()
        tracker.record(trial(1))
        assert tracker.close(2) == [trial(1).digest]
        assert time.monotonic() - start < 4


@pytest.mark.slow
def test_mlflow_prints_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from tests.study.test_tracking import STUDY, fill, trial, default_uri\n"
        "fill(default_uri(Path(sys.argv[1])), STUDY, trial(1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parents[2])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
