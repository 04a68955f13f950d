"""A cluster of two hosts, really launched by `ray up`, and what becomes of studies on it.

`make cluster-test` runs it; it needs root, sshd, iproute2 and rsync, and five quiet minutes.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import (
    JOIN_SECONDS,
    PROJECT,
    SPACE,
    Cluster,
    Study,
    cluster_of_two,
    ray_processes,
    table,
    until,
)
from tests.hosts import REPOSITORY, SHARED, Host, listening, missing
from trainables.finetune import finetune
from trainables.spec import Execution
from trainables.trial.trial_folder import TrialFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]

STEPS, SAVED = 240, 40
"""Of a trial, some seconds; and the step after which tests may take its host away."""

CUT_SECONDS = 30.0

SSH = 22


@dataclass(frozen=True)
class Whole:
    """A study that nobody disturbed.

    Attributes:
        results: By digest, the bytes of every result.
        table: What the study printed of its numbers.
        doors: By host and port, what a client without a token was given while trials ran.
        hosts: Where trials ran.
    """

    results: Mapping[str, bytes]
    table: str
    doors: dict[tuple[str, int], list[str]]
    hosts: set[str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two hosts, up."""
    if reason := missing():
        pytest.skip(reason)
    with cluster_of_two(tmp_path_factory.mktemp("cluster"), SAVED) as made:
        space = made.hosts.shared / "small.yaml"
        space.write_text(SPACE.format(steps=STEPS), encoding="utf-8")
        yield made


@pytest.fixture(scope="module")
def whole(cluster: Cluster) -> Whole:
    """The study without trouble; while a trial is half-way, every open port is tried."""
    study = start(cluster, "whole")
    study.midway("worker")
    doors: dict[tuple[str, int], list[str]] = {}
    for name in ("head", "worker"):
        host = cluster.hosts[name]
        ports = [port for port in open_ports(host) if port != SSH]
        words = ["bash", "-c", f'cd {REPOSITORY} && exec python -m tests.doors "$@"', "bash"]
        said = cluster.hosts.laptop.run(*words, host.address, *map(str, ports), timeout=900)
        found = json.loads(said.splitlines()[-1])
        doors |= {(name, int(port)): answers for port, answers in found.items()}
    printed = study.wait()
    assert_once(study, study.results())
    return Whole(study.results(), table(printed), doors, set(study.ran_on().values()))


def start(cluster: Cluster, root: str, *words: str) -> Study:
    return cluster.study(root, "--space", str(SHARED / "small.yaml"), *words)


def open_ports(host: Host) -> list[int]:
    """Ports that other machines can reach."""
    return sorted({p for address, p, _ in listening(host) if not address.startswith("127.")})


def assert_once(study: Study, expected: Mapping[str, bytes]) -> None:
    """Every trial complete, exactly once, with the numbers that were expected, everywhere."""
    assert dict(study.results()) == dict(expected)
    noted = Counter(event["trial"] for event in study.events("complete"))
    assert noted == dict.fromkeys(expected, 1)
    assert not study.events("failed")
    report = status(study)
    states = {trial["digest"]: trial["state"] for trial in report["trials"]}
    assert states == dict.fromkeys(expected, "complete")


def status(study: Study) -> dict[str, Any]:
    """What `status --json` says on the head."""
    file = study.root.with_suffix(".json")
    command = f"python -m study status s {study.places} --json > {SHARED / file.name}"
    study.cluster.execute(f"cd {PROJECT} && {command}")
    report: dict[str, Any] = json.loads(file.read_bytes())
    return report


def test_a_study_runs_on_both_hosts(whole: Whole) -> None:
    assert len(whole.results) == 7  # three cells with two seeds, and the untrained encoder
    assert whole.hosts == {"head", "worker"}


def test_every_open_port_asks_for_the_token(whole: Whole) -> None:
    assert {name for name, _ in whole.doors} == {"head", "worker"}
    assert ("head", 6379) in whole.doors
    open_doors = {door: given for door, given in whole.doors.items() if given}
    assert {door: given for door, given in open_doors.items() if given != ["nobody"]} == {}
    assert whole.doors["head", 6379] == []


@pytest.mark.parametrize("token", ["", "0" * 64], ids=["without", "wrong"])
def test_clients_are_refused(cluster: Cluster, token: str) -> None:
    address = f"{cluster.hosts['head'].address}:6379"
    mode = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN={token}" if token else "RAY_AUTH_MODE=disabled"
    ask = f"env HOME=/tmp {mode} timeout 120 ray status --address {address}"
    said = cluster.hosts.laptop.run("bash", "-c", f"{ask} 2>&1; echo ENDED $?", timeout=180)
    assert "ENDED 0" not in said
    assert "nauthenticated" in said or "token" in said.lower()
    known = cluster.hosts.laptop.run(
        "bash", "-c", f"RAY_AUTH_MODE=token ray status --address {address} 2>&1", timeout=180
    )
    assert "Active" in known


def test_a_trial_over_both_hosts(cluster: Cluster, tmp_path: Path) -> None:
    study = start(cluster, "both", "--seeds", "1", "--ranks", "2", "--nodes", "2")
    study.wait()
    found = {digest: json.loads(content) for digest, content in study.results().items()}
    assert len(found) == 4  # three cells, and the untrained encoder
    layouts = [(r["execution"]["ranks"], r["execution"]["nodes"]) for r in found.values()]
    assert layouts == [(2, 2)] * 4
    digest = next(digest for digest, result in found.items() if result["training"])
    here = TrialFolder.of(tmp_path, digest)
    spec = TrialFolder.of(study.root, digest).spec()
    for _ in finetune(spec, here, places={}, execution=Execution(ranks=2)):
        pass
    for name in ("metrics", "training"):
        assert here.result()[name] == found[digest][name]


def test_a_worker_host_that_dies_midway(cluster: Cluster, whole: Whole) -> None:
    study = start(cluster, "killed")
    digest = study.midway("worker")
    cluster.hosts.switch_off("worker")
    study.wait()
    assert digest in {event["trial"] for event in study.events("lost")}
    assert study.ran_on()[digest] == "head"
    assert study.resumed()[digest] >= SAVED
    assert_once(study, whole.results)
    cluster.heal()


def test_a_network_that_is_cut(cluster: Cluster, whole: Whole) -> None:
    study = start(cluster, "cut")
    study.midway("worker")
    with cluster.hosts.unplugged("worker"):
        time.sleep(CUT_SECONDS)
    study.wait()
    assert_once(study, whole.results)
    cluster.heal()


def test_a_head_that_dies_twice(cluster: Cluster, whole: Whole) -> None:
    study = start(cluster, "headless")
    study.midway("head")
    cluster.hosts.switch_off("head")
    study.abandon()
    cluster.hosts.switch_on("head")
    cluster.up()

    again = start(cluster, "headless")
    again.midway("head")
    cluster.hosts.switch_off("head", lost=True)
    again.abandon()
    assert len(again.results()) < len(whole.results)
    cluster.hosts.switch_on("head")
    # the laptop's Ray believes that a head of this address has its files already
    cluster.down()
    cluster.up()

    last = start(cluster, "headless")
    printed = last.wait()
    assert_once(last, whole.results)
    assert table(printed) == whole.table


def test_down_ends_ray_everywhere(cluster: Cluster) -> None:
    hosts = [cluster.hosts[name] for name in ("head", "worker")]
    assert all(map(ray_processes, hosts))
    cluster.down()
    # a worker that hears no more of its head ends within a minute
    until(lambda: all(not ray_processes(host) for host in hosts), JOIN_SECONDS)
    # and its agent, which wants to tell the head, a minute later
    until(lambda: all(open_ports(host) == [SSH] for host in hosts), JOIN_SECONDS)
    for host in hosts:
        assert (ray_processes(host), open_ports(host)) == ([], [SSH]), host.run("ss", "-ltnp")
