"""One driver a study, whoever removes its lock; and several users on one root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from study.cli.app import main
from study.launch import launch as launcher
from study.state.study_folder import DamagedPlanError, StudyFolder
from tests.study.inline import forked, launch_inline, results, states
from trainables.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys
from pathlib import Path
from study.state.study_folder import StudyFolder
with StudyFolder.of(Path(sys.argv[1]), "s").lease():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which drives study `s` under `tmp_path`."""
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def emptied(lock: Path) -> None:
    lock.write_text("")


def removed(lock: Path) -> None:
    lock.unlink()


def replaced(lock: Path) -> None:
    lock.unlink()
    lock.write_text("process 1 on nowhere")


def moved(lock: Path) -> None:
    lock.rename(lock.with_name("elsewhere"))


@pytest.mark.parametrize("meddle", [emptied, removed, replaced, moved])
def test_whoever_meddles_with_the_lock_lets_no_second_driver_in(
    tmp_path: Path, holder: subprocess.Popen[str], meddle: Callable[[Path], None]
) -> None:
    meddle(tmp_path / "studies/s/driver.lock")
    for _ in range(2):
        with pytest.raises(UserError), StudyFolder.of(tmp_path, "s").lease():
            pass
    with StudyFolder.of(tmp_path, "t").lease():
        pass
    holder.kill()
    holder.wait()
    with StudyFolder.of(tmp_path, "s").lease():
        assert str(os.getpid()) in (tmp_path / "studies/s/driver.lock").read_text()


@pytest.mark.parametrize("error", [FileNotFoundError, BlockingIOError, PermissionError])
def test_an_error_of_the_driver_stays_what_it_is(tmp_path: Path, error: type[OSError]) -> None:
    with pytest.raises(error), StudyFolder.of(tmp_path, "s").lease():
        raise error
    with StudyFolder.of(tmp_path, "s").lease():
        pass


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_what_is_no_plain_file_is_no_lock(tmp_path: Path, kind: str) -> None:
    lock = tmp_path / "studies/s/driver.lock"
    lock.parent.mkdir(parents=True)
    if kind == "fifo":
        os.mkfifo(lock)
    elif kind == "link":
        lock.symlink_to(tmp_path / "target")
    else:
        lock.mkdir()
    with pytest.raises(UserError), StudyFolder.of(tmp_path, "s").lease():
        pass
    assert not (tmp_path / "target").exists()


@pytest.fixture
def shared_root() -> Iterator[Path]:
    """A root that every user can reach."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as several users")
    folder = Path(tempfile.mkdtemp(prefix="users-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder / "root"
    shutil.rmtree(folder)


def act(user: int, mask: int, *words: str, group: int = 60000) -> int:
    """Exit code of a command of that user; 99 is a traceback."""

    def command() -> int:
        version("torch")  # imports what it needs while an interpreter in root's home can be read
        os.umask(mask)
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
        launcher.launch = launch_inline
        return main([*words])

    return forked(command, {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"})


def test_users_of_one_group_share_a_root(shared_root: Path, space: Path, finished: Path) -> None:
    shared_root.mkdir()
    os.chown(shared_root, 0, 60000)
    shared_root.chmod(0o2775)
    copy = shared_root.parent / "space.yaml"
    shutil.copy(space, copy)
    words = ["run", "--space", str(copy), "--root", str(shared_root), "--name"]
    assert act(60001, 0o002, *words, "s") == 0
    whole = results(shared_root)
    assert len(whole) == 3
    assert act(60002, 0o002, *words, "s") == 0
    assert act(60002, 0o002, *words, "t") == 0
    shutil.rmtree(next(shared_root.glob("trials/*")))
    assert act(60002, 0o002, *words, "s") == 0
    assert results(shared_root).keys() == whole.keys()
    for name in ("s", "t"):
        assert list(states(shared_root, name).values()) == ["complete"] * 3
        for command in ("status", "report"):
            assert act(60001, 0o002, command, name, "--root", str(shared_root)) == 0
    assert not list(shared_root.rglob("*.damaged-*"))


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777, 0o700])
def test_a_root_that_only_one_may_write_is_refused_to_others(
    shared_root: Path,
    space: Path,
    finished: Path,
    mode: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The second user reads what he may, and changes nothing."""
    shutil.copytree(finished, shared_root)
    for path in (shared_root, *shared_root.rglob("*")):
        os.chown(path, 60001, 60000)
        path.chmod(0o755 if path.is_dir() else 0o644)
    for folder in (shared_root, shared_root / "studies", shared_root / "studies/s"):
        folder.chmod(mode)
    copy = shared_root.parent / "space.yaml"
    shutil.copy(space, copy)
    shutil.rmtree(shared_root / "reports")
    before = {p: p.stat().st_mtime_ns for p in shared_root.rglob("*") if p.is_file()}
    for name in ("s", "t"):
        words = ["run", "--space", str(copy), "--root", str(shared_root), "--name", name]
        own = name == "t" and mode in (0o777, 0o1777)  # a study of one's own, its trials all known
        assert act(60002, 0o022, *words) == (0 if own else 2)
    read = act(60002, 0o022, "status", "s", "--root", str(shared_root))
    assert read == (2 if mode == 0o700 else 0)
    at = ("--root", str(shared_root))
    assert act(60002, 0o022, "track", "s", *at) == (2 if mode == 0o700 else 130)
    for command in (("report", "s"), ("clean",), ("clean", "--dry-run"), ("ui", "--port", "-1")):
        assert act(60002, 0o022, *command, *at) in (0, 2)
    assert "Traceback" not in capfd.readouterr().err
    after = {p: p.stat().st_mtime_ns for p in before}
    assert after == before


def test_a_plan_that_cannot_be_read_now_is_not_damaged(shared_root: Path, finished: Path) -> None:
    shutil.copytree(finished, shared_root)
    plan = shared_root / "studies/s/plan.json"
    plan.chmod(0o600)

    def read() -> int:
        os.setuid(60002)
        folder = StudyFolder.of(shared_root, "s")
        wanted = StudyFolder.of(finished, "s")
        for attempt in (folder.plan, lambda: folder.plan_or_aside(wanted.plan())):  # type: ignore[arg-type]
            try:
                attempt()
            except DamagedPlanError:
                return 1
            except UserError:
                continue
            return 3
        return 0

    assert forked(read, {}) == 0
    assert [path.name for path in plan.parent.glob("plan.json*")] == ["plan.json"]
