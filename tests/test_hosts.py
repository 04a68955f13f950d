"""The isolated hosts that the tests of a cluster run on are isolated, and go without a trace."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import HOME, REPOSITORY, SHARED, HostError, Hosts, missing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("hosts")
    with Hosts(folder, {"one": 0, "two": None}) as made:
        yield made
    assert [path.name for path in folder.iterdir()] == ["shared"]


def reaches(hosts: Hosts, source: str, target: str) -> bool:
    """Whether a host gets an answer from another one's SSH server."""
    script = f"exec 3<>/dev/tcp/{hosts[target].address}/22 && head -c 3 <&3"
    return "SSH" in hosts[source].run("timeout", "10", "bash", "-c", script, check=False)


def test_hosts_share_one_folder_and_nothing_else(hosts: Hosts) -> None:
    one, two = hosts["one"], hosts["two"]
    one.run("bash", "-c", f"touch /tmp/mine /var/tmp/mine /dev/shm/mine {HOME}/mine {SHARED}/ours")
    seen = two.run("bash", "-c", f"ls /tmp /var/tmp /dev/shm {HOME} {SHARED}")
    assert "ours" in seen
    assert "mine" not in seen
    assert (hosts.shared / "ours").exists()
    for path in (REPOSITORY / "mine", Path("/usr/mine"), Path("/etc/mine")):
        with pytest.raises(HostError, match="Read-only"):
            one.run("touch", str(path))
    assert one.run("hostname").strip() == "one"
    names = one.run("ps", "-eo", "comm=").split()
    assert sorted(names) == ["bash", "ps", "sshd"]


def test_a_host_has_its_core_and_its_network(hosts: Hosts) -> None:
    ask = "taskset -cp $$"
    assert hosts.ssh("one", ask).strip().endswith(": 0")
    assert reaches(hosts, "one", "two")
    with hosts.unplugged("two"):
        assert not reaches(hosts, "one", "two")
        assert reaches(hosts, "laptop", "one")
    assert reaches(hosts, "one", "two")
    outside = "exec 3<>/dev/tcp/8.8.8.8/53 && echo connected"
    assert "connected" not in hosts["one"].run("timeout", "5", "bash", "-c", outside, check=False)


def test_power_is_lost_and_a_disk_may_be(hosts: Hosts) -> None:
    for lost in (False, True):
        hosts["two"].run("touch", f"{HOME}/kept")
        hosts.switch_off("two", lost=lost)
        assert not hosts.is_on("two")
        with pytest.raises(HostError):
            hosts.ssh("one", f"timeout 5 bash -c 'exec 3<>/dev/tcp/{hosts.address('two')}/22'")
        hosts.switch_on("two")
        assert reaches(hosts, "one", "two")
        assert ("kept" in hosts["two"].run("ls", str(HOME))) is not lost


def test_hosts_go_with_the_process_that_made_them(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    script = f"""
from pathlib import Path
from tests.hosts import Hosts
with Hosts(Path({str(tmp_path)!r}), {{"one": None}}) as hosts:
    hosts["one"].start("sleep", "1000")
    print(hosts["one"].pid, hosts.laptop.pid, flush=True)
    input()
"""
    maker = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert maker.stdout is not None
    first = [int(word) for word in maker.stdout.readline().split()]
    inside = [pid for pid in first for pid in (pid, *children(pid))]
    assert len(inside) > len(first)  # sshd and sleep
    maker.send_signal(signal.SIGKILL)
    maker.communicate()
    for pid in inside:
        gone = subprocess.run(
            ["timeout", "30", "tail", f"--pid={pid}", "-f", "/dev/null"], check=False
        )
        assert gone.returncode == 0, pid


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(word) for word in text.split()]
