"""Nothing leaves the machine: a process that uses our tracking connects to nobody.

MLflow's telemetry switches itself off under pytest and CI: only a process without their variables
shows what a person's machine would do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTEST_AND_CI = ("CI", "PYTEST", "GITHUB_", "MLFLOW_", "DO_NOT_TRACK", "RAY_USAGE")

# Loaded by Python at its start, as sitecustomize: notes every connection and name looked up, and
# refuses it, so that the control below tells nobody anything either.
WATCH = """
import os, socket
def refuse(kind, address):
    with open(os.environ["WATCH_LOG"], "a") as log:
        log.write(f"{kind} {address}\\n")
    raise OSError("refused by the test")
def watched(real):
    def call(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse("connect", address)
        return real(self, address)
    return call
socket.socket.connect = watched(socket.socket.connect)
socket.socket.connect_ex = watched(socket.socket.connect_ex)
socket.getaddrinfo = lambda host, *rest, **more: refuse("lookup", host)
"""

TRACK = """
import sys, time
from pathlib import Path
from study.tracking import StudyInfo, Tracker, TrialView, default_uri
tracker = Tracker(default_uri(Path(sys.argv[1])), StudyInfo("s", "p", "demo", "?"))
tracker.record(TrialView("0" * 20, "n", "complete", "", {"a": 1}, 0, {"map/mono": 0.5}))
assert tracker.close(120) == [], tracker.problem
time.sleep(3)
"""

# The same with telemetry as MLflow has it by default: what the watch must be able to see.
UNPROTECTED = (
    "import study.tracking.store as store\n"
    "for name in ('MLFLOW_DISABLE_TELEMETRY', 'DO_NOT_TRACK'): del store.ENVIRONMENT[name]\n"
)


def connections(folder: Path, code: str) -> list[str]:
    """Connections and look-ups of a Python process outside pytest and CI, as far as it shows."""
    (folder / "sitecustomize.py").write_text(WATCH)
    log = folder / "connections.log"
    log.touch()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(PYTEST_AND_CI)
    }
    environment |= {"WATCH_LOG": str(log), "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "root")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return log.read_text().splitlines()


@pytest.mark.slow
def test_tracking_connects_to_nobody(tmp_path: Path) -> None:
    assert connections(tmp_path, TRACK) == []


@pytest.mark.slow
def test_the_watch_sees_telemetry_where_it_is_on(tmp_path: Path) -> None:
    assert connections(tmp_path, UNPROTECTED + TRACK)
