"""The other machines of a trial over several: an actor on each, which starts processes there.

Tune has reserved a bundle on each of them with the trial's own; nothing waits for a place.
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
"""How long a machine may take to say how a process of it is, before nobody knows."""

PLACE_SECONDS = 300.0
"""How long a place that Tune had reserved may take to be there: its machine may be gone."""

THREADS = 4
"""Of an actor: one stays, the others answer."""


class ProcessHost:
    """Starts processes of a trial on its machine and says how they are; they end with it."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self.followers: dict[int, LocalFollower] = {}
        self.cache: Cache | None = None

    def stay(self) -> None:
        """Return never: whoever waits for it learns when this machine goes away."""
        threading.Event().wait()

    def start(self, order: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Start a process with the inputs of this machine.

        Args:
            order: Of `rank0.start`; its places and cache are those of process 0's machine.
            config: Of the trial, as `TrialActor` has it.

        Raises:
            UserError: This machine has another root, or lacks inputs.
        """
        refuse_another_root(config["proof"])
        # kept: it holds what was fetched for as long as processes read it
        cache = self.cache = self.cache or shared_cache(Path(config["cache"]))
        places = at_hand(config["places"], config["spec"], parse_root(config["root"]), cache)
        own = {"places": places, "cache": None if cache is None else str(cache.folder)}
        self.followers[order["rank"]] = start({**order, **own})

    def ask(self, rank: int, name: str) -> Any:
        """What a method of the `LocalFollower` of this process rank returns."""
        return getattr(self.followers[rank], name)()


@dataclass(frozen=True)
class RemoteFollower:
    """Another process of the trial, on another machine.

    Attributes:
        rank: Its process rank.
        host: The actor that started it.
        started: Fails where that could not.
    """

    rank: int
    host: Any
    started: Any

    def code(self) -> int | None:
        """How it ended; one that could not be started has failed."""
        code: int | None = FAILED if self._refused() else self._ask("code")
        return code

    def close(self) -> None:
        """Kill it if it has not ended."""
        self._ask("close")

    def out_of_memory(self) -> bool:
        """Whether the kernel of its machine killed for memory."""
        return bool(self._ask("out_of_memory"))

    def said(self) -> str:
        """The end of what it printed, or why it could not be started."""
        return self._refused() or self._ask("said") or ""

    def _refused(self) -> str:
        """Why its machine did not start it; empty where it did, or has not said yet."""
        try:
            ray.get(self.started, timeout=0)
        except RayTaskError as error:
            return f"{type(error.cause).__name__}: {error.cause}"
        except RayError:
            pass
        return ""

    def _ask(self, name: str) -> Any:
        """What its machine says; None where that does not answer."""
        try:
            return ray.get(self.host.ask.remote(self.rank, name), timeout=ANSWER_SECONDS)
        except RayError:
            return None


@dataclass
class OtherMachines:
    """The other machines of one trial, reached by Ray (`trainables.distributed.rank0.Machines`).

    Attributes:
        config: Of the trial.
        lost: What to do, with reason and detail, when one of them is no more there; not called
            after `close`.
    """

    config: Mapping[str, Any]
    lost: Callable[[Reason, str], None]
    hosts: dict[int, Any] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """The address of this machine, as the others see it."""
        return str(get_node_ip_address())  # type: ignore[no-untyped-call]

    def start(self, machine: int, order: Mapping[str, Any]) -> RemoteFollower:
        """Start a process on the machine of this number, from 1 on."""
        if machine not in self.hosts:
            self.hosts[machine] = self._reach(machine)
            threading.Thread(target=self._watch, args=(machine,), daemon=True).start()
        host = self.hosts[machine]
        started = host.start.remote(dict(order), dict(self.config))
        return RemoteFollower(order["rank"], host, started)

    def close(self) -> None:
        """End the actors, and with them all processes that they started."""
        hosts, self.hosts = self.hosts, {}
        for host in hosts.values():
            ray.kill(host)

    def _reach(self, machine: int) -> Any:
        """An actor in the bundle of this number of the trial's own placement group."""
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
        """Wait for as long as the actor on a machine is there."""
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
