"""Nothing leaves the machine: not from tracking alone, a whole study, or the pages of `ui`.

MLflow's telemetry switches itself off under pytest and CI: only a process without their variables
shows what a person's machine would do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from study.doctor.ports import listeners
from study.state.study_folder import StudyFolder
from tests import connections as recorder
from tests.study.inline import SPACE, write_space
from tests.test_doors import family, given

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
from study.tracking import MlflowStore, StudyInfo, Tracker, TrialView, default_uri
uri, info = default_uri(Path(sys.argv[1])), StudyInfo("s", "p", "demo", "?")
tracker = Tracker(lambda: MlflowStore(uri, info))
tracker.record(TrialView("0" * 20, "n", "complete", "", {"a": 1}, 0, {"map/mono": 0.5}))
assert tracker.close(120) == [], tracker.problem
time.sleep(3)
"""

# The same with telemetry as MLflow has it by default: what the watch must be able to see.
UNPROTECTED = (
    "import study.tracking.mlflow_storage as store\n"
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


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_study_and_its_pages_connect_to_this_machine_alone(tmp_path: Path) -> None:
    """With Ray, as typed on a laptop; every connect() of every process, those in C++ included.

    While it trains, each of its ports beyond loopback asks for the token.
    """
    root, log = tmp_path / "root", tmp_path / "study.log"
    space = write_space(tmp_path, SPACE.replace("steps: 3", "steps: 200"))
    words = [sys.executable, "study/run.py", "--space", str(space)]
    words += ["--name", "s", "--root", str(root), "--workers", "1"]
    with recorded(words, log, tmp_path) as study:
        while study.poll() is None and not StudyFolder.of(root, "s").record().started:
            time.sleep(0.5)
        doors = listeners(family(study.pid))
        assert given(doors) == {}
        output, errors = study.communicate()
        assert study.returncode == 0, output + errors
    assert len(doors) >= 4, "scheduler, machine, driver and worker each have a port"
    sent = recorder.parsed(log.read_text(errors="replace"))
    assert len(sent) > 20, "Ray's processes talk to each other"
    assert [call for call in sent if call.leaves] == []

    (root / "mlflow.db").unlink()
    for command in (
        ["status", "s"],
        ["report", "s"],
        ["compare", "s:alpha=0", "s:alpha=0.5"],
        ["track", "s"],
        ["doctor"],
    ):
        log = tmp_path / f"{command[0]}.log"
        done = recorder.run(
            [sys.executable, "-m", "study", *command, "--root", str(root)], log, tmp_path
        )
        assert done.returncode in ((0, 1) if command == ["doctor"] else (0,)), done.stderr
        sent = recorder.parsed(log.read_text(errors="replace"))
        assert [call for call in sent if call.leaves] == [], command

    log = tmp_path / "ui.log"
    words = [sys.executable, "-m", "study", "ui", "--root", str(root), "--port", "0"]
    with recorded(words, log, tmp_path) as pages:
        assert pages.stdout is not None
        address = pages.stdout.readline().split("answers at ")[1].split()[0]
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for page in ("/", "/version", "/ajax-api/2.0/mlflow/experiments/search?max_results=5"):
            direct.open(address + page, timeout=60).read()
        assert listeners(family(pages.pid)) == [], "the pages are for this machine alone"
        time.sleep(5)  # telemetry sends from a thread of its own
    sent = recorder.parsed(log.read_text(errors="replace"))
    assert [call for call in sent if call.leaves] == []


@contextmanager
def recorded(words: Sequence[str], log: Path, home: Path) -> Iterator[subprocess.Popen[str]]:
    """A program as on a person's machine, ended with the block where it still runs."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        recorder.recorded(words, log),
        env=recorder.of_a_person(home),
        cwd=ROOT,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate()


def test_the_record_tells_what_leaves(tmp_path: Path) -> None:
    code = """if True:
        import socket
        for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
            for to in ("127.0.0.1", 9), ("198.51.100.7", 53):
                one = socket.socket(socket.AF_INET, kind)
                one.settimeout(0.1)
                try:
                    one.connect(to)
                    one.send(b"x") if to[0] == "127.0.0.1" else None
                except OSError:
                    pass
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("198.51.100.8", 53))
        named = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        named.connect(("198.51.100.9", 53))
        named.send(b"x")
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.53", 53))
    """
    log = tmp_path / "log"
    assert recorder.run([sys.executable, "-S", "-c", code], log, tmp_path).returncode == 0
    sent = recorder.parsed(log.read_text(errors="replace"))
    assert {call.address for call in sent if not call.leaves} >= {"127.0.0.1", "198.51.100.7"}
    leaving = [(call.call, call.kind, call.address) for call in sent if call.leaves]
    assert leaving == [
        ("connect", "TCP", "198.51.100.7"),
        ("sendto", "UDP", "198.51.100.8"),
        ("sendto", "UDP", "198.51.100.9"),
        ("sendto", "UDP", "127.0.0.53"),
    ]
