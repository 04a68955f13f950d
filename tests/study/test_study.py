"""Whole studies, as a person runs them: the real command, real Ray, real folders."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from study.state.study_folder import StudyFolder

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--set", "languages=qaa,qad", "--set", "eval_languages=qaa,qad"]
STUDY = ["study/run.py", "--space", "mixing_ratio", "--seeds", "1", "--set", "steps=3", *SMALL]
NAME = "mixing_ratio-demo-eval_languages=qaa-qad-languages=qaa-qad-seeds=1-steps=3"


def command(*arguments: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *flags, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def status(root: Path, name: str = NAME) -> dict[str, Any]:
    done = command("-m", "study", "status", name, "--json", "--root", str(root))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def results(root: Path) -> dict[str, bytes]:
    """The committed result of every trial, by digest."""
    return {
        path.parents[2].name: path.read_bytes() for path in root.glob("trials/*/*/*/result.json")
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one finished study."""
    root = tmp_path_factory.mktemp("root")
    done = command(*STUDY, "--root", str(root))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not tested" in done.stdout
    assert "toy" in done.stdout
    return root


def test_every_planned_trial_is_committed_once(finished: Path) -> None:
    report = status(finished)
    assert (report["planned"], report["complete"], report["running"]) == (6, 6, 0)
    assert {trial["state"] for trial in report["trials"]} == {"complete"}
    manifests = {path.parent.name for path in finished.glob("trials/*/manifest.json")}
    assert manifests == {trial["digest"] for trial in report["trials"]}
    assert len(results(finished)) == 6


def test_status_carries_every_setting(finished: Path) -> None:
    for trial in status(finished)["trials"]:
        names = trial["metrics"].keys()
        assert {"map/mono", "map/cross", "map/multi", "rank_distance"} <= names
        assert {"map/mono/qaa", "map/cross/qaa-qad", "map/multi/qad", "rank_distance/qaa"} <= names
    untrained = next(t for t in status(finished)["trials"] if t["params"] == {"steps": 0})
    assert untrained["seed"] is None


def test_the_best_is_chosen_by_validation(finished: Path) -> None:
    best = status(finished)["best"]
    assert best["metric"] == "validation/map/multi"
    values = {
        json.loads(content)["validation"]["map/multi"] for content in results(finished).values()
    }
    assert best["value"] in values


def test_the_same_command_again_has_nothing_to_do(finished: Path) -> None:
    before = results(finished)
    done = command(*STUDY, "--root", str(finished), flags=("-X", "importtime"))
    assert done.returncode == 0
    assert "Nothing to do" in done.stdout
    assert results(finished) == before
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "pydantic" in imported
    assert not imported & {"ray", "torch", "mlflow", "transformers", "optuna"}


def test_a_trial_known_from_another_study_is_not_run(finished: Path) -> None:
    before = results(finished)
    untrained = [argument.replace("steps=3", "steps=0") for argument in STUDY]
    done = command(*untrained, "--root", str(finished), "--name", "untrained")
    assert done.returncode == 0, done.stderr
    assert "1 trial was already known" in done.stdout
    assert "Nothing to do" in done.stdout
    assert results(finished) == before
    assert status(finished, "untrained")["complete"] == 1


def test_a_dry_run_touches_no_disk(tmp_path: Path) -> None:
    root = tmp_path / "none"
    done = command(*STUDY, "--root", str(root), "--dry-run")
    assert done.returncode == 0
    assert "untrained" in done.stdout
    assert not root.exists()


def test_nothing_of_ray_is_left(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == [
        "cache",
        "mlartifacts",
        "mlflow.db",
        "optuna.db",
        "ray.token",
        "reports",
        "studies",
        "trials",
    ]
    assert (finished / "ray.token").stat().st_mode & 0o077 == 0


def test_mlflow_has_a_parent_and_one_child_a_trial(finished: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished}/mlflow.db")
    experiment = client.get_experiment_by_name("mixing_ratio")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    runs = [run for run in found if run.data.tags["study"] == NAME]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert (len(runs), len(children)) == (7, 6)
    expected = {trial["digest"]: trial["metrics"] for trial in status(finished)["trials"]}
    for run in children:
        metrics = expected[run.data.tags["digest"]]
        assert {name: run.data.metrics[name] for name in metrics} == pytest.approx(metrics, abs=0)
    trained = [run for run in children if "alpha" in run.data.params]
    assert {run.data.params["alpha"] for run in trained} == {"0.0", "0.25", "0.5", "0.75", "1.0"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_runs_from_scratch_agree_to_the_last_digit(finished: Path, tmp_path: Path) -> None:
    done = command(*STUDY, "--root", str(tmp_path), "--workers", "1")
    assert done.returncode == 0
    assert results(tmp_path) == results(finished)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_interrupted_study_resumes_to_the_same_results(tmp_path: Path) -> None:
    longer = [argument.replace("steps=3", "steps=150") for argument in STUDY]
    name = NAME.replace("steps=3", "steps=150")
    process = subprocess.Popen(
        [sys.executable, *longer, "--root", str(tmp_path / "a")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not StudyFolder.of(tmp_path / "a", name).record().complete:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "resume with" in output
    report = status(tmp_path / "a", name)
    assert report["running"] == 0
    assert 0 < report["complete"] < report["planned"]
    assert command(*longer, "--root", str(tmp_path / "a")).returncode == 0
    assert command(*longer, "--root", str(tmp_path / "b")).returncode == 0
    assert results(tmp_path / "a") == results(tmp_path / "b")
