"""Roots whose names mean something in a URL, and an environment that names a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from study.launch.session import PLAIN, ray_session
from study.state.databases import sqlite_path, sqlite_url
from tests.study.inline import assert_whole, results, study, warm, write_space

ROOT = Path(__file__).resolve().parents[2]
NAME = "what?now #1 %41 [v2] é;&"


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_the_file_of_a_url_is_the_file_that_it_was_made_of(name: str) -> None:
    path = Path("/", name, "optuna.db")
    assert sqlite_path(sqlite_url(path)) == path


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@host/db", "http://host:5000", "sqlite://", "databricks", "", "a:b"]
)
def test_other_urls_have_no_file(url: str) -> None:
    assert sqlite_path(url) is None


def test_a_root_of_any_name_holds_all_of_a_study(tmp_path: Path) -> None:
    warm()
    root, space = tmp_path / NAME, write_space(tmp_path)
    assert study(root, space) == 0
    assert_whole(root, results(root))
    assert len(results(root)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([NAME, space.name])
    assert study(root, space, output=tmp_path / "output") == 0
    said = (tmp_path / "output").read_text(encoding="utf-8")
    assert "Nothing to do" in said
    assert f"{root}/reports/s/report.html" in said


def test_a_ray_started_here_is_not_the_one_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6399")
    monkeypatch.setattr("study.launch.session.set_environment", lambda _: None)
    monkeypatch.setattr(ray, "init", lambda **arguments: given.append(arguments))
    for address in (None, "10.0.0.1:6379"):
        with ray_session(tmp_path / "what?now", 1, address):
            pass
    assert [one["address"] for one in given] == ["local", "10.0.0.1:6379"]
    assert PLAIN.fullmatch(str(given[0]["_temp_dir"]))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_study_follows_neither_a_foreign_cluster_nor_a_question_mark(
    tmp_path: Path,
) -> None:
    root, space = tmp_path / NAME, write_space(tmp_path)
    command = [sys.executable, "study/run.py", "--space", str(space), "--workers", "1"]
    environment = os.environ | {"RAY_ADDRESS": "127.0.0.1:6399"}
    run = subprocess.run(
        [*command, "--root", str(root), "--name", "s"], cwd=ROOT, env=environment, check=False
    )
    assert run.returncode == 0
    assert_whole(root, results(root))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([NAME, space.name])
