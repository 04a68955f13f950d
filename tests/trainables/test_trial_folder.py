from __future__ import annotations

import errno
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.samples import values
from trainables.errors import UserError
from trainables.spec import build_spec
from trainables.storage import atomic as storage
from trainables.storage.paths import AnyPath, files_under, staging_folder
from trainables.trial.trial_folder import NotCommittedError, TrialFolder

SPEC = build_spec(values())


@pytest.fixture
def folder(place: AnyPath) -> TrialFolder:
    return TrialFolder.of(place, SPEC.digest)


def finish(folder: TrialFolder, value: float) -> bool:
    attempt = folder.claim(SPEC, {"host": "here"})
    attempt.write_json("result.json", {"value": value})
    attempt.write_json("history.json", {"points": []})
    return attempt.commit(["history.json", "result.json"])


def test_a_result_counts_once_it_is_committed(folder: TrialFolder) -> None:
    attempt = folder.claim(SPEC, {"host": "here"})
    attempt.write_json("result.json", {"value": 1.0})
    assert attempt.is_live
    with pytest.raises(NotCommittedError):
        folder.result()
    assert attempt.commit(["result.json"])
    assert folder.result()["value"] == 1.0
    assert folder.spec() == SPEC


def test_the_first_commit_wins(folder: TrialFolder) -> None:
    first, second = folder.claim(SPEC, {}), folder.claim(SPEC, {})
    assert (first.is_live, second.is_live) == (False, True)
    for number, attempt in enumerate((first, second)):
        attempt.write_json("result.json", {"value": number})
    assert first.commit(["result.json"])
    assert not second.commit(["result.json"])
    folder.forget_unfinished()
    assert folder.result()["value"] == 0
    assert [path.name for path in (folder.path / "attempts").iterdir()] == ["001"]


def test_concurrent_claims_get_numbers_of_their_own(folder: TrialFolder) -> None:
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda: numbers.append(folder.claim(SPEC, {}).number))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 9))


def test_a_changed_or_missing_file_is_not_believed(folder: TrialFolder) -> None:
    finish(folder, 1.0)
    result = folder.committed() / "result.json"
    result.write_bytes(result.read_bytes().replace(b"1.0", b"2.0"))
    with pytest.raises(NotCommittedError, match="not as it was committed"):
        folder.result()
    result.unlink()
    with pytest.raises(NotCommittedError, match="missing"):
        folder.result()


def test_a_torn_manifest_is_no_commit(folder: TrialFolder) -> None:
    finish(folder, 1.0)
    content = folder.manifest_path.read_bytes()
    folder.manifest_path.write_bytes(content[: len(content) // 2])
    with pytest.raises(NotCommittedError, match="cannot be read"):
        folder.result()


def test_a_newer_format_is_refused_by_name(folder: TrialFolder) -> None:
    finish(folder, 1.0)
    manifest = json.loads(folder.manifest_path.read_bytes()) | {"format": 99}
    storage.write_json(folder.manifest_path, manifest)
    with pytest.raises(UserError, match="format 99"):
        folder.result()


def test_create_leaves_one_winner_and_no_rest(place: AnyPath) -> None:
    path = place / "a" / "file"
    assert storage.create(path, b"first")
    assert not storage.create(path, b"second")
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_of_many_creators_at_once_one_wins(place: AnyPath) -> None:
    path = place / "file"
    contents = [str(number).encode() for number in range(16)]
    with ThreadPoolExecutor(len(contents)) as pool:
        won = list(pool.map(lambda content: storage.create(path, content), contents))
    assert won.count(True) == 1
    assert path.read_bytes() == contents[won.index(True)]


def test_a_damaged_commit_is_set_aside_and_the_trial_runs_again(folder: TrialFolder) -> None:
    finish(folder, 1.0)
    assert folder.quarantine() == ""
    result = folder.committed() / "result.json"
    result.write_bytes(result.read_bytes().replace(b"1.0", b"2.0"))
    assert "not as it was committed" in folder.quarantine()
    assert not folder.is_committed
    assert finish(folder, 3.0)
    assert folder.result()["value"] == 3.0
    assert folder.quarantine() == ""
    names = files_under(folder.path / "damaged")
    assert [name for name in names if name.endswith(".why.json")]


def test_what_cannot_be_read_now_is_not_taken_for_damage(
    folder: TrialFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(folder, 1.0)
    before = files_under(folder.path)

    def fail(path: object) -> str:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(storage, "sha256", fail)
        with pytest.raises(NotCommittedError, match="Input/output error"):
            folder.committed()
        with pytest.raises(UserError, match="the trial may be complete"):
            folder.quarantine()
    with monkeypatch.context() as patched:
        patched.setattr(storage, "read", fail)
        with pytest.raises(UserError, match="the trial may be complete"):
            folder.quarantine()
    assert files_under(folder.path) == before
    assert folder.quarantine() == ""


def test_weights_are_uploaded_before_they_are_committed(folder: TrialFolder) -> None:
    attempt = folder.claim(SPEC, {})
    attempt.write_json("result.json", {})
    with staging_folder(attempt.path / "encoder") as local:
        (local / "deep").mkdir()
        (local / "deep" / "weights").write_bytes(b"1")
    assert attempt.commit(["result.json"], ["encoder/deep/weights"])
    kept = folder.weights()
    assert kept is not None
    assert files_under(kept) == ["deep/weights"]
    folder.drop_weights()
    assert folder.weights() is None
    assert folder.result()


def test_an_unwritable_or_full_root_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    with pytest.raises(UserError, match="cannot write"):
        storage.ensure_writable(blocker / "root", 0)
    with pytest.raises(UserError, match="free some space"):
        storage.ensure_writable(tmp_path, 10**18)
