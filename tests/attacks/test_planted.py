"""What others can put in the place of a file or folder: nothing waits or is written elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from study.cli.app import main
from study.cli.clean import rubbish
from study.console import visible
from study.state.databases import ensure_there
from study.state.study_folder import StudyFolder
from study.tracking import Delivered
from tests.study.inline import assert_whole, results
from trainables.errors import UserError
from trainables.storage import atomic as storage
from trainables.storage import paths as places
from trainables.storage.cache import Cache
from trainables.storage.paths import name_of_folder
from trainables.trial.trial_folder import TrialFolder

KINDS = ["pipe", "endless", "folder", "loop", "dangling"]


def plant(path: Path, kind: str) -> None:
    """Put something else where a file should be."""
    places.remove(path)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        targets = {"endless": "/dev/zero", "loop": path.name}
        path.symlink_to(targets.get(kind) or path.parents[3] / "victim")


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_of_a_kind_without_an_end_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a/b/c/file"
    path.parent.mkdir(parents=True)
    plant(path, kind)
    for read in (storage.read, storage.sha256):
        with pytest.raises(OSError, match=str(path)):
            read(path)
    Delivered(path, "x").add("a", "complete")
    assert Delivered(path, "x").read() == {}
    Cache(path.parent).limit()
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("kind", ["pipe", "endless", "dangling"])
@pytest.mark.parametrize(
    "name",
    [
        "reports/s/answer.json",
        "reports/s/made.json",
        "studies/s/plan.json",
    ],
)
def test_what_is_made_again_takes_the_place_of_what_was_planted(
    root: Path, rerun: Callable[[], int], name: str, kind: str
) -> None:
    before = results(root)
    plant(root / name, kind)
    assert rerun() == 0
    assert_whole(root, before)
    assert (root / name).is_file()
    assert main(["report", "s", "--root", str(root)]) == 0
    assert not [path for path in root.parent.rglob("victim") if path.exists()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["spec.json", "manifest.json", "attempts/001/ranks-test.npz"])
def test_a_trial_with_something_else_in_a_files_place_has_no_result(
    root: Path, name: str, kind: str
) -> None:
    folder = TrialFolder(next(root.glob("trials/*")))
    plant(Path(str(folder.path)) / name, kind)
    if name != "spec.json":  # the result names the trial as well
        assert main(["report", "s", "--root", str(root)]) == 0
        report = json.loads((root / "reports/s/report.json").read_bytes())
        assert report["answer"]["with_result"] == 2
    assert main(["export", folder.digest, "--to", str(root / "to"), "--root", str(root)]) == 2


@pytest.mark.parametrize("linked", ["folder", "attempts"])
def test_a_link_to_another_trial_takes_nothing_from_it(
    root: Path, rerun: Callable[[], int], linked: str
) -> None:
    before = results(root)
    one, other = [Path(str(p)) for p in sorted(root.glob("trials/*"))][:2]
    link = one if linked == "folder" else one / "attempts"
    target = other if linked == "folder" else other / "attempts"
    shutil.rmtree(link)
    link.symlink_to(target)
    assert not [path for path, _ in rubbish(root, weights=True) if other in path.resolve().parents]
    assert rerun() == 0
    assert_whole(root, before)
    assert not link.is_symlink()
    assert not (other / "damaged").exists()


def test_a_trial_may_lie_elsewhere_under_its_own_name(root: Path, rerun: Callable[[], int]) -> None:
    before = results(root)
    one = next(root.glob("trials/*"))
    one.rename(root.parent / one.name)
    one.symlink_to(root.parent / one.name)
    assert rerun() == 0
    assert results(root) == before
    assert one.is_symlink()


@pytest.mark.parametrize("name", ["studies/s", "reports/s"])
def test_nothing_is_written_through_a_link_to_a_folder_of_another_name(
    root: Path, rerun: Callable[[], int], name: str
) -> None:
    away = root.parent / "away"
    (root / name).rename(away)
    (root / name).symlink_to(away)
    shutil.rmtree(root / "reports/s") if name == "studies/s" else None
    before = {path: path.read_bytes() for path in away.iterdir() if path.is_file()}
    assert rerun() == 2
    for words in (["status", "s"], ["report", "s"], ["track", "s"]):
        assert main([*words, "--root", str(root)]) == 2
    assert {path: path.read_bytes() for path in away.iterdir() if path.is_file()} == before


def test_a_link_is_removed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "away/file").touch()
    cache = Cache(tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    for name in ("a", ".a"):
        (tmp_path / "cache" / name).symlink_to(tmp_path / "away")
    made = cache.take("a", _write)
    assert (made / "text").read_text() == "a"
    assert [path.name for path in (tmp_path / "away").iterdir()] == ["file"]
    (tmp_path / "link").symlink_to("away")
    places.remove(tmp_path / "link")
    assert [path.name for path in (tmp_path / "away").iterdir()] == ["file"]
    assert not os.path.lexists(tmp_path / "link")


def _write(folder: Path) -> None:
    (folder / "text").write_text("a")


def test_only_what_was_committed_is_exported(root: Path) -> None:
    [weights] = root.glob("trials/*/attempts/*/encoder")
    (weights / "added.py").write_text("raise SystemExit")
    (weights / "1_Pooling/added.json").write_text("{}")
    digest = weights.parents[2].name
    assert main(["export", digest, "--to", str(root / "to"), "--root", str(root)]) == 0
    assert (root / "to/model.safetensors").is_file()
    assert not list((root / "to").rglob("added*"))


@pytest.mark.parametrize("kind", KINDS)
def test_no_database_is_made_where_another_thing_lies(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a/b/c/x.db"
    path.parent.mkdir(parents=True)
    plant(path, kind)
    with pytest.raises(OSError, match=str(path)):
        ensure_there(path)
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize(
    "name", ["a ", " a", "  ", "e\u0301", "a\u200bb", "a\u202eb", "\ufeffa", "a\u2028b", "a\u00adb"]
)
def test_names_that_look_like_others_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        name_of_folder(name, "study")
    with pytest.raises(UserError):
        StudyFolder.of(tmp_path, name)


def test_nothing_hidden_is_shown_as_nothing() -> None:
    for hidden in "\u200b\u2028\u202e\u2060\u2066\ufeff\U000e0041":
        assert visible(f"a{hidden}b").isascii()
    assert visible("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u200f") != ""
