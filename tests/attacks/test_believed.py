"""Copies, swaps and renamings: a folder counts for the trial whose name it has, or for none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from study.analysis.conclusion import answer_key, read_sealed
from study.cli.app import main
from study.state.committed import committed_results
from study.state.study_folder import StudyFolder, study_names
from tests.samples import values
from tests.study.inline import assert_whole, results
from trainables.errors import UserError
from trainables.spec import Execution, build_spec
from trainables.storage import atomic as storage
from trainables.storage import inputs
from trainables.storage.cache import Cache
from trainables.trial import intermediate as rungs
from trainables.trial.checkpoint import latest_checkpoint, save_checkpoint
from trainables.trial.trial_folder import NotCommittedError, TrialFolder

ONE, OTHER = build_spec(values()), build_spec(values(seed=1))


def trained(root: Path) -> tuple[TrialFolder, TrialFolder]:
    """The folders of two trials that differ in their numbers."""
    folders = [TrialFolder(path) for path in sorted(root.glob("trials/*"))]
    one, other = [folder for folder in folders if folder.spec().steps]
    return one, other


def swapped(root: Path) -> TrialFolder:
    """A trial's folder that holds a copy of another one's."""
    one, other = trained(root)
    shutil.rmtree(str(one.path))
    shutil.copytree(str(other.path), str(one.path))
    return one


def test_the_result_of_another_trial_is_not_read(root: Path) -> None:
    folder = swapped(root)
    for read in (folder.result, folder.committed, folder.spec):
        with pytest.raises(NotCommittedError):
            read()
    assert committed_results(root, [folder.digest]) == {}


@pytest.mark.parametrize("name", ["spec.json", "manifest.json", "attempts"])
def test_any_part_that_is_another_trials_is_enough(root: Path, name: str) -> None:
    one, other = trained(root)
    ours, theirs = Path(str(one.path)) / name, Path(str(other.path)) / name
    if ours.is_dir():
        shutil.rmtree(ours)
        shutil.copytree(theirs, ours)
    else:
        shutil.copy(theirs, ours)
    assert committed_results(root, [one.digest]) == {}


def test_a_result_that_names_another_trial_is_not_believed_with_a_manifest_of_before(
    root: Path,
) -> None:
    folder = swapped(root)
    (Path(str(folder.path)) / "spec.json").unlink()
    manifest = storage.unseal(storage.read(folder.manifest_path))
    del manifest["digest"]
    storage.write(folder.manifest_path, storage.seal(manifest))
    with pytest.raises(NotCommittedError):
        folder.result()


def test_a_manifest_lists_no_file_outside_of_its_attempt(root: Path) -> None:
    folder, _ = trained(root)
    manifest = storage.unseal(storage.read(folder.manifest_path))
    for name in ("../../spec.json", "/etc/hostname", "a//b"):
        manifest["weights"] = {name: "0" * 64}
        storage.write(folder.manifest_path, storage.seal(manifest))
        with pytest.raises(NotCommittedError):
            folder.committed()


def test_a_swapped_trial_is_run_again(root: Path, rerun: Callable[[], int]) -> None:
    before = results(root)
    key = read_sealed(root / "reports/s/answer.json")["of"]
    folder = swapped(root)
    assert rerun() == 0
    assert_whole(root, before)
    assert list(folder.path.glob("damaged/*"))
    damaged = [m for m in StudyFolder.of(root, "s").record().times if m.event == "damaged"]
    assert [moment.trial for moment in damaged] == [folder.digest]
    assert read_sealed(root / "reports/s/answer.json")["of"] == key


def test_copies_beside_trials_and_attempts_are_passed_over(
    root: Path, rerun: Callable[[], int]
) -> None:
    before = results(root)
    one, _ = trained(root)
    path = Path(str(one.path))
    copies = ["001 (copy)", "001.bak", "1", "+01", "000000000001"]
    for name in copies:
        shutil.copytree(path / "attempts/001", path / "attempts" / name)
    for name in ("{} (copy)", "{}.bak", "{}1"):
        shutil.copytree(path, path.with_name(name.format(path.name)))
    assert one.latest_attempt() == 1
    assert [attempt.number for attempt in one.attempts()] == [1]
    assert rerun() == 0
    assert {name: content for name, content in results(root).items() if name in before} == before
    assert main(["clean", "--root", str(root)]) == 0
    assert {copy.name for copy in path.glob("attempts/*")} == {"001", *copies}
    assert main(["reproduce", path.name[:8], "--root", str(root)]) == 0


def state(step: int) -> dict[str, object]:
    return {"step": step, "weights": torch.zeros(2), "execution": Execution().to_json()}


def test_the_checkpoint_of_another_trial_is_passed_over(tmp_path: Path) -> None:
    mine = TrialFolder.of(tmp_path, ONE.digest).claim(ONE, {})
    theirs = TrialFolder.of(tmp_path, OTHER.digest).claim(OTHER, {})
    save_checkpoint(mine, state(3))
    save_checkpoint(theirs, state(5))
    second = mine.trial.claim(ONE, {})
    shutil.copytree(
        str(theirs.path / "checkpoint"), str(second.path / "checkpoint"), dirs_exist_ok=True
    )
    found = latest_checkpoint(mine.trial, lambda execution: True)
    assert found is not None
    assert found["step"] == 3


def test_a_checkpoint_lies_in_its_own_folder(tmp_path: Path) -> None:
    mine = TrialFolder.of(tmp_path, ONE.digest).claim(ONE, {})
    save_checkpoint(mine, state(3))
    file = mine.path / "checkpoint/manifest.json"
    manifest = storage.unseal(storage.read(file))
    (Path(str(mine.path)) / "checkpoint/step-3.pt").rename(tmp_path / "step-3.pt")
    storage.write(file, storage.seal(manifest | {"file": str(tmp_path / "step-3.pt")}))
    assert latest_checkpoint(mine.trial, lambda execution: True) is None


def test_unfinished_attempts_of_another_trial_are_set_aside(tmp_path: Path) -> None:
    theirs = TrialFolder.of(tmp_path, OTHER.digest).claim(OTHER, {})
    theirs.fail({"reason": "out of memory", "detail": "", "trace": []})
    mine = TrialFolder.of(tmp_path, ONE.digest)
    shutil.copytree(str(theirs.trial.path), str(mine.path))
    attempt = mine.claim(ONE, {})
    assert mine.spec() == ONE
    assert attempt.number == 1
    assert attempt.failure() is None
    assert len(list(mine.path.glob("damaged/*"))) == 2


def rung(folder: TrialFolder, facts: dict[str, object]) -> None:
    ranks = folder.path / "attempts/001/rung-4.npz"
    storage.write(ranks, b"ranks")
    content = {"examples": 128, "step": 4, "metrics": {"map/multi": 0.5}, "format": 2} | facts
    content = {"ranks": {"rung-4.npz": storage.sha256(ranks)}} | content
    storage.write(folder.path / "attempts/001/rung-4.json", storage.seal(content))


@pytest.mark.parametrize(
    "facts",
    [{"digest": OTHER.digest}, {"step": 5}, {"ranks": {"../../../x.npz": "0"}}],
)
def test_a_rung_of_another_trial_or_step_is_passed_over(
    tmp_path: Path, facts: dict[str, object]
) -> None:
    folder = TrialFolder.of(tmp_path, ONE.digest)
    folder.claim(ONE, {})
    rung(folder, {"digest": ONE.digest})
    assert list(rungs.intermediate_evaluations(folder)) == [4]
    rung(folder, {"digest": ONE.digest} | facts)
    assert rungs.intermediate_evaluations(folder) == {}
    assert rungs.intermediate_ranks(folder, 4) == []


def reseal(path: Path, **changes: object) -> None:
    storage.write(path, storage.seal(storage.unseal(path.read_bytes()) | changes))


def test_the_folder_names_a_study_not_its_plan(root: Path) -> None:
    shutil.copytree(root / "studies/s", root / "studies/t")
    reseal(root / "studies/s/plan.json", name="../../../stolen")
    shutil.rmtree(root / "reports", ignore_errors=True)
    before = {path for path in root.parent.rglob("*") if root not in path.parents}
    for name in ("s", "t"):
        plan = StudyFolder.of(root, name).plan()
        assert plan is not None
        assert plan.name == name
        assert main(["report", name, "--root", str(root)]) == 0
        assert main(["status", name, "--root", str(root)]) == 0
        report = json.loads((root / f"reports/{name}/report.json").read_bytes())
        assert report["study"] == name
    assert {path for path in root.parent.rglob("*") if root not in path.parents} == before
    assert {path.name for path in (root / "reports").iterdir()} == {"s", "t"}


def test_a_plan_whose_digests_are_not_those_of_its_specs_is_damaged(root: Path) -> None:
    path = root / "studies/s/plan.json"
    text = path.read_text(encoding="utf-8")
    one, other = (folder.digest for folder in trained(root))
    for new in ("../../../elsewhere", other, "0" * 20):
        plan = storage.unseal(text.replace(one, new).encode().partition(b"\n")[2].join([b"{", b""]))
        storage.write(path, storage.seal(plan))
        with pytest.raises(UserError):
            StudyFolder.of(root, "s").plan()
        assert main(["status", "s", "--root", str(root)]) == 2


def test_folders_that_no_study_can_be_called_by_are_not_listed(root: Path) -> None:
    shutil.copytree(root / "studies/s", root / "studies" / "a\nb")
    shutil.copytree(root / "studies/s", root / "studies" / ("n" * 120))
    assert study_names(root) == ["s"]


@pytest.mark.parametrize("name", ["answer.json", "answer.md", "report.html", "report.csv"])
def test_an_answer_or_report_that_was_changed_is_made_again(root: Path, name: str) -> None:
    path = root / "reports/s" / name
    changed = path.read_bytes().replace(b"0.0", b"0.9")
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    assert main(["report", "s", "--root", str(root)]) == 0
    assert path.read_bytes() != changed


def test_the_report_of_another_study_is_not_taken_for_ones_own(root: Path) -> None:
    shutil.copytree(root / "studies/s", root / "studies/t")
    shutil.copytree(root / "reports/s", root / "reports/t")
    assert main(["report", "t", "--root", str(root)]) == 0
    assert json.loads((root / "reports/t/report.json").read_bytes())["study"] == "t"
    assert json.loads((root / "reports/t/answer.json").read_bytes())["study"] == "t"
    plan = StudyFolder.of(root, "t").plan()
    assert plan is not None
    found = committed_results(root, plan.specs)
    assert answer_key(plan, found, []) != answer_key(plan.named("s"), found, [])


def test_a_cache_entry_under_another_name_is_made_anew(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for name in ("a", "b"):
        Cache(tmp_path).take(name, lambda folder, name=name: _write(folder, name))  # type: ignore[misc]
    shutil.rmtree(tmp_path / "b")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.copytree(tmp_path / "a", tmp_path / ".c")
    assert (cache.take("b", lambda folder: _write(folder, "b")) / "text").read_text() == "b"
    made = cache.take("c", lambda folder: _write(folder, f"{len(list(folder.iterdir()))} file"))
    assert (made / "text").read_text() == "1 file"
    assert (cache.take("a", lambda folder: pytest.fail("it is there")) / "text").read_text() == "a"


def _write(folder: Path, text: str) -> None:
    (folder / "text").write_text(text)


def test_an_input_under_another_digest_is_not_fetched(tmp_path: Path) -> None:
    one, other, root = "a" * 20, "b" * 20, tmp_path / "root"
    for digest in (one, other):
        (tmp_path / digest).mkdir()
        (tmp_path / digest / "data").write_text(digest)
    inputs.publish(root, other, str(tmp_path / other))
    shutil.copytree(root / "inputs" / other, root / "inputs" / one)
    with pytest.raises(UserError):
        inputs.fetched(root, one, Cache(tmp_path / "cache"))
    assert inputs.publish(root, one, str(tmp_path / one)), "what lies there is another's"
    found = Path(inputs.fetched(root, one, Cache(tmp_path / "cache")))
    assert (found / "data").read_text() == one
    (root / "inputs" / other / "0/data").write_text(one)
    with pytest.raises(UserError):
        inputs.fetched(root, other, Cache(tmp_path / "other"))


def test_a_list_of_inputs_names_no_file_outside(tmp_path: Path) -> None:
    folder = tmp_path / "inputs" / ("a" * 20)
    listed = {"digest": folder.name, "files": {"../../stolen": "0" * 64}}
    storage.write(folder / "files.json", storage.seal(listed))
    with pytest.raises(UserError):
        inputs.fetched(tmp_path, folder.name, Cache(tmp_path / "cache"))
