"""Whole studies whose root is an S3 bucket: killed, resumed on another machine, shared."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from study.cli.workspace import Workspace
from study.state import journal, study_folder
from study.state.committed import committed_results
from study.state.journal import Reading
from study.state.study_folder import StudyFolder
from tests.objects import SECRET
from tests.samples import values
from tests.study.inline import mlflow_trials, optuna_rows, results, study, warm, write_space
from trainables import faults
from trainables.errors import NotNowError
from trainables.spec import build_spec
from trainables.storage import atomic as storage
from trainables.storage.paths import files_under, matching
from trainables.trial.trial_folder import TrialFolder

DYING = """
import os, signal, sys
from pathlib import Path
from study.cli.workspace import Workspace
with Workspace.open(sys.argv[1], Path(sys.argv[2])).study("s").lease() as journal:
    journal.note("planning", durable=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""A driver of study `s` that is killed."""

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def url(s3: str) -> str:
    return f"{s3}/{uuid.uuid4().hex}/prefix"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_space(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, space: Path) -> dict[str, bytes]:
    """Results of the same study on a local root that nobody disturbed."""
    warm()
    root = tmp_path_factory.mktemp("local")
    assert study(root, space) == 0
    return results(root)


def assert_whole(url: str, state: Path, expected: dict[str, bytes]) -> None:
    """Every trial complete once, with the numbers of the local study, and nothing else there."""
    root = Workspace.open(url).root
    kept = matching(root, "trials/*/attempts/*/result.json")
    assert {path.parents[2].name: path.read_bytes() for path in kept} == expected
    assert committed_results(root, expected).keys() == expected.keys()
    for digest in expected:
        folder = TrialFolder.of(root, digest)
        assert folder.spec().digest == digest
        assert len(matching(folder.path, "attempts/*")) == 1
        tops = {name.split("/")[0] for name in files_under(folder.path)}
        assert tops == {"attempts", "manifest.json", "spec.json"}
        assert not any("checkpoint/" in name for name in files_under(folder.path))
    assert dict(optuna_rows(state)) == dict.fromkeys(expected, "COMPLETE")
    assert {d: status for d, (status, _) in mlflow_trials(state).items()} == dict.fromkeys(
        expected, "FINISHED"
    )


def assert_no_secret(url: str, *folders: Path) -> None:
    root = Workspace.open(url).root
    paths = [root / name for name in files_under(root)]
    local = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(paths) > 10
    assert not [path for path in [*paths, *local] if SECRET.encode() in path.read_bytes()]


def test_a_killed_study_is_resumed_by_a_machine_that_has_only_the_bucket(
    url: str, space: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    fault = "save point=step; kill point=committed hit=2"
    assert study(url, space, "--state", str(first), fault=fault) == -9
    assert study(url, space, "--state", str(second)) == 130, "the first may yet live"
    assert study(url, space, "--state", str(second), "--take-over") == 0
    assert_whole(url, second, expected)
    output = tmp_path / "output"
    assert study(url, space, "--state", str(second), output=output) == 0
    assert "Nothing to do" in output.read_text(encoding="utf-8")
    assert_no_secret(url, first, second)


@pytest.mark.slow
@pytest.mark.parametrize("point", faults.DRIVER_POINTS + faults.WORKER_POINTS)
def test_a_kill_at_any_point_changes_nothing(
    url: str, space: Path, expected: dict[str, bytes], tmp_path: Path, point: str
) -> None:
    words = ("--state", str(tmp_path))
    fault = f"save point=step; kill point={point}"
    if point == "reconcile.completed":
        assert study(url, space, *words, fault="kill point=committed") == -9
    assert study(url, space, *words, fault=fault) == -9, f"{point} is never passed"
    assert study(url, space, *words) == 0
    assert_whole(url, tmp_path, expected)


@pytest.mark.slow
def test_damage_in_the_bucket_is_found_and_the_trial_run_again(
    url: str, space: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    assert study(url, space, "--state", str(tmp_path)) == 0
    root = Workspace.open(url).root
    for digest, name in zip(expected, ("result.json", "ranks-test.npz"), strict=False):
        path = TrialFolder.of(root, digest).path / "attempts" / "001" / name
        storage.write(path, path.read_bytes()[:-10])
    (root / "studies" / "s" / "plan.json").write_bytes(b"{")
    assert study(url, space, "--state", str(tmp_path)) == 0
    damaged = matching(root, "trials/*/damaged")
    assert len(damaged) == 2
    for folder in damaged:
        [why] = matching(folder, "*.why.json")
        assert "not as it was committed" in json.loads(why.read_bytes())["why"]
        for name in files_under(folder):
            (folder / name).unlink()
    assert matching(root, "studies/s/plan.json.damaged-*")
    assert_whole(url, tmp_path, expected)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_studies_with_ray(
    url: str,
    space: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The driver is killed midway; two new ones then finish it at once, each on its own state."""
    words = [sys.executable, "study/run.py", "--space", str(space), "--name", "s", "--root", url]
    words += ["--workers", "1"]

    def run(state: Path) -> subprocess.CompletedProcess[str]:
        command = [*words, "--state", str(state)]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    monkeypatch.setenv(faults.VARIABLE, "kill point=completion.noted")
    killed = run(tmp_path / "first")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    assert len(committed_results(Workspace.open(url).root, expected)) in (1, 2)
    monkeypatch.delenv(faults.VARIABLE)
    states = [tmp_path / "second", tmp_path / "third"]
    words.append("--take-over")
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(run, states))
    said = "".join(process.stdout + process.stderr for process in done)
    assert sorted(process.returncode for process in done) in ([0, 0], [0, 130]), said
    assert "Traceback" not in said
    for state in states:
        again = run(state)
        assert again.returncode == 0, again.stdout + again.stderr
        assert_whole(url, state, expected)
    assert_no_secret(url, *states, tmp_path / "first")


def test_what_the_watchdog_wrote_on_this_machine_is_found(url: str) -> None:
    from study.launch.actor import stacks_file, timed_out

    spec = build_spec(values())
    folder = TrialFolder.of(Workspace.open(url).root, spec.digest)
    attempt = folder.claim(spec, {"launch": "this"})
    stacks = stacks_file(attempt, "this")
    stacks.write_text("Thread 0x1\n  File x.py\n", encoding="utf-8")
    try:
        assert timed_out(folder, "another") == ""
        assert "did not react" in timed_out(folder, "this")
        failure = attempt.failure()
        assert failure is not None
        assert failure["reason"] == "timed out"
        assert failure["trace"][0] == "Thread 0x1"
    finally:
        stacks.unlink()


def test_lines_come_back_in_order_from_every_writer(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LINES_PER_OBJECT", 3)
    root = Workspace.open(url).root
    for writer in range(2):
        with StudyFolder.of(root, "s", tmp_path).lease() as written:
            for number in range(5):
                written.note("counted", at=(writer, number))
    lines = list(Reading(root / "studies" / "s"))
    assert [line["at"] for line in lines if line["event"] == "counted"] == [
        [w, n] for w in range(2) for n in range(5)
    ]
    places = [(line["generation"], line["line"]) for line in lines]
    assert places == [(g, n) for g in (1, 2) for n in range(7)]
    assert len(files_under(root / "studies" / "s" / "journal")) == 6


def test_lines_that_nothing_follows_from_are_gathered(url: str, tmp_path: Path) -> None:
    folder = StudyFolder.of(Workspace.open(url).root, "s", tmp_path)

    def known() -> list[str]:
        return [line["event"] for line in Reading(folder.path)]

    with folder.lease() as written:
        written.note("first", durable=True)
        written.note("second")
        assert known() == ["opened", "first"]
        written.note("third", durable=True)
        assert known() == ["opened", "first", "second", "third"]
        written.note("fourth")
        time.sleep(2 * journal.GATHERED_SECONDS)
        assert known()[-1] == "fourth"
    assert known()[-1] == "closed"


def test_a_driver_elsewhere_is_known_by_what_it_writes(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two heads whose clocks are an hour apart."""
    root = Workspace.open(url).root
    first, second = (StudyFolder.of(root, "s", tmp_path / name) for name in ("first", "second"))
    with first.lease() as mine:
        mine.note("planning", durable=True)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 3600)
        assert second.is_driven()
        with pytest.raises(NotNowError), second.lease():
            pass
        with second.lease(take_over=True) as other:
            other.note("planning", durable=True)
            with pytest.raises(NotNowError):
                mine.refuse_superseded()
            other.refuse_superseded()
            mine.note("late")
    lines = [(line["generation"], line["event"]) for line in Reading(first.path)]
    events = [(1, "opened"), (1, "planning"), (1, "late"), (1, "closed")]
    assert lines == [*events, (2, "opened"), (2, "planning"), (2, "closed")]
    with second.lease():
        pass


def test_a_driver_that_died_elsewhere_is_waited_for(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Workspace.open(url).root
    words = [sys.executable, "-c", DYING, url, str(tmp_path / "first")]
    assert subprocess.run(words, cwd=REPOSITORY, check=False).returncode == -9
    with StudyFolder.of(root, "s", tmp_path / "first").lease():
        pass  # its lock was had
    second = StudyFolder.of(root, "s", tmp_path / "second")
    with pytest.raises(NotNowError), second.lease():
        pass
    monkeypatch.setattr(study_folder, "TAKEN_OVER_SECONDS", 0.5)
    time.sleep(1)
    assert not second.is_driven()
    with second.lease():
        pass
