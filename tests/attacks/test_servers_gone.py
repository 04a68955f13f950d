"""A database server that goes away in the middle of a study, for a while or with its data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from study.cli.app import main
from study.launch import launch as launcher
from study.launch.config import Job, Jobs, LaunchConfig, Listener
from tests.postgres import PASSWORD, Server
from tests.study.inline import forked, launch_inline, results
from tests.study.test_postgres import rows

pytest.importorskip("psycopg", reason="psycopg is not installed (make install-dev)")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]


def run_sql(postgres: Server, *statements: str) -> None:
    """As the server's owner, in no transaction."""
    url = f"postgresql+psycopg://study:{PASSWORD}@127.0.0.1:{postgres.port}/postgres"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def drop(postgres: Server, *databases: str) -> None:
    run_sql(postgres, *(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)' for name in databases))


def ensure(postgres: Server, database: str) -> None:
    """An empty database, unless there is one."""
    with suppress(AssertionError):
        postgres.create(database)


class Meddler:
    """Trials in the driver's process; once the first has a result, the server is meddled with."""

    def __init__(self, meddle: Callable[[], None]) -> None:
        self.meddle: Callable[[], None] | None = meddle

    def launch(self, jobs: Sequence[Job] | Jobs, listener: Listener, config: LaunchConfig) -> None:
        running = listener.running

        def meddled(digest: str) -> None:
            running(digest)
            if results(Path(str(config.root))) and self.meddle:
                self.meddle()
                self.meddle = None

        listener.running = meddled  # type: ignore[method-assign]
        launch_inline(jobs, listener, config)


def run(
    root: Path, space: Path, storage: str, tracking: str, meddle: Callable[[], None] | None = None
) -> int:
    """Exit code of the study's command in a process of its own; 99 is a traceback."""
    words = ["run", "--space", str(space), "--root", str(root), "--name", "s"]
    words += ["--storage", storage, "--tracking-uri", tracking]

    def command() -> int:
        launcher.launch = launch_inline if meddle is None else Meddler(meddle).launch
        return main(words)

    return forked(command, {})


def restarted(postgres: Server) -> None:
    postgres.stop()
    postgres.start()


def stopped(postgres: Server) -> None:
    postgres.stop()


def rows_dropped(postgres: Server) -> None:
    drop(postgres, "optuna")


def both_dropped(postgres: Server) -> None:
    drop(postgres, "optuna", "mlflow")


def both_emptied(postgres: Server) -> None:
    both_dropped(postgres)
    for name in ("optuna", "mlflow"):
        postgres.create(name)


def mlflow_dropped(postgres: Server) -> None:
    drop(postgres, "mlflow")


MEDDLED = [restarted, stopped, rows_dropped, both_dropped, both_emptied, mlflow_dropped]


@pytest.mark.parametrize("meddle", MEDDLED)
def test_a_study_outlives_its_server(
    postgres: Server,
    finished: Path,
    space: Path,
    tmp_path: Path,
    meddle: Callable[[Server], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    with suppress(AssertionError):  # it runs, unless a test before this one failed
        postgres.start()
    drop(postgres, "optuna", "mlflow")
    storage, tracking = postgres.create("optuna"), postgres.create("mlflow")
    root = tmp_path / "root"
    assert run(root, space, storage, tracking, lambda: meddle(postgres)) == 0
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said
    assert "WARNING" not in said
    assert PASSWORD not in said
    assert results(root) == results(finished)
    with suppress(AssertionError):
        postgres.start()
    for name in ("optuna", "mlflow"):
        ensure(postgres, name)
    words = ["track", "s", "--root", str(root), "--storage", storage, "--tracking-uri", tracking]
    assert forked(lambda: main(words), {}) == 0
    assert dict(rows(storage, "s")) == {
        json.dumps(digest): "COMPLETE" for digest in results(finished)
    }
    for path in root.rglob("*"):
        assert not (path.is_file() and PASSWORD.encode() in path.read_bytes()), path


@pytest.mark.timeout(900)
@pytest.mark.parametrize("meddle", [stopped, both_emptied])
def test_a_real_study_outlives_its_server(
    postgres: Server, space: Path, tmp_path: Path, meddle: Callable[[Server], None]
) -> None:
    with suppress(AssertionError):
        postgres.start()
    drop(postgres, "optuna", "mlflow")
    storage, tracking = postgres.create("optuna"), postgres.create("mlflow")
    root = tmp_path / "root"
    words = [sys.executable, "study/run.py", "--space", str(space), "--root", str(root)]
    words += ["--name", "s", "--workers", "1", "--tracking-uri", tracking]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            words,
            cwd=ROOT,
            env=os.environ | {"STUDY_STORAGE": storage},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    study = start()
    while not list(root.glob("trials/*/manifest.json")):
        assert study.poll() is None, study.communicate()[0]
        time.sleep(0.05)
    meddle(postgres)
    said = study.communicate()[0]
    assert study.returncode == 0, said
    assert "Traceback" not in said
    assert PASSWORD not in said
    before = results(root)
    with suppress(AssertionError):
        postgres.start()
    again = start()
    said = again.communicate()[0]
    assert again.returncode == 0, said
    assert results(root) == before
    assert len(rows(storage, "s")) == len(before) == 3


def test_roots_that_share_a_server_write_no_files_into_each_other(
    postgres: Server, space: Path, tmp_path: Path
) -> None:
    with suppress(AssertionError):
        postgres.start()
    drop(postgres, "first", "second", "mlflow")
    tracking = postgres.create("mlflow")
    roots = tmp_path / "one", tmp_path / "two"
    assert run(roots[0], space, postgres.create("first"), tracking) == 0
    before = {path: path.stat().st_mtime_ns for path in roots[0].rglob("*")}
    assert run(roots[1], space, postgres.create("second"), tracking, lambda: None) == 0
    assert {path: path.stat().st_mtime_ns for path in roots[0].rglob("*")} == before
    assert results(roots[0]) == results(roots[1])
