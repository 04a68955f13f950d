"""What a machine lacks or does: clocks that jump, errors on their way between processes."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import study
import trainables
from study.search.budget import Clock, Spent, spent
from study.state.record import Moment
from study.state.study_folder import StudyFolder
from trainables.data.formats.reading import AbsentLanguageError, BadRowError
from trainables.errors import DataError, UserError
from trainables.failures import TrialFailedError
from trainables.storage.atomic import NoRoomError

DAY = 86_400.0


def exceptions() -> list[type[Exception]]:
    """Every class of exception of the two packages."""
    for package in (study, trainables):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    waiting, every = [Exception], []
    while waiting:
        for one in waiting.pop().__subclasses__():
            waiting.append(one)
            if one.__module__.partition(".")[0] in ("study", "trainables"):
                every.append(one)
    return every


MADE: dict[type[Exception], tuple[Any, ...]] = {
    DataError: ("wrong", "a.jsonl", 3, "text"),
    AbsentLanguageError: ("xquad", "text", ["de"], ["en"], "folder"),
    BadRowError: ("wrong", "text"),
    TrialFailedError: ("nan", "the loss is NaN"),
    NoRoomError: (28, "No space left on device", "a"),
}


def test_failures_are_pickled_and_copied() -> None:
    every = exceptions()
    assert set(MADE) < set(every)
    for kind in every:
        error = kind(*MADE.get(kind, ("what is wrong",)))
        for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert type(again) is kind
            assert str(again) == str(error)
            assert vars(again) == vars(error)


@pytest.mark.parametrize("jump", [-DAY, 0.0, DAY])
def test_a_clock_that_jumps_changes_no_budget(
    jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    even, day = 50.0, 100_000.0
    monkeypatch.setattr("time.monotonic", lambda: even)
    monkeypatch.setattr("time.time", lambda: day)
    (tmp_path / "studies" / "s").mkdir(parents=True)
    folder = StudyFolder.of(tmp_path, "s")
    for launch in range(2):
        with folder.lease() as journal:
            journal.note("launch", trials=1)
            even, day = even + 10, day + 10
            journal.note("running", trial=f"t{launch}")
            even, day = even + 20, day + 20 + jump
            journal.note("complete", trial=f"t{launch}")
            even, day = even + 1, day + 1
            journal.note("end")
        even, day = even - 40, day + 3600  # a machine started anew counts from another second
    times = folder.record().times
    assert spent(times) == Spent(wall=62, busy=40, ended=2, finished=40)
    clock = Clock.after(times)
    clock.begin(1)
    even, day = even + 5, day + jump
    assert clock.spent().wall == 67


def test_journals_from_before_have_no_negative_seconds() -> None:
    events = [
        Moment("launch", "", 100_000.0),
        Moment("running", "a", 100_010.0),
        Moment("complete", "a", 13_700.0),
        Moment("end", "", 13_701.0),
    ]
    assert spent(events) == Spent(wall=11, busy=0, ended=1, finished=0)


def test_what_a_driver_did_that_died_counts_to_its_last_word() -> None:
    events = [
        Moment("launch", "", 5.0),
        Moment("running", "a", 7.0),
        Moment("running", "b", 10.0),
        Moment("opened", "", 99.0),
    ]
    assert spent(events) == Spent(wall=5, busy=3)


def test_a_mistake_of_data_says_where(tmp_path: Path) -> None:
    error = pickle.loads(pickle.dumps(DataError("wrong", tmp_path / "a", "2.qas", None)))
    assert (error.file, error.row, error.key) == (str(tmp_path / "a"), "2.qas", None)
    assert isinstance(error, UserError)
