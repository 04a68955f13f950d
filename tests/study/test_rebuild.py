"""Every file truncated, flipped or deleted in turn: the study recovers, or says what is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from study.state.record import INCOMPLETE
from study.state.study_folder import StudyFolder
from tests.study.inline import assert_whole, optuna_rows, results, states, study, warm, write_space
from trainables.trial.trial_folder import TrialFolder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def delete(path: Path) -> None:
    path.unlink()


Damage = Callable[[Path], None]
ALL: list[Damage] = [truncate, flip, delete]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_space(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, space: Path) -> Path:
    warm()
    root = tmp_path_factory.mktemp("whole") / "root"
    assert study(root, space) == 0
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "root"))


def test_no_damaged_trial_file_is_believed(root: Path) -> None:
    """Each file, damaged in each way: the commit is refused, or the file is no part of it."""
    folder = TrialFolder(sorted(root.glob("trials/*"))[0])
    trial = Path(str(folder.path))
    names = [p for p in trial.rglob("*") if p.is_file() and p.name != "spec.json"]
    assert len(names) > 5
    for path in names:
        whole = path.read_bytes()
        for damage in ALL:
            damage(path)
            said = folder.quarantine() if path.name != "manifest.json" else "see below"
            dropped = damage is delete and "encoder" in path.parts
            assert bool(said) != dropped or path.name == "manifest.json", path
            for aside in (trial / "damaged").glob("*"):
                original = aside.name.partition(".damaged-")[0]
                if original == "manifest.json":
                    if not aside.name.endswith(".why.json"):
                        aside.rename(trial / "manifest.json")
                    continue
                aside.rename(trial / "attempts" / original)
            shutil.rmtree(trial / "damaged", ignore_errors=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(whole)
            assert folder.committed()


@pytest.mark.parametrize("damage", ALL)
@pytest.mark.parametrize("name", ["manifest.json", "attempts/001/result.json", "spec.json"])
def test_a_damaged_trial_is_run_again(root: Path, space: Path, name: str, damage: Damage) -> None:
    before = results(root)
    damage(next(root.glob(f"trials/*/{name}")))
    assert study(root, space) == 0
    assert_whole(root, before)


@pytest.mark.parametrize("damage", ALL)
def test_a_damaged_plan_is_planned_anew(root: Path, space: Path, damage: Damage) -> None:
    before = results(root)
    files = {path: path.stat().st_mtime_ns for path in root.glob("trials/*/manifest.json")}
    damage(root / "studies/s/plan.json")
    assert study(root, space) == 0
    assert_whole(root, before)
    assert {path: path.stat().st_mtime_ns for path in files} == files, "a trial ran again"


def test_failures_survive_the_views(tmp_path: Path, space: Path) -> None:
    warm()
    assert study(tmp_path, space, fault="error point=step step=1") == 1
    before = sorted(optuna_rows(tmp_path))
    (tmp_path / "optuna.db").unlink()
    assert study(tmp_path, space) == 1
    assert sorted(optuna_rows(tmp_path)) == before
    reasons = set(StudyFolder.of(tmp_path, "s").record().failures.values())
    assert reasons == {"error: PlantedError: planted at step"}


@pytest.mark.parametrize("damage", [flip, delete])
def test_a_damaged_journal_is_marked_and_no_trial_run_again(
    root: Path, space: Path, damage: Damage
) -> None:
    before = results(root)
    damage(root / "studies/s/journal/000001-000000.jsonl")
    for _ in range(2):
        assert study(root, space) == 0
        record = StudyFolder.of(root, "s").record()
        assert record.marks
        assert all(mark.startswith(INCOMPLETE) for mark in record.marks)
        answer = json.loads((root / "reports/s/answer.json").read_bytes())
        assert set(record.marks) <= set(answer["marks"])
    assert results(root) == before
    assert states(root) == dict.fromkeys(before, "complete")


def test_what_was_set_aside_is_explained(root: Path, space: Path, tmp_path: Path) -> None:
    truncate(next(root.glob("trials/*/attempts/001/result.json")))
    assert study(root, space, output=tmp_path / "output") == 0
    said = " ".join((tmp_path / "output").read_text(encoding="utf-8").split())
    assert "is not as it was committed" in said
    why = next(root.glob("trials/*/damaged/*.why.json"))
    assert "not as it was committed" in json.loads(why.read_bytes())["why"]
