"""Views are only shown: locked, lost, damaged or foreign, a study goes on and leaves them alone."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from study.cli.app import main
from study.launch import launch as launcher
from study.launch.config import Job, Jobs, LaunchConfig, Listener
from study.state.journal import Reading
from study.state.study_folder import StudyFolder
from study.tracking import tracker, view
from tests.study.inline import assert_whole, forked, launch_inline, optuna_rows, results, states

NAMES = ("optuna.db", "mlflow.db")
LOCKS = ("IMMEDIATE", "EXCLUSIVE")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiting, in seconds."""
    monkeypatch.setattr(view, "CLOSE_SECONDS", 1.0)
    monkeypatch.setattr(tracker, "CLOSING_SECONDS", 8.0)


@pytest.fixture
def run(root: Path, space: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Exit code of the study's command once more, its trials in this process."""
    monkeypatch.setattr(launcher, "launch", launch_inline)
    words = ["run", "--space", str(space), "--root", str(root), "--name"]
    # forked, because MLflow keeps a database open for as long as its process lives
    return lambda name="s", *more: forked(lambda: main([*words, name, *more]), {})


@pytest.fixture
def lock(root: Path) -> Iterator[Callable[[str], None]]:
    """Locks both databases, as a backup or another program does."""
    with ExitStack() as stack:

        def locked(how: str) -> None:
            for name in NAMES:
                connection = sqlite3.connect(root / name, isolation_level=None)
                stack.enter_context(closing(connection)).execute(f"BEGIN {how}")

        yield locked


def track(root: Path, name: str) -> int:
    return forked(lambda: main(["track", name, "--root", str(root)]), {})


def files(root: Path) -> dict[str, tuple[int, bytes]]:
    """Inode and content of everything that lies beside the databases."""
    return {p.name: (p.stat().st_ino, p.read_bytes()) for p in sorted(root.glob("*.db*"))}


@pytest.mark.parametrize("how", LOCKS)
def test_locked_views_stop_no_study(
    root: Path, run: Callable[..., int], lock: Callable[[str], None], how: str
) -> None:
    shutil.rmtree(next(root.glob("trials/*")))
    before = results(root)
    lock(how)
    assert run() == 0
    assert run("t") == 0
    assert len(results(root)) == len(before) + 1
    assert set(states(root, "t").values()) == {"complete"}
    assert main(["status", "s", "--root", str(root)]) == 0
    assert {path.name for path in root.glob("*.db*")} <= {*NAMES, *(f"{n}-journal" for n in NAMES)}


def test_what_a_locked_view_missed_is_filled_in(
    root: Path, run: Callable[..., int], whole: dict[str, bytes]
) -> None:
    shutil.rmtree(next(root.glob("trials/*")))
    (root / "studies/s/tracked.jsonl").unlink()
    with closing(sqlite3.connect(root / "optuna.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert run() == 0
        holder.execute("ROLLBACK")
    assert track(root, "s") == 0
    assert_whole(root, results(root))


@pytest.fixture
def whole(root: Path) -> dict[str, bytes]:
    return results(root)


def no_database(path: Path) -> None:
    path.write_bytes(b"no database\nat all" * 1000)


def of_another_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9.a'")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [no_database, of_another_version, a_folder])
def test_damaged_views_are_left_as_they_are(
    root: Path, run: Callable[..., int], whole: dict[str, bytes], damage: Callable[[Path], None]
) -> None:
    for name in NAMES:
        damage(root / name)
    before = {n: files(root)[n] for n in NAMES} if damage is not a_folder else {}
    assert run("t") == 0
    assert {name: files(root)[name] for name in before} == before
    assert sorted(path.name for path in root.glob("*.db*") if "journal" not in path.name) == sorted(
        NAMES
    )
    assert set(states(root, "t").values()) == {"complete"}
    for name in NAMES:
        shutil.rmtree(root / name) if damage is a_folder else (root / name).unlink()
    assert track(root, "s") == 0
    assert_whole(root, whole)


def test_nothing_reads_a_view(root: Path, run: Callable[..., int]) -> None:
    """Rows that say something else change neither states nor proposals, journal or folders."""
    expected = states(root)
    with closing(sqlite3.connect(root / "optuna.db")) as connection, connection:
        connection.execute("UPDATE trials SET state = 'FAIL'")
    before = [line for line in Reading(root / "studies/s")]
    assert states(root) == expected
    assert run() == 0
    assert run("s", "--retry", "failed") == 0
    assert list(Reading(root / "studies/s")) == before


def test_the_foreign_study_of_a_shared_storage_costs_a_note(
    root: Path, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "launch", launch_inline)
    other = tmp_path / "other"
    url = f"sqlite:///{root}/optuna.db"
    words = ["run", "--space", str(space), "--root", str(other), "--name", "s", "--storage", url]
    before = optuna_rows(root)
    assert forked(lambda: main(words), {}) == 0
    assert set(states(other).values()) == {"complete"}
    assert optuna_rows(root) == before


def removed(path: Path) -> None:
    path.unlink()


def locked(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    HELD.append(connection)


HELD: list[sqlite3.Connection] = []


@pytest.mark.parametrize("meddle", [removed, locked, no_database])
def test_views_that_fall_in_mid_study_change_nothing(
    space: Path, finished: Path, tmp_path: Path, meddle: Callable[[Path], None]
) -> None:
    """Lines of the journal but for their times, and folders, are those of an undisturbed study."""

    def meddling(jobs: Sequence[Job] | Jobs, listener: Listener, config: LaunchConfig) -> None:
        running, waiting = listener.running, list(NAMES)

        def meddled(digest: str) -> None:
            running(digest)
            for name in [*waiting]:
                if results(Path(str(config.root))) and (path := tmp_path / "root" / name).exists():
                    waiting.remove(name)
                    meddle(path)

        listener.running = meddled  # type: ignore[method-assign]
        launch_inline(jobs, listener, config)

    def command() -> int:
        launcher.launch = meddling
        words = ["run", "--space", str(space), "--name", "s", "--root", str(tmp_path / "root")]
        return main(words)

    assert forked(command, {}) == 0
    assert results(tmp_path / "root") == results(finished)
    assert said(tmp_path / "root") == said(finished)
    assert StudyFolder.of(tmp_path / "root", "s").record().marks == []


def said(root: Path) -> list[dict[str, object]]:
    """Lines of the journal without who wrote them, and when."""
    own = ("time", "monotonic", "process", "state")
    lines = Reading(root / "studies/s")
    return [{key: value for key, value in line.items() if key not in own} for line in lines]
