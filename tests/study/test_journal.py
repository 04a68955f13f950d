"""Lines of a journal: their order, their checksums, and what is said where some are missing."""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.state import databases
from study.state.journal import Reading, sealed, unsealed
from study.state.record import INCOMPLETE, Journal, Record
from study.state.study_folder import StudyFolder
from tests.study.inline import forked
from trainables.errors import NotNowError, UserError

FIRST = "journal/000001-000000.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study's folder with two generations of two lines each, but for their openings."""
    for number in range(2):
        journal = Journal(tmp_path, {})
        journal.note("launch")
        journal.note("failed", trial="a", reason="nan", detail=str(number))
        journal.close()
    return tmp_path


def places(folder: Path) -> list[tuple[int, int]]:
    return [(line["generation"], line["line"]) for line in Reading(folder)]


def faults(folder: Path) -> list[str]:
    reading = Reading(folder)
    Record.read(reading)
    return reading.faults


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.floats(-1, 1))))
def test_a_line_is_read_as_it_was_written(facts: dict[str, object]) -> None:
    line = facts | {"generation": 1, "line": 1}
    content = sealed(line)
    assert content.endswith(b"\n")
    assert content.count(b"\n") == 1
    assert unsealed(content[:-1]) == line
    assert json.loads(content).items() >= line.items()


@given(st.data())
def test_a_line_with_any_byte_changed_is_not_read(data: st.DataObject) -> None:
    content = bytearray(sealed({"generation": 3, "line": 14, "event": "failed", "trial": "é\n"}))
    at = data.draw(st.integers(0, len(content) - 2))
    content[at] ^= data.draw(st.integers(1, 255))
    assert unsealed(bytes(content[:-1])) is None


def test_generations_and_lines_are_counted(folder: Path) -> None:
    assert places(folder) == list(itertools.product((1, 2), range(4)))
    assert faults(folder) == []
    record = StudyFolder(folder, folder).record()
    assert record.failures == {"a": "nan: 1"}


def test_a_driver_with_nothing_to_say_leaves_nothing(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    Journal(folder, {}).close()
    assert sorted(folder.rglob("*")) == before


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"launch")] ^= 1
    path.write_bytes(content)


def without_a_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))


def without_its_end(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def repeated(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], *lines[1:]]))


def of_another_generation(path: Path) -> None:
    path.write_bytes(path.with_name("000002-000000.jsonl").read_bytes())


DAMAGE = [flipped, without_a_line, without_its_end, torn, repeated, of_another_generation]


@pytest.mark.parametrize("damage", [*DAMAGE, Path.unlink])
def test_what_a_journal_lacks_is_marked_for_ever(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    damage(folder / FIRST)
    assert faults(folder)
    marks = StudyFolder(folder, folder).record().marks
    assert marks == [f"{INCOMPLETE}: {fault}" for fault in dict.fromkeys(faults(folder))]
    journal = Journal(folder, {})
    journal.note("launch")
    journal.close()
    assert set(marks) <= set(StudyFolder(folder, folder).record().marks)


def test_a_torn_last_line_was_never_finished(folder: Path) -> None:
    newest = folder / "journal/000002-000000.jsonl"
    newest.write_bytes(newest.read_bytes()[:-30])
    assert faults(folder) == []
    journal = Journal(folder, {})
    journal.note("launch")
    journal.close()
    assert faults(folder) == []
    assert places(folder) == [*itertools.product((1,), range(4)), (2, 0), (2, 1), (2, 2)] + [
        (3, n) for n in range(3)
    ]


def test_a_plan_without_a_journal_is_marked_for_ever(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(b"{}")
    assert len(faults(tmp_path)) == 1
    journal = Journal(tmp_path, {})
    journal.note("planning")
    journal.close()
    assert faults(tmp_path) == []
    assert len(StudyFolder(tmp_path, tmp_path).record().marks) == 1


def test_lines_of_another_journal_are_no_lines(folder: Path, tmp_path: Path) -> None:
    copy = folder / "journal/000002 (copy).jsonl"
    copy.write_bytes((folder / FIRST).read_bytes())
    assert faults(folder) == []
    assert len(places(folder)) == 8


def test_what_a_full_disk_left_half_written_is_taken_back(tmp_path: Path) -> None:
    def fill() -> int:
        import resource
        import signal

        journal = Journal(tmp_path, {})
        journal.note("launch")
        size = (tmp_path / FIRST).stat().st_size
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, resource.RLIM_INFINITY))
        for _ in range(2):
            with pytest.raises(OSError, match=rf"\[Errno ({errno.ENOSPC}|{errno.EFBIG})\]"):
                journal.note("failed", trial="a", reason="x" * 1000)
        assert (tmp_path / FIRST).stat().st_size == size
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert journal.record.failures == {}
        journal.note("failed", trial="a", reason="y")
        journal.close()
        return 0

    assert forked(fill, {}) == 0
    assert faults(tmp_path) == []
    assert [line["event"] for line in Reading(tmp_path)] == ["opened", "launch", "failed", "closed"]


def test_of_two_drivers_one_has_the_next_generation(folder: Path) -> None:
    first, second = Journal(folder, {}), Journal(folder, {})
    first.note("launch")
    with pytest.raises(NotNowError):
        second.note("launch")
    first.refuse_superseded()
    with pytest.raises(NotNowError):
        second.refuse_superseded()
    third = Journal(folder, {})
    third.note("launch")
    with pytest.raises(NotNowError):
        first.refuse_superseded()


def test_a_study_is_driven_while_its_driver_lives(tmp_path: Path) -> None:
    folder = StudyFolder.of(tmp_path, "s")
    assert not folder.is_driven()
    with folder.lease():
        assert folder.is_driven()
        assert folder.is_driven()
    assert not folder.is_driven()

    def die() -> int:
        folder.lease().__enter__()
        os._exit(3)

    assert forked(die, {}) == 3
    assert not folder.is_driven()


def test_journals_of_before_are_read_in_place(tmp_path: Path) -> None:
    rung = {"trial": "p", "examples": 8, "step": 1, "value": 0.5, "stop": True, "why": "low"}
    exempt = rung | {"trial": "q"}
    lines: dict[str, list[dict[str, Any]]] = {
        "events": [
            {"time": 1.0, "event": "planning", "mark": "post hoc: x", "late": ["h"]},
            {"time": 2.0, "event": "planned", "frozen": "f"},
            {"time": 3.0, "event": "launch", "keep": "best"},
            *({"time": 4.0, "event": "started", "trial": trial} for trial in "abpq"),
            {"time": 5.0, "event": "complete", "trial": "a"},
            {"time": 6.0, "event": "failed", "trial": "b", "reason": "nan", "detail": "loss"},
            *({"time": 7.0, "event": "pruned", "trial": trial, "reason": "low"} for trial in "pq"),
        ],
        "rungs": [rung, exempt, {"complete": "q"}],
    }
    for name, content in lines.items():
        text = "".join(f"{json.dumps(line)}\n" for line in content) + '{"torn'
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "plan.json").write_bytes(b"{}")
    record = StudyFolder(tmp_path, tmp_path).record()
    states = {trial: record.state(trial, {"a"}).state for trial in "abpqz"}
    assert states == {"a": "complete", "b": "failed", "p": "pruned", "q": "planned", "z": "planned"}
    assert (record.marks, record.late, record.frozen) == (["post hoc: x"], ["h"], "f")
    assert record.best_kept == set("abpq")
    assert faults(tmp_path) == []
    before = {path: path.read_bytes() for path in tmp_path.glob("*.jsonl")}
    journal = Journal(tmp_path, {})
    journal.note("started", trial="b")
    assert journal.record.state("b", ()).state == "running"
    journal.close()
    assert {path: path.read_bytes() for path in before} == before
    assert StudyFolder(tmp_path, tmp_path).record().failures == {}


@pytest.mark.parametrize(("kind", "refused"), [("nfs4", True), ("ext4", False)])
def test_a_network_filesystem_is_refused_for_sqlite(
    tmp_path: Path, kind: str, refused: bool
) -> None:
    mounts, folder = tmp_path / "mounts", tmp_path / "with blank" / "state"
    place = str(tmp_path / "with blank").replace(" ", "\\040")
    mounts.write_text(
        f"server:/x / {'ext4' if refused else 'nfs4'} rw 0 0\na {place} {kind} rw 0 0\n"
    )
    with pytest.raises(UserError) if refused else nullcontext():
        databases.refuse_network(folder, mounts)
