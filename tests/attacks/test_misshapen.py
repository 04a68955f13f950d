"""Files of ours, whole by their checksums, that hold what we never wrote; and files unread now."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.analysis.conclusion import read_sealed
from study.cli.app import main
from study.state.committed import committed_results
from study.state.study_folder import StudyFolder
from tests.study.inline import assert_whole, results
from trainables.data.formats import reading
from trainables.errors import UserError
from trainables.failures import lacking
from trainables.storage import atomic as storage
from trainables.storage.cache import Cache
from trainables.trial.trial_folder import TrialFolder


def trained(root: Path) -> TrialFolder:
    folders = [TrialFolder(path) for path in sorted(root.glob("trials/*"))]
    return next(folder for folder in folders if folder.spec().steps)


def recommit(folder: TrialFolder, path: Path) -> None:
    """Let the manifest have the checksum that a file has now."""
    manifest = storage.unseal(storage.read(folder.manifest_path))
    manifest["files"][path.name] = storage.sha256(path)
    storage.write(folder.manifest_path, storage.seal(manifest))


WRONG: dict[str, Any] = {
    "metrics": {"map/multi": "0.9"},
    "validation": [],
    "counts": {"test": 1},
    "zero_shot": {"verdict": 1},
    "training": None,
    "digest": ["x"],
}


@pytest.mark.parametrize("key", [*WRONG, "without", "NaN"])
def test_a_result_of_another_shape_is_damage(
    root: Path, rerun: Callable[[], int], key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before, folder = results(root), trained(root)
    path = Path(str(folder.committed())) / "result.json"
    value = storage.unseal(path.read_bytes())
    if key == "without":
        del value["validation"]
    elif key != "NaN":
        value[key] = WRONG[key]
    content = storage.to_json(value)
    path.write_bytes(content.replace(b"true", b"NaN") if key == "NaN" else content)
    if key == "NaN":
        path.write_bytes(content.replace(b'"metrics": {', b'"metrics": {"x": NaN,', 1))
    recommit(folder, path)
    assert folder.digest not in committed_results(root, [folder.digest])
    for command in ("status", "report"):
        assert main([command, "s", "--root", str(root)]) in (0, 1)
    assert rerun() == 0
    assert_whole(root, before)
    damaged = [m for m in StudyFolder.of(root, "s").record().times if m.event == "damaged"]
    assert [moment.trial for moment in damaged] == [folder.digest]
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("content", [None, b"", b'{"format": 2', b'{"format": 2, "spec": []}'])
def test_a_spec_that_is_lost_beside_a_result_is_written_again(
    root: Path, rerun: Callable[[], int], content: bytes | None
) -> None:
    """The result stays: manifest and result name the trial, and the plan has its spec."""
    before, folder = results(root), trained(root)
    spec, path = folder.spec(), Path(str(folder.path)) / "spec.json"
    path.unlink() if content is None else path.write_bytes(content)
    assert rerun() == 0
    assert_whole(root, before)
    assert folder.spec() == spec
    assert folder.latest_attempt() == 1


@pytest.mark.parametrize(
    "changes",
    [{"findings": [{}]}, {"findings": 3}, {"exploration": []}, {"fixed": [1]}, {"marks": 1},
     {"trials": "many"}, {"tied": [[]]}],
)  # fmt: skip
def test_an_answer_of_another_shape_is_made_again(root: Path, changes: dict[str, Any]) -> None:
    path = root / "reports/s/answer.json"
    storage.write(root / "reports/s/made.json", b"{}")  # the page names its root
    assert main(["report", "s", "--root", str(root)]) == 0
    whole, page = path.read_bytes(), (root / "reports/s/report.html").read_bytes()
    storage.write(path, storage.seal(storage.unseal(whole) | changes))
    assert main(["status", "s", "--root", str(root)]) == 0
    assert main(["report", "s", "--root", str(root)]) == 0
    assert read_sealed(path) == storage.unseal(whole)
    assert (root / "reports/s/report.html").read_bytes() == page


@pytest.mark.parametrize("column", ["starts", "own_rank", "top", "corpus_languages", "gain"])
def test_ranks_whose_columns_do_not_fit_are_refused(
    root: Path, column: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = trained(root)
    path = Path(str(folder.committed())) / "ranks-test.npz"
    with np.load(path) as columns:
        values = {name: columns[name] for name in columns.files}
    held = values[column]
    for wrong in (held[:1], np.array(7), held.astype("U9") if held.dtype.kind != "U" else held[:0]):
        np.savez_compressed(path, **(values | {column: wrong}))
        recommit(folder, path)
        storage.write(root / "reports/s/made.json", b"{}")
        storage.write(root / "reports/s/answer.json", b"{}")
        assert main(["report", "s", "--root", str(root)]) == 2
        assert path.name in (said := "".join(capfd.readouterr()))
        assert "Traceback" not in said


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open nothing more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = os.open("/", os.O_RDONLY)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last, before[1]))
        os.close(last)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_cannot_be_read_now_is_no_damage(root: Path, tmp_path: Path) -> None:
    folder, study, cache = trained(root), StudyFolder.of(root, "s"), Cache(tmp_path / "cache")
    cache.take("a", lambda place: storage.write(place / "text", b"one"))
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    entry = (tmp_path / "cache/a/text").stat().st_ino
    reads: list[Callable[[], object]] = [
        lambda: committed_results(root, [folder.digest]),
        lambda: folder.quarantine(),
        lambda: list(reading.lines(root / "studies/s/plan.json", "x")),
        lambda: study.plan(),
        study.record,
        lambda: Cache(tmp_path / "cache").take("a", lambda place: pytest.fail(f"{place} is there")),
    ]
    failed: list[BaseException | None] = []
    with no_descriptors():
        for read in reads:
            try:
                read()
                failed.append(None)
            except Exception as error:
                failed.append(error)
    for each in failed:
        assert each is not None
        cause = each.__cause__ if isinstance(each, UserError) else each
        assert cause is not None
        assert lacking(cause)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert (tmp_path / "cache/a/text").stat().st_ino == entry


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.ENOMEM, errno.EACCES])
@pytest.mark.parametrize("name", ["result.json", "manifest.json", "plan.json"])
def test_a_command_that_cannot_read_a_file_now_says_so(
    root: Path, rerun: Callable[[], int], monkeypatch: pytest.MonkeyPatch, name: str, code: int,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = trained(root)
    of = {"result.json": folder.committed(), "manifest.json": folder.path}
    path, read = of.get(name, root / "studies/s") / name, storage.read

    def failing(place: Any) -> bytes:
        if str(place) == str(path):
            raise OSError(code, os.strerror(code), str(path))
        return read(place)

    monkeypatch.setattr(storage, "read", failing)
    wanted = 2 if code == errno.EACCES else 130
    for command in ("status", "report"):
        assert main([command, "s", "--root", str(root)]) == wanted
    if name != "plan.json":
        assert rerun() == wanted
    assert not list(folder.path.glob("damaged/*"))
    assert "Traceback" not in "".join(capfd.readouterr())
