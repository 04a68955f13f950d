"""What is around a command: variables, files of other kinds, a server that nobody runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.cli.app import main
from study.spaces.schema import load_space
from tests.study.inline import results
from trainables.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
PASSWORD = "secret"

ODD = {
    "TMPDIR": "/nowhere/at/all",
    "LANG": "C",
    "LC_ALL": "C",
    "COLUMNS": "0",
    "HF_HOME": "/proc/x",
    "XDG_CACHE_HOME": "/proc/y",
    "MLFLOW_RUN_ID": "abc",
    "MLFLOW_TRACKING_URI": "postgresql://127.0.0.1:1/x",
    "PYTHONWARNINGS": "default",
    "TZ": "Nowhere/Bad",
}


def command(variables: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """A command without HOME and with these variables."""
    usual = {name: value for name, value in os.environ.items() if name != "HOME"}
    return subprocess.run(
        [sys.executable, "study/run.py", *words],
        cwd=REPOSITORY,
        env=usual | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_python_without_docstrings_is_refused(space: Path, tmp_path: Path) -> None:
    """Libraries of ours read them, and end in a traceback where they are absent."""
    done = command({"PYTHONOPTIMIZE": "2"}, "--space", str(space), "--root", str(tmp_path / "root"))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "root").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_in_odd_surroundings(space: Path, tmp_path: Path, finished: Path) -> None:
    root = tmp_path / "root"
    words = ["--space", str(space), "--root", str(root), "--name", "s", "--workers", "1"]
    done = command(ODD, *words)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert results(root) == results(finished)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["fifo", "folder", "/dev/zero", "/proc/self/mem", "lost link"])
@pytest.mark.parametrize("name", ["space", "space.yaml"])
def test_a_space_is_a_plain_file(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(kind)
    with pytest.raises(UserError):
        load_space(str(path))


@pytest.mark.timeout(120)
def test_a_server_of_the_view_that_nobody_runs_costs_seconds(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed (make install-dev)")
    began = time.monotonic()
    uri = f"postgresql://me:{PASSWORD}@127.0.0.1:1/mlflow"
    assert main(["track", "s", "--root", str(root), "--tracking-uri", uri]) == 130
    assert time.monotonic() - began < 30, "MLflow alone would try for a hundred seconds"
    said = "".join(capfd.readouterr())
    assert "ConnectionError" in said, "the reason is shown"
    assert PASSWORD not in said
