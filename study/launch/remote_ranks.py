"""The other machines of a trial that runs on several: a Ray actor on each starts its processes.

Ray Tune reserved a bundle on each of them in the trial's placement group, so no actor queues.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util import get_current_placement_group, get_node_ip_address
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from study.launch.failures import FailureClassifier
from study.launch.nodes import refuse_another_root
from trainables.distributed.rank0 import FAILED, LocalFollower, start
from trainables.failures import Reason
from trainables.spec import Execution
from trainables.storage.cache import Cache, shared_cache
from trainables.storage.inputs import at_hand
from trainables.storage.paths import parse_root

ANSWER_SECONDS = 15.0
"""Time limit for a machine to answer about a process; its state is unknown afterwards."""

PLACE_SECONDS = 300.0
"""Time limit for an actor to start in the bundle that Tune reserved: its machine may be gone."""

THREADS = 4
"""Threads of an actor: one is blocked by `ProcessHost.stay`, the others answer."""


class ProcessHost:
    """Actor that starts processes of a trial on its machine; they end with it."""

    def __init__(self) -> None:
        """Create a host without processes."""
        self.followers: dict[int, LocalFollower] = {}
        self.cache: Cache | None = None

    def stay(self) -> None:
        """Never return, so that a caller that waits learns when this machine is lost."""
        threading.Event().wait()

    def start(self, order: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Start a process with the inputs of this machine.

        Args:
            order: As for `rank0.start`; its `places` and `cache` are those of process 0's machine
                and are replaced.
            config: Config of the trial, as for `TrialActor`.

        Raises:
            UserError: This machine has another root, or lacks inputs.
        """
        refuse_another_root(config["proof"])
        # an attribute, as the cache protects fetched files for as long as it lives
        cache = self.cache = self.cache or shared_cache(Path(config["cache"]))
        places = at_hand(config["places"], config["spec"], parse_root(config["root"]), cache)
        local = {"places": places, "cache": None if cache is None else str(cache.folder)}
        self.followers[order["rank"]] = start({**order, **local})

    def ask(self, rank: int, name: str) -> Any:
        """Call the method `name` of the `LocalFollower` with this process rank."""
        return getattr(self.followers[rank], name)()


@dataclass(frozen=True)
class RemoteFollower:
    """Another process of the trial, on another machine.

    Attributes:
        rank: Process rank.
        host: `ProcessHost` actor that started it.
        started: Object reference of that start; it raises if the start failed.
    """

    rank: int
    host: Any
    started: Any

    def code(self) -> int | None:
        """Return the exit code; `FAILED` if it could not be started, None if unknown."""
        code: int | None = FAILED if self._refused() else self._ask("code")
        return code

    def close(self) -> None:
        """Kill the process if it still runs."""
        self._ask("close")

    def out_of_memory(self) -> bool:
        """Return whether the kernel has killed for memory in its cgroup since it started."""
        return bool(self._ask("out_of_memory"))

    def said(self) -> str:
        """Return the last lines of its stderr, or why it could not be started."""
        return self._refused() or self._ask("said") or ""

    def _refused(self) -> str:
        """Return why its machine did not start it; empty if it did, or has not answered yet."""
        try:
            ray.get(self.started, timeout=0)
        except RayTaskError as error:
            return f"{type(error.cause).__name__}: {error.cause}"
        except RayError:
            pass
        return ""

    def _ask(self, name: str) -> Any:
        """Return its machine's answer; None without one."""
        try:
            return ray.get(self.host.ask.remote(self.rank, name), timeout=ANSWER_SECONDS)
        except RayError:
            return None


@dataclass
class OtherMachines:
    """The other machines of a trial, reached through Ray (implements `rank0.Machines`).

    Attributes:
        config: Config of the trial.
        lost: Callback with reason and detail when a machine is lost; not called after `close`.
        hosts: `ProcessHost` actors by number of machine, from 1.
    """

    config: Mapping[str, Any]
    lost: Callable[[Reason, str], None]
    hosts: dict[int, Any] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """Address of this machine, as the others see it."""
        return str(get_node_ip_address())  # type: ignore[no-untyped-call]

    def start(self, machine: int, order: Mapping[str, Any]) -> RemoteFollower:
        """Start a process on the machine of this number, from 1."""
        if machine not in self.hosts:
            self.hosts[machine] = self._create_host(machine)
            threading.Thread(target=self._watch, args=(machine,), daemon=True).start()
        host = self.hosts[machine]
        started = host.start.remote(dict(order), dict(self.config))
        return RemoteFollower(order["rank"], host, started)

    def close(self) -> None:
        """Kill the actors, and with them the processes that they started."""
        hosts, self.hosts = self.hosts, {}
        for host in hosts.values():
            ray.kill(host)

    def _create_host(self, machine: int) -> Any:
        """Create an actor in the bundle of this number in the trial's placement group."""
        execution = Execution(**self.config["execution"])
        bundles = get_current_placement_group()
        assert bundles is not None, "a trial over several machines runs in the first of its bundles"
        return (
            ray.remote(ProcessHost)
            .options(
                num_cpus=execution.threads * execution.ranks_each,
                num_gpus=execution.ranks_each if execution.device == "cuda" else 0,
                max_concurrency=THREADS,
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    bundles, placement_group_bundle_index=machine
                ),
            )
            .remote()
        )

    def _watch(self, machine: int) -> None:
        """Wait for the actor on a machine to be lost, and report it unless this is closed."""
        host = self.hosts.get(machine)
        if host is None:
            return
        try:
            ray.get(host.__ray_ready__.remote(), timeout=PLACE_SECONDS)
            ray.get(host.stay.remote())
        except RayError as error:
            reason, detail = FailureClassifier.watch(local=False).explain(error)
            if isinstance(error, GetTimeoutError):
                reason, detail = "node lost", "its place is there no more"
            if self.hosts.get(machine) is host:
                self.lost(reason, f"machine {machine} of the trial: {detail}")
