"""A root that is moved, copied or reached by another name holds the same studies."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from study.cli.app import main
from study.launch import launch as launcher
from study.state.study_folder import StudyFolder
from tests.study.inline import assert_whole, launch_inline, mlflow_trials, results, states

ROOT = Path(__file__).resolve().parents[2]
Place = Callable[[Path], Path]


def moved(old: Path) -> Path:
    new = old.parent / "a b" / "ü?#%" / ("long" * 20)
    new.parent.mkdir(parents=True)
    return old.rename(new)


def copied(old: Path) -> Path:
    subprocess.run(["cp", "-a", old, old.parent / "copy"], check=True)
    return old.parent / "copy"


def linked(old: Path) -> Path:
    real = old.rename(old.parent / "elsewhere")
    old.symlink_to(real)
    return old


def through_link(old: Path) -> Path:
    (old.parent / "link").symlink_to(old)
    return old.parent / "link"


def roundabout(old: Path) -> Path:
    return Path(f"{old}/trials/..//./")


def relative(old: Path) -> Path:
    return Path(os.path.relpath(old))


WAYS = [moved, copied, linked, through_link, roundabout, relative]


def content(root: Path) -> dict[str, tuple[int, bytes]]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): (p.stat().st_mtime_ns, p.read_bytes()) for p in paths}


def uris(root: Path) -> set[str]:
    """Where MLflow has files of the root's runs."""
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        query = (
            "SELECT artifact_uri FROM runs WHERE lifecycle_stage = 'active' UNION SELECT"
            " artifact_location FROM experiments WHERE experiment_id <> 0"
            " AND lifecycle_stage = 'active'"
        )
        return {row[0] for row in connection.execute(query)}


@pytest.mark.parametrize("way", WAYS)
def test_a_root_is_the_same_wherever_it_lies(
    root: Path, space: Path, way: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "launch", launch_inline)
    words = ["run", "--space", str(space), "--name", "s", "--root"]
    assert main([*words, str(root)]) == 0
    whole = results(root)
    missing = sorted(whole)[0]
    shutil.rmtree(root / "trials" / missing)
    typed = way(root)
    new = typed.resolve()
    stays = root.exists() and root.resolve() != new
    before, here = content(root) if stays else {}, content(new)
    assert main([*words, str(typed)]) == 0
    assert_whole(new, whole)
    kept = {name: file for name, file in here.items() if name.startswith("trials/")}
    assert {name: file for name, file in content(new).items() if name in kept} == kept
    plan = "studies/s/plan.json"
    assert (new / plan).read_bytes() == here[plan][1]
    artifacts = (new / "mlartifacts").as_uri()
    assert all(uri == artifacts or uri.startswith(f"{artifacts}/") for uri in uris(new))
    assert len(list(new.glob("mlartifacts/*/artifacts/spec.json"))) >= len(whole)
    if stays:
        assert content(root) == before
    elif root.resolve() != new:
        assert not root.exists()
    assert main(["status", "s", "--root", str(typed), "--json"]) == 0


def test_a_study_goes_on_where_its_space_lies_elsewhere(
    root: Path, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "launch", launch_inline)
    other = Path(shutil.copy(space, tmp_path / "another name.yaml"))
    whole = results(root)
    shutil.rmtree(root / "trials" / sorted(whole)[0])
    assert main(["run", "--space", str(other), "--name", "s", "--root", str(root)]) == 0
    assert results(root) == whole


def test_a_lock_of_another_machine_that_nobody_holds_is_no_lease(
    root: Path, rerun: Callable[[], int]
) -> None:
    lock = root / "studies/s/driver.lock"
    lock.write_text("process 1 on another-machine since 2020-01-01 00:00:00\n")
    assert rerun() == 0
    assert "another-machine" not in lock.read_text()


def test_a_lease_holds_by_every_name_of_its_root(root: Path, space: Path) -> None:
    (root.parent / "link").symlink_to(root)
    words = ["run", "--space", str(space), "--name", "s", "--root"]
    with StudyFolder.of(root, "s").lease():
        for typed in (root, root.parent / "link", f"{root}/trials/.."):
            assert main([*words, str(typed)]) == 2


def test_a_copy_and_its_original_go_on_apart(
    root: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "launch", launch_inline)
    words = ["run", "--space", str(space), "--name", "s", "--root"]
    copy = copied(root)
    for place in (root, copy):
        shutil.rmtree(place / "trials" / sorted(results(place))[-1])
    with StudyFolder.of(root, "s").lease():
        assert main([*words, str(copy)]) == 0
    assert len(results(root)) == 2
    assert main([*words, str(root)]) == 0
    assert results(root) == results(copy)
    assert mlflow_trials(root).keys() == mlflow_trials(copy).keys()


def test_a_plan_names_no_place(root: Path) -> None:
    """What is read again holds no absolute path but that of the space, as it was typed."""
    for path in (root / "trials").rglob("*"):
        assert not (path.is_file() and str(root.parent).encode() in path.read_bytes()), path
    plan = json.loads((root / "studies/s/plan.json").read_bytes())
    assert Path(plan.pop("space")).is_absolute()
    assert str(root.parent.parent) not in json.dumps(plan)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a process another hostname")
def test_a_study_goes_on_on_another_machine(tmp_path: Path, space: Path) -> None:
    """Killed here; its root copied, the old one gone, the space elsewhere, other HOME and host."""
    words = ["--name", "s", "--workers", "1", "--set", "steps=4", "--set", "reference_batch_size=8"]

    def command(root: Path, space: Path) -> list[str]:
        return [sys.executable, "study/run.py", "--space", str(space), "--root", str(root), *words]

    old, new = tmp_path / "old", tmp_path / "mnt" / "new"
    study = subprocess.Popen(command(old, space), cwd=ROOT, stdout=subprocess.DEVNULL)
    while not list(old.glob("trials/*/manifest.json")):
        assert study.poll() is None
        time.sleep(0.05)
    study.kill()
    study.wait()
    new.parent.mkdir()
    subprocess.run(["cp", "-a", old, new], check=True)
    shutil.rmtree(old)
    here = results(new)
    other, home = tmp_path / "mnt" / "their.yaml", tmp_path / "home"
    home.mkdir()
    shutil.copy(space, other)
    there = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]
    done = subprocess.run(
        [*there, *command(new, other)],
        cwd=ROOT,
        env=os.environ | {"HOME": str(home), "USER": "someone"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not old.exists()
    assert len(results(new)) == 3
    assert results(new).items() >= here.items()
    assert set(states(new).values()) == {"complete"}
    assert all(uri.startswith((new / "mlartifacts").as_uri()) for uri in uris(new))
    assert "elsewhere" in (new / "studies/s/driver.lock").read_text()
    assert not [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_what_a_study_reads_may_move_and_must_be_there(
    finished: Path, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "launch", launch_inline)
    (exported,) = finished.glob("trials/*/attempts/*/encoder")
    here, there = tmp_path / "a" / "my" / "own", tmp_path / "b" / "my" / "own"
    shutil.copytree(exported, here)
    root = tmp_path / "root"
    words = ["run", "--space", str(space), "--name", "s", "--root", str(root), "--encoder"]
    assert main([*words, str(here)]) == 0
    whole = results(root)
    shutil.rmtree(root / "trials" / sorted(whole)[0])
    there.parent.mkdir(parents=True)
    here.rename(there)
    assert main([*words, str(here)]) == 2
    assert main([*words, str(there)]) == 0
    assert results(root) == whole
    assert not here.exists()
