"""`cluster/servers.sh`: PostgreSQL and MLflow as the head of a cluster runs them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from study.doctor.ports import listeners
from tests.postgres import programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "cluster/servers.sh"


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def head() -> Iterator[dict[str, str]]:
    """The environment of a head whose servers run."""
    programs()
    # not in pytest's folder: PostgreSQL's own user must pass through those above its data
    state = Path(tempfile.mkdtemp(prefix="study-head-"))
    ports = {"STUDY_POSTGRES_PORT": str(free()), "STUDY_MLFLOW_PORT": str(free())}
    environment = os.environ | ports | {"STUDY_STATE": str(state), "HOME": str(state)}
    environment["STUDY_VENV"] = os.environ.get("VIRTUAL_ENV", str(ROOT / ".venv"))
    try:
        done = call(environment, "start")
        assert done.returncode == 0, done.stdout + done.stderr
        yield environment
    finally:
        call(environment, "stop")
        shutil.rmtree(state, ignore_errors=True)


def call(environment: dict[str, str], word: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), word], env=environment, capture_output=True, text=True, check=False
    )


def exports(environment: dict[str, str]) -> dict[str, str]:
    lines = call(environment, "env").stdout.splitlines()
    pairs = (line.removeprefix("export ").partition("=") for line in lines)
    return {name: value.strip("'") for name, _, value in pairs}


def test_both_answer_here_and_nowhere_else(head: dict[str, str]) -> None:
    assert call(head, "status").returncode == 0
    ours = {int(head["STUDY_POSTGRES_PORT"]), int(head["STUDY_MLFLOW_PORT"])}
    assert not [entry for entry in listeners() if entry.port in ours]
    again = call(head, "start")
    assert again.returncode == 0, again.stderr


def test_the_password_is_in_no_url_and_no_command_line(head: dict[str, str]) -> None:
    said = exports(head)
    files = Path(said["PGPASSFILE"])
    assert files.stat().st_mode & 0o077 == 0
    password = files.read_text(encoding="ascii").strip().rpartition(":")[2]
    assert len(password) == 48
    assert password not in json.dumps(said)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert password.encode() not in path.read_bytes()
        except OSError:
            continue
    for path in Path(head["STUDY_STATE"]).rglob("*"):
        if path.is_file() and path != files and "postgres" not in path.parts:
            assert password.encode() not in path.read_bytes(), path


def test_pages_are_refused_under_another_name(head: dict[str, str]) -> None:
    address = exports(head)["STUDY_TRACKING_URI"]
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    page = f"{address}/api/2.0/mlflow/experiments/search?max_results=1"
    assert direct.open(page, timeout=60).status == 200
    rebound = urllib.request.Request(page, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        direct.open(rebound, timeout=60)
    assert refused.value.code == 403
    jobs = urllib.request.Request(f"{address}/ajax-api/3.0/jobs", data=b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        direct.open(jobs, timeout=60)
    assert refused.value.code >= 400


def test_views_are_kept_there(head: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    said = exports(head)
    monkeypatch.setenv("PGPASSFILE", said["PGPASSFILE"])
    optuna.create_study(storage=said["STUDY_STORAGE"], study_name="s")
    assert call(head, "stop").returncode == 0
    time.sleep(1)
    assert call(head, "status").returncode != 0
    assert call(head, "start").returncode == 0
    assert optuna.get_all_study_names(said["STUDY_STORAGE"]) == ["s"]
