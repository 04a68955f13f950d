from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tests.samples import values
from trainables import storage
from trainables.errors import UserError
from trainables.spec import build_spec
from trainables.trial_folder import NotCommittedError, TrialFolder

SPEC = build_spec(values())


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    return TrialFolder.of(tmp_path, SPEC.digest)


def finish(folder: TrialFolder, value: float) -> bool:
    attempt = folder.claim(SPEC, {"host": "here"})
    attempt.write_json("result.json", {"value": value})
    return attempt.commit(["result.json"])


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


def test_create_leaves_one_winner_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    assert storage.create(path, b"first")
    assert not storage.create(path, b"second")
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_an_unwritable_or_full_root_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    with pytest.raises(UserError, match="cannot write"):
        storage.ensure_writable(blocker / "root", 0)
    with pytest.raises(UserError, match="free some space"):
        storage.ensure_writable(tmp_path, 10**18)
