"""A ledger that cannot be read or written now is no damage: it is waited for, or left alone."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError

from study import ledger, ledger_file, ledger_server
from study.commands.app import main
from study.ledger import Ledger
from study.tracking import database
from tests.study.inline import forked, ledger_rows
from trainables.errors import NotNowError, UserError

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["IMMEDIATE", "EXCLUSIVE"]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiting, in tenths of a second."""
    monkeypatch.setattr(ledger_file, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(ledger_server, "WAIT_SECONDS", 1.0)
    monkeypatch.setattr(ledger_server, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(ledger, "PAUSES", (0.01,))


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path}/ledger.db"
    Ledger(made, "a").add("d", 0, {})
    return made


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Callable[[str], sqlite3.Connection]]:
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as holder:

        def lock(how: str) -> sqlite3.Connection:
            holder.execute(f"BEGIN {how}")
            return holder

        yield lock


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.db*"))


@pytest.mark.parametrize("study", ["a", "new"])
@pytest.mark.parametrize("how", LOCKS)
def test_a_locked_ledger_is_left_alone(
    url: str, tmp_path: Path, locked: Callable[[str], sqlite3.Connection], how: str, study: str
) -> None:
    holder = locked(how)
    if (how, study) == ("IMMEDIATE", "a"):
        assert [row.digest for row in Ledger(url, study).rows()] == ["d"], "readers go on"
    else:
        with pytest.raises(NotNowError):
            Ledger(url, study)
    assert set(names(tmp_path)) <= {"ledger.db", "ledger.db-journal"}
    holder.execute("ROLLBACK")
    assert Ledger(url, study).notes == []


@pytest.mark.parametrize("how", LOCKS)
def test_a_change_waits_for_the_lock(
    url: str, tmp_path: Path, locked: Callable[[str], sqlite3.Connection], how: str
) -> None:
    mine = Ledger(url, "a")
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute(f"BEGIN {how}")
        with pytest.raises(NotNowError):
            mine.add("e", 0, {})
        other.execute("ROLLBACK")
    release = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as holder:
            holder.execute(f"BEGIN {how}")
            release.set()
            time.sleep(0.5)

    holding = threading.Thread(target=hold)
    holding.start()
    release.wait()
    mine.claim(mine.add("f", 0, {}))
    holding.join()
    assert [row.digest for row in mine.rows()] == ["d", "f"]
    assert mine.notes == []
    assert names(tmp_path) == ["ledger.db"]


def test_a_study_that_meets_a_lock_stops_with_its_resume_line(
    root: Path, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--space", str(space), "--root", str(root), "--name"]
    with closing(sqlite3.connect(root / "ledger.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert main([*words, "s"]) == 130
        said = capsys.readouterr().err
        assert str(root / "ledger.db") in said
        assert "resume with" in said
        assert main(["status", "s", "--root", str(root)]) == 130
        holder.execute("ROLLBACK")
    assert main([*words, "s"]) == 0
    assert not list(root.glob("ledger.db.damaged-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
@pytest.mark.parametrize("study", ["a", "new"])
def test_another_users_ledger_is_left_alone(url: str, tmp_path: Path, study: str) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 != 0o005 and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    tmp_path.chmod(0o777)

    def opened() -> int:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            Ledger(url, study).add("e", 0, {})
        except NotNowError:
            return 130
        except UserError:
            return 2
        return 0

    assert forked(opened, {}) == 2
    assert names(tmp_path) == ["ledger.db"]
    assert [row.digest for row in Ledger(url, "a").rows()] == ["d"]


def test_a_full_disk_is_no_damage(url: str, tmp_path: Path) -> None:
    mine = Ledger(url, "a")
    with mine.storage.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        mine.storage.engine.pool.status()
        with pytest.raises(sqlite3.Error) as full:
            connection.connection.dbapi_connection.execute(  # type: ignore[union-attr]
                "CREATE TABLE large AS SELECT zeroblob(9000000)"
            )
    assert full.value.sqlite_errorcode == sqlite3.SQLITE_FULL
    assert isinstance(ledger_file.refusal(url, full.value), NotNowError)
    assert ledger_file.damage(url) == ""


@pytest.mark.parametrize(
    "code", ["SQLITE_BUSY", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR"]
)
def test_no_code_but_damage_moves_a_file(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def fail(self: Ledger) -> None:
        error = sqlite3.OperationalError("planted")
        error.sqlite_errorcode = getattr(sqlite3, code)
        try:
            raise error
        except sqlite3.Error:
            raise StorageInternalError("what Optuna makes of it") from None

    monkeypatch.setattr(Ledger, "_open", fail)
    with pytest.raises(UserError):
        Ledger(url, "a")
    assert names(tmp_path) == ["ledger.db"]


OPENER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Starts a process that has a database open."""
    processes = []

    def start(path: Path) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", OPENER, str(path)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
        processes.append(process)
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        return process

    yield start
    for process in processes:
        process.communicate("")


def test_a_damaged_file_is_not_moved_under_a_process_that_has_it_open(
    url: str, tmp_path: Path, user: Callable[[Path], subprocess.Popen[str]]
) -> None:
    path = tmp_path / "ledger.db"
    process = user(path)
    path.write_bytes(b"no database" * 1000)
    assert ledger_file.users_of(path) == [process.pid]
    with pytest.raises(UserError):
        Ledger(url, "a")
    assert names(tmp_path) == ["ledger.db"]
    process.communicate("")
    assert len(Ledger(url, "a").notes) == 1
    assert len(names(tmp_path)) == 2


def test_mlflows_database_is_moved_only_when_sqlite_calls_it_damaged(
    root: Path, space: Path, user: Callable[[Path], subprocess.Popen[str]]
) -> None:
    path = root / "mlflow.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "WAIT_SECONDS", 0.2)
            assert database.damage(path) == ""
        holder.execute("ROLLBACK")
    process = user(path)
    shutil.copyfile(space, path)
    assert database.damage(path)
    words = ["run", "--space", str(space), "--root", str(root), "--name", "s"]
    assert main(words) == 0
    assert names(root) == ["ledger.db", "mlflow.db"]
    process.communicate("")
    assert main(words) == 0
    assert any("mlflow.db.damaged-" in name for name in names(root))


def test_a_second_study_beside_a_lock_leaves_the_first_its_ledger(
    root: Path, space: Path, locked: Callable[[str], sqlite3.Connection]
) -> None:
    """The running study's own connection stays good: nothing was renamed under it."""
    url = f"sqlite:///{root}/ledger.db"
    running = Ledger(url, "s")
    with closing(sqlite3.connect(root / "ledger.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert main(["run", "--space", str(space), "--root", str(root), "--name", "t"]) == 130
        holder.execute("ROLLBACK")
    running.add("e", 0, {})
    assert "e" in {digest for digest, _ in ledger_rows(root)}
    assert json.loads((root / "studies/s/plan.json").read_bytes())["name"] == "s"
