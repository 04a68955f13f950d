"""On a laptop: nothing of a study listens beyond loopback but Ray's ports that ask for a token."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.doctor.ports import OpenPort, listeners
from tests.doors import answers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RAY = """
import sys
from pathlib import Path
from study.launch.session import ray_session
with ray_session(Path(sys.argv[1]), 1, None):
    import ray
    @ray.remote
    class Actor:
        def ready(self):
            return True
    actor = Actor.remote()
    assert ray.get(actor.ready.remote())
    print("ready", flush=True)
    sys.stdin.read()
"""

# As before: what the check below must be able to see.
TELLING = """
import study.launch.session as session
set_environment = session.set_environment
def as_ray_has_it(folder):
    import os
    set_environment(folder)
    os.environ["RAY_enable_metrics_collection"] = "1"
    for name in ("AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT"):
        del os.environ[name]
session.set_environment = as_ray_has_it
"""


def running(folder: Path, code: str) -> Iterator[list[OpenPort]]:
    """Servers beyond loopback of a Ray that a study would start, and of its driver."""
    driver = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
        yield listeners(family(driver.pid))
    finally:
        driver.communicate("")


def family(ancestor: int) -> list[int]:
    """A process and all that it started, and those started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [ancestor]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def given(found: list[OpenPort]) -> dict[str, list[str]]:
    """What strangers are given at each port, without those that refuse."""
    hosts = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}
    doors = {
        f"{door.port} {door.command}": answers(hosts.get(door.address, door.address), door.port)
        for door in found
    }
    return {door: said for door, said in doors.items() if said not in ([], ["nobody"])}


def test_every_open_port_of_a_local_ray_asks_for_the_token(tmp_path: Path) -> None:
    for found in running(tmp_path, RAY):
        assert len(found) >= 4, "scheduler, machine, driver and worker each have a port"
        assert given(found) == {}


def test_the_check_sees_what_ray_shows_by_default(tmp_path: Path) -> None:
    for found in running(tmp_path, TELLING + RAY):
        assert any("/metrics" in line for said in given(found).values() for line in said)
