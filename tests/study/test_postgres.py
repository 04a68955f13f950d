"""Both views on a real PostgreSQL server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from study.cli.app import main
from tests.postgres import PASSWORD, Server
from tests.study.inline import results, states, write_space
from trainables.errors import redacted

pytest.importorskip("psycopg", reason="psycopg is not installed (make install-dev)")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]


def start(root: Path, space: Path, storage: str, tracking: str, name: str) -> subprocess.Popen[str]:
    """A study whose URLs hold the password: `s` in its environment, any other as typed."""
    words = ["study/run.py", "--space", str(space), "--root", str(root), "--name", name]
    words += ["--workers", "1", "--seeds", "3", "--tracking-uri", tracking]
    words += [] if name == "s" else ["--storage", storage]
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"STUDY_STORAGE": storage},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def rows(url: str, name: str) -> list[tuple[str, str]]:
    query = text(
        "SELECT value_json, state FROM trials JOIN trial_user_attributes USING (trial_id)"
        " JOIN studies USING (study_id) WHERE key = 'digest' AND study_name = :name"
        " ORDER BY trial_id"
    )
    with create_engine(url).connect() as connection:
        return [(row[0], str(row[1])) for row in connection.execute(query, {"name": name})]


def test_a_server_that_is_away_costs_a_note(postgres: Server, tmp_path: Path) -> None:
    storage, tracking = postgres.create("away"), postgres.create("mlflow-away")
    root, space = tmp_path / "root", write_space(tmp_path)
    postgres.stop()
    away = start(root, space, storage, tracking, "t")
    said = away.communicate()[0]
    postgres.start()
    assert away.returncode == 0, said
    assert "Traceback" not in said
    assert PASSWORD not in said
    assert len(results(root)) == 7
    words = ["track", "t", "--root", str(root), "--storage", storage, "--tracking-uri", tracking]
    assert main(words) == 0
    assert [state for _, state in rows(storage, "t")] == ["COMPLETE"] * 7


def test_the_study_of_another_root_is_left_alone(postgres: Server, tmp_path: Path) -> None:
    storage, tracking = postgres.create("shared"), postgres.create("mlflow-shared")
    space = write_space(tmp_path)
    for name in ("one", "two"):
        study = start(tmp_path / name, space, storage, tracking, "t")
        said = study.communicate()[0]
        assert study.returncode == 0, said
        assert PASSWORD not in said
        assert len(rows(storage, "t")) == 7
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_two_studies_at_once_and_a_restart_in_the_middle(postgres: Server, tmp_path: Path) -> None:
    space = write_space(tmp_path)
    storage, tracking = postgres.create("optuna"), postgres.create("mlflow")
    root = tmp_path / "root"
    both = [start(root, space, storage, tracking, name) for name in ("s", "t")]
    while len(list(root.glob("trials/*/manifest.json"))) < 2:
        for study in both:
            assert study.poll() in (None, 0), study.communicate()[0]
        time.sleep(0.1)
    postgres.stop()
    time.sleep(3)
    postgres.start()
    said = [study.communicate()[0] for study in both]
    assert [study.returncode for study in both] == [0, 0], "\n".join(said)
    for name in ("s", "t"):
        assert set(states(root, name).values()) == {"complete"}
    expected = results(root)
    assert len(expected) == 7
    # whatever the view missed while the server was away is filled in by the next command
    for name in ("s", "t"):
        again = start(root, space, storage, tracking, name)
        assert "Nothing to do" in again.communicate()[0]
        assert again.returncode == 0
        held = {json.loads(digest): state for digest, state in rows(storage, name)}
        assert held == dict.fromkeys(expected, "COMPLETE")
    with create_engine(tracking).connect() as connection:
        query = text("SELECT value, count(*) FROM tags WHERE key = 'digest' GROUP BY value")
        counted = Counter({row[0]: row[1] for row in connection.execute(query)})
    assert counted == Counter(dict.fromkeys(expected, 2)), "one run a trial and study"
    assert len(list(root.glob("mlartifacts/**/spec.json"))) == 14
    for path in root.rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path
    assert PASSWORD not in "".join(said)


def test_a_study_that_is_interrupted_does_not_say_the_password(
    postgres: Server, tmp_path: Path
) -> None:
    storage, tracking = postgres.create("optuna2"), postgres.create("mlflow2")
    study = start(tmp_path / "root", write_space(tmp_path), storage, tracking, "t")
    while not list(tmp_path.glob("root/trials/*/attempts")):
        assert study.poll() is None, study.communicate()[0]
        time.sleep(0.1)
    study.send_signal(signal.SIGINT)
    said = study.communicate()[0]
    assert study.returncode == 130, said
    assert "resume with" in said
    assert "study:***@127.0.0.1" in said
    assert PASSWORD not in said
    for path in tmp_path.rglob("*"):
        assert not (path.is_file() and PASSWORD.encode() in path.read_bytes()), path
    for url in (storage, tracking):
        engine = create_engine(url)
        with engine.connect() as connection:
            for table in inspect(engine).get_table_names():
                rows = connection.execute(text(f'SELECT * FROM "{table}"')).all()
                assert PASSWORD not in repr(rows), table


def test_secrets_of_urls_are_hidden() -> None:
    shown = redacted("postgresql+psycopg://me:secret@h:5/db and https://token@host/x, s3://a/b")
    assert shown == "postgresql+psycopg://me:***@h:5/db and https://***@host/x, s3://a/b"
