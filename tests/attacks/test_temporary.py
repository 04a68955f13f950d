"""Temporary folders and tokens on a machine with other users: only one's own are opened."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from study.launch import session
from study.launch.session import own_token, ray_session, remove_dead_sessions, set_environment
from trainables.errors import UserError
from trainables.storage.paths import is_own_file

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder for temporary files, where anybody may write."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(session, "_system_folders", lambda: [folder])
    return folder


def dead(parent: Path, name: str = "study-x", mode: int = 0o700) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    folder.chmod(mode)
    (folder / "driver.lock").touch()
    return folder


def test_what_a_killed_driver_left_is_removed(system: Path, tmp_path: Path) -> None:
    left = [dead(system), dead(tmp_path / "state/tmp", "abc")]
    living = dead(system, "study-living")
    with (living / "driver.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sorted(remove_dead_sessions(tmp_path / "state", dry_run=True)) == sorted(left)
        assert all(folder.exists() for folder in left)
        assert sorted(remove_dead_sessions(tmp_path / "state")) == sorted(left)
    assert [*system.iterdir(), *(tmp_path / "state/tmp").iterdir()] == [living]


@pytest.mark.parametrize("place", ["system", "state"])
@pytest.mark.parametrize("kind", ["fifo", "link", "dangling", "folder", "link to a folder", "open"])
def test_names_that_others_can_make_are_passed_over(
    system: Path, tmp_path: Path, kind: str, place: str
) -> None:
    """In a process of its own: it must end, whatever lies there."""
    parent = system if place == "system" else tmp_path / "state/tmp"
    target = tmp_path / "target"
    if kind != "dangling":
        target.write_text("mine")
    folder = dead(parent, mode=0o777 if kind == "open" else 0o700)
    lock = folder / "driver.lock"
    if kind in ("fifo", "link", "dangling", "folder"):
        lock.unlink()
    if kind == "fifo":
        os.mkfifo(lock)
    elif kind in ("link", "dangling"):
        lock.symlink_to(target)
    elif kind == "folder":
        lock.mkdir()
    elif kind == "link to a folder":
        (tmp_path / "away").mkdir()
        folder.rename(tmp_path / "away/study-x")
        folder.symlink_to(tmp_path / "away/study-x")
    code = (
        "import sys; from pathlib import Path; from study.launch import session\n"
        "session._system_folders = lambda: [Path(sys.argv[1])]\n"
        "sys.exit(len(session.remove_dead_sessions(Path(sys.argv[2]))))"
    )
    words = [sys.executable, "-c", code, str(system), str(tmp_path / "state")]
    assert subprocess.run(words, cwd=ROOT, timeout=60, check=False).returncode == 0
    assert os.path.lexists(lock)
    assert target.exists() == (kind != "dangling")


def test_no_study_is_taken_for_a_dead_session(system: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    study = dead(state / "studies", "s", mode=0o700)
    (state / "tmp").symlink_to("studies")
    (system / "study-s").symlink_to(study)
    assert remove_dead_sessions(state) == []
    (state / "tmp").unlink()
    dead(state / "tmp", "s", mode=0o755)
    assert remove_dead_sessions(state) == []
    assert study.exists()


@as_root
def test_a_folder_of_another_user_is_passed_over(system: Path, tmp_path: Path) -> None:
    folder = dead(system)
    os.chown(folder, NOBODY, NOBODY)
    assert remove_dead_sessions(tmp_path / "state") == []
    assert folder.exists()


def opened(state: Path) -> Path:
    """Where a session's own files lie; its lock is held, and both are gone afterwards."""
    folder, lock = session._short_folder(state)
    with lock:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert remove_dead_sessions(state) == []
        assert folder.exists()
    assert remove_dead_sessions(state) == [folder]
    return folder.parent


def test_a_session_has_a_short_path_whatever_root_and_tmpdir_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("l" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="s") as short:
        assert opened(Path(short)) == Path(short) / "tmp"
        assert opened(tmp_path / "state") in (Path("/tmp"), Path("/var/tmp"))
        assert opened(Path(short) / "what?now") in (Path("/tmp"), Path("/var/tmp"))
    monkeypatch.setattr(session, "_system_folders", lambda: [long, tmp_path / "absent"])
    with pytest.raises(UserError):
        session._short_folder(tmp_path / "state")


def test_the_path_of_rays_sockets_fits(tmp_path: Path) -> None:
    named = "session_2026-11-30_18-30-20_123456_4194304/sockets/plasma_store"
    assert session.LONGEST_TEMPORARY + len(f"/ray/{named}") <= 107


TAKER = """
import sys, time
from pathlib import Path
from study.launch.session import own_token
print(flush=True)
sys.stdin.readline()
print(own_token(Path(sys.argv[1])).read_text(), flush=True)
"""


@pytest.mark.parametrize("before", [None, ""])
def test_drivers_that_begin_at_once_have_one_token(tmp_path: Path, before: str | None) -> None:
    words = [sys.executable, "-c", TAKER, str(tmp_path)]
    pipe = subprocess.PIPE
    takers = [
        subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(6)
    ]
    for taker in takers:
        assert taker.stdout
        taker.stdout.readline()
    if before is not None:
        (tmp_path / "ray.token").write_text(before)
    for taker in takers:
        assert taker.stdin
        taker.stdin.write("\n")
        taker.stdin.flush()
    tokens = {taker.communicate(timeout=60)[0].strip() for taker in takers}
    assert tokens == {(tmp_path / "ray.token").read_text()}
    assert len(tokens.pop()) == 64
    assert [path.name for path in tmp_path.iterdir()] == ["ray.token"]


def test_a_token_is_kept_and_only_its_user_reads_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = own_token(tmp_path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert own_token(tmp_path).read_text() == text
    path.chmod(0o644)
    assert own_token(tmp_path).read_text() != text, "others may have read it"
    assert path.stat().st_mode & 0o777 == 0o600


@as_root
def test_each_user_of_a_root_has_a_token(tmp_path: Path) -> None:
    theirs = own_token(tmp_path)
    text = theirs.read_text()
    os.chown(theirs, NOBODY, NOBODY)
    mine = own_token(tmp_path)
    assert mine != theirs
    assert mine.read_text() != text
    assert theirs.read_text() == text
    assert own_token(tmp_path) == mine
    mine.unlink()
    mine.symlink_to(theirs)
    with pytest.raises(UserError):
        own_token(tmp_path)
    assert theirs.read_text() == text


def test_a_link_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("stolen")
    (tmp_path / "ray.token").symlink_to(tmp_path / "target")
    assert own_token(tmp_path).read_text() != "stolen"
    assert (tmp_path / "target").read_text() == "stolen"


@pytest.mark.parametrize("content", [None, "", " \n", b"\xff"])
def test_a_named_file_without_a_token_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes | None
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    for folder in (tmp_path, None):
        with pytest.raises(UserError):
            set_environment(folder)
    began = time.monotonic()
    with pytest.raises(UserError), ray_session(tmp_path, 1, None):
        pass
    assert time.monotonic() - began < 60
    assert not (tmp_path / "ray.token").exists()


def test_what_the_watchdog_left_is_a_plain_file_of_ones_own(tmp_path: Path) -> None:
    plain, fifo, link = (tmp_path / name for name in ("plain", "fifo", "link"))
    plain.touch()
    os.mkfifo(fifo)
    link.symlink_to(plain)
    assert [is_own_file(path) for path in (plain, fifo, link, tmp_path, tmp_path / "no")] == [
        True,
        False,
        False,
        False,
        False,
    ]
    if os.geteuid() == 0:
        os.chown(plain, NOBODY, NOBODY)
        assert not is_own_file(plain)
