"""Real studies at a real terminal: interrupted in every phase, and by two users in turn."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from study.state.journal import Reading
from tests.study.inline import SPACE, assert_whole, results, write_space
from tests.terminals import CTRL_C, ROOT, Terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def three_times(terminal: Terminal) -> None:
    for _ in range(3):
        terminal.type(CTRL_C)
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            terminal.read(0.05)


def once(terminal: Terminal) -> None:
    terminal.type(CTRL_C)


def ended(terminal: Terminal) -> None:
    os.kill(terminal.process, signal.SIGTERM)


def hung_up(terminal: Terminal) -> None:
    """As a shell does whose window is closed."""
    terminal.close()
    os.kill(terminal.process, signal.SIGHUP)


def cut_off(terminal: Terminal) -> None:
    """As where nobody passes the signal on."""
    terminal.close()


def stopped_and_ended(terminal: Terminal) -> None:
    os.kill(terminal.process, signal.SIGSTOP)
    time.sleep(2)
    os.kill(terminal.process, signal.SIGCONT)
    once(terminal)


PHASES: list[tuple[str, Callable[[Path], bool], float, Callable[[Terminal], None]]] = [
    ("importing", lambda _: True, 0.3, once),
    ("planned", lambda root: (root / "studies/s/plan.json").exists(), 0, once),
    ("Ray starts", lambda root: last(root) == "launch", 0.7, three_times),
    ("Ray starts", lambda root: last(root) == "launch", 1.2, ended),
    ("training", lambda root: trains(root), 5, three_times),
    ("training", lambda root: trains(root), 5, hung_up),
    ("training", lambda root: trains(root), 5, ended),
    ("training", lambda root: trains(root), 5, cut_off),
    ("training", lambda root: trains(root), 2, stopped_and_ended),
    ("reporting", lambda root: len(results(root)) == 3 and last(root) == "end", 0, ended),
]


def lines(root: Path) -> list[str]:
    """The kinds of all events so far."""
    return [str(line["event"]) for line in Reading(root / "studies/s")]


def come(root: Path, before: list[str], ready: Callable[[Path], bool]) -> bool:
    """Whether this launch, not one before, is ready to be interrupted."""
    return (not before or len(lines(root)) > len(before)) and ready(root)


def last(root: Path) -> str:
    """The kind of the latest event."""
    return (lines(root) or [""])[-1]


def trains(root: Path) -> bool:
    return last(root) == "running"


def test_interrupted_in_every_phase(tmp_path: Path) -> None:
    """One study; each time exit code 130, nothing left running, nothing lost."""
    root = tmp_path / "root"
    space = write_space(tmp_path, SPACE.replace("steps: 3", "steps: 1500"))
    words = ["study/run.py", "--space", str(space), "--root", str(root), "--name", "s"]
    words += ["--workers", "1"]
    for name, ready, seconds, interrupt in PHASES:
        before = lines(root)
        with Terminal(words) as terminal:
            terminal.until(partial(come, root, before, ready), 600)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                terminal.read(0.05)
            interrupt(terminal)
            code = terminal.wait()
            assert code == 130, (name, terminal.shown[-3000:])
            assert "Traceback" not in terminal.shown, terminal.shown
            if name != "importing" and interrupt not in (hung_up, cut_off):
                assert "--workers 1" in terminal.shown, (name, terminal.shown)
            end = time.monotonic() + 20
            while terminal.left() and time.monotonic() < end:
                time.sleep(0.2)
            assert terminal.left() == [], name
    with Terminal(words) as terminal:
        assert terminal.wait() == 0
    assert_whole(root, results(root))
    assert len(results(root)) == 3


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can reach."""
    if os.geteuid() != 0 or not (shutil.which("setpriv") and shutil.which("unshare")):
        pytest.skip("needs root, setpriv and unshare, to act as several users")
    folder = Path(tempfile.mkdtemp(prefix="users-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def act(user: int, shared: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of that user, in a group with others; Python is let be seen where it is hidden."""
    base = Path(sys.base_prefix)
    hidden = [p for p in base.parents if not p.stat().st_mode & stat.S_IXOTH]
    script = 'umask 002; exec setpriv --reuid "$0" --regid 60100 --clear-groups "$@"'
    if hidden:
        (shared / "python").mkdir(exist_ok=True)
        script = (
            f"mount --bind {base} {shared}/python && mount -t tmpfs -o mode=755 none {hidden[-1]} "
            f"&& mkdir -p {base} && mount --bind {shared}/python {base} && {script}"
        )
    command = ["unshare", "-m", "sh", "-c", script, str(user), sys.executable, *words]
    environment = os.environ | {"HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_two_users_take_turns_at_one_study(shared: Path) -> None:
    root = shared / "root"
    root.mkdir()
    os.chown(root, 0, 60100)
    root.chmod(0o2775)
    space = write_space(shared)
    words = ["study/run.py", "--space", str(space), "--root", str(root), "--name", "s"]
    first, second = 60101, 60102
    assert act(first, shared, *words, "--workers", "1").returncode == 0
    with suppress(FileNotFoundError):
        shutil.rmtree(next(root.glob("trials/*")))
    for user in (second, first):
        done = act(user, shared, *words, "--workers", "1")
        assert done.returncode == 0, done.stderr
    for command in ("status", "report", "track", "clean", "doctor"):
        names = ["s"] if command not in ("clean", "doctor") else []
        done = act(second, shared, "-m", "study", command, *names, "--root", str(root))
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    assert_whole(root, results(root))
    tokens = {path.name: path.stat() for path in root.glob("ray.token*")}
    assert {(s.st_uid, stat.S_IMODE(s.st_mode)) for s in tokens.values()} == {
        (first, 0o600),
        (second, 0o600),
    }
