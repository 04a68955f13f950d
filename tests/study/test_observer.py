"""An observer of one's own is told of a study's events, and of none twice by a driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.cli.app import main
from study.cli.workspace import Workspace
from study.launch import launch as launcher
from study.tracking.observer import EndedTrial, Observer
from tests.study.inline import launch_inline, states, warm, write_space


class Log(Observer):
    """Events as tuples."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []

    def started(self, digest: str) -> None:
        self.events.append(("started", digest))

    def ended(self, trial: EndedTrial) -> None:
        assert trial.label
        assert trial.result is not None
        self.events.append(("ended", trial.digest, trial.state.state))


class Book(Log):
    """One that holds nothing yet, and wants all that has ended."""

    def states(self) -> dict[str, str]:
        return {}


def test_an_observer_is_told_of_every_start_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm()
    log, again, book = Log(), Log(), Book()
    observers: list[Observer] = [log]
    monkeypatch.setattr(Workspace, "observers", lambda *_: [*observers])
    monkeypatch.setattr(launcher, "launch", launch_inline)
    words = ["run", "--space", str(write_space(tmp_path)), "--name", "s"]
    words += ["--root", str(tmp_path / "root")]
    assert main(words) == 0
    trials = states(tmp_path / "root")
    starts = [event[1] for event in log.events if event[0] == "started"]
    assert sorted(starts) == sorted(trials)
    assert {e[1]: e[2] for e in log.events if e[0] == "ended"} == trials
    assert len(log.events) == 2 * len(trials)
    observers[:] = [again, book]
    assert main(words) == 0
    assert again.events == []
    assert {e[1]: e[2] for e in book.events} == trials
