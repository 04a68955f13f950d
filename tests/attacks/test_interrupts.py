"""Streams that are closed, signals, and a machine that lacks something: saved, exit 130."""

from __future__ import annotations

import errno
import os
import pty
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from study.console import PlainConsole
from study.interrupts import handed_on, held, saving
from study.launch import launch as launcher
from study.state.journal import Reading
from tests.study.inline import write_space
from trainables.failures import lacking


def raises(error: BaseException) -> Callable[..., None]:
    def launch(*_: object) -> None:
        raise error

    return launch


def again_and_again(*_: object) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "launch",
    [
        again_and_again,
        raises(KeyboardInterrupt()),
        raises(OSError(errno.ENOSPC, "No space left on device", "x")),
        raises(OSError(errno.EROFS, "Read-only file system", "x")),
    ],
)
def test_what_stops_a_launch_ends_it_whole(
    launch: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.cli.app import main

    monkeypatch.setattr(launcher, "launch", launch)
    space = write_space(tmp_path)
    words = ["run", "--space", str(space), "--root", str(tmp_path / "r"), "--name", "s"]
    assert main(words) == 130
    end, closed = list(Reading(tmp_path / "r/studies/s"))[-2:]
    assert (end["event"], end["running"]) == ("end", 0)
    assert closed["event"] == "closed"


def test_a_reader_that_goes_away_interrupts() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        console = PlainConsole(stream)
        with pytest.raises(KeyboardInterrupt), saving():
            console.print("x")
        console.print("what follows goes nowhere")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "2>&1 | head -0"])
def test_streams_that_are_closed(closed: str, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m study status none --root {tmp_path} {closed}"
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )
    assert ended.returncode in (2, 130)
    assert "Traceback" not in ended.stdout + ended.stderr


def test_what_a_machine_lacks_is_known_behind_other_errors() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "a")
    other = RuntimeError("x")
    other.__cause__ = full
    assert lacking(other)
    assert lacking(MemoryError())
    assert not lacking(OSError(errno.ENOENT, "No such file", "a"))
    assert not lacking(sqlite3.OperationalError("no such table"))


def test_what_is_raised_at_a_fork_is_not_lost() -> None:
    """Ray starts its processes so, and Python lets no error out of callbacks at a fork."""
    due = [signal.SIGINT]
    os.register_at_fork(after_in_parent=lambda: signal.raise_signal(due.pop()) if due else None)

    def fork() -> None:
        with saving(), held():
            subprocess.run(["true"], preexec_fn=lambda: None, check=True)

    with pytest.raises(KeyboardInterrupt):
        fork()


def test_an_interrupt_is_handed_on_once() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
    try:
        with saving(), handed_on(signal.SIGUSR1):
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)
        assert came == [1]
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        with pytest.raises(KeyboardInterrupt), saving(), handed_on(signal.SIGUSR1):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_terminal_that_is_gone_interrupts() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        console = PlainConsole(stream)
        os.close(master)
        with pytest.raises(KeyboardInterrupt), saving():
            console.print("x")
        console.print("what follows goes nowhere")


def test_an_interrupt_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from study.cli.app import main

    monkeypatch.setattr(launcher, "launch", raises(KeyboardInterrupt()))
    words = ["run", "--space", str(write_space(tmp_path)), "--root", str(tmp_path / "r")]
    monkeypatch.setattr(sys, "argv", ["study", *words])
    assert main(words) == 130
    assert str(tmp_path / "r") in capsys.readouterr().err
