"""Process 0 of a data-parallel trial: starts the other processes and explains their failures.

Each of them (`rank_worker`) embeds its share of every batch, on this machine or on one of
`Machines`. They end with this process, however it ends, and write no lasting file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import torch

from trainables.distributed import group as distributed
from trainables.distributed.group import Group, ProcessLostError
from trainables.errors import UserError
from trainables.failures import TrialFailedError, kernel_kills
from trainables.spec import Execution, Spec
from trainables.storage.cache import Cache
from trainables.training.trainer import Trainer

FAILED, LOST = 70, 75
"""Exit codes of a process that noted its failure, and of one that lost the others."""

OPENING_SECONDS = 3600.0
"""Time limit for a process to load its encoder and data."""

ENDING_SECONDS = 5.0
"""Time limit for a process to end, or for a failed one to be noticed."""

GONE_SECONDS = 120.0
"""Time within which a lost machine is known to be lost."""

LOOK_SECONDS = 0.05

STDERR_LINES = 5
"""Number of last lines of stderr in an error message."""

FOLLOWER = ("-m", "trainables.distributed.rank_worker")
"""Arguments of Python that run another process."""


class Follower(Protocol):
    """Another process of the trial, on any machine."""

    @property
    def rank(self) -> int:
        """Process rank."""

    def code(self) -> int | None:
        """Return the exit code as `subprocess` has it; None if running or unknown."""

    def close(self) -> None:
        """Kill the process if it still runs, and release its resources."""

    def out_of_memory(self) -> bool:
        """Return whether the kernel has killed for memory in its cgroup since it started."""

    def said(self) -> str:
        """Return the last lines of its stderr."""


class Machines(Protocol):
    """The other machines of a trial that runs on several.

    A lost machine is no failure of the trial: the implementation then ends this process.
    """

    @property
    def host(self) -> str:
        """Address of this machine, as the others see it."""

    def start(self, machine: int, order: Mapping[str, Any]) -> Follower:
        """Start a process on the machine of this number, from 1."""

    def close(self) -> None:
        """End all processes on the other machines."""


@dataclass(frozen=True)
class LocalFollower:
    """Another process of the trial, on this machine.

    Attributes:
        rank: Process rank.
        process: The process; its stdin is held open, and it ends when that closes.
        stderr: File with its stderr.
        kills: OOM kills in this process's cgroup when it started; None if not counted.
    """

    rank: int
    process: subprocess.Popen[bytes]
    stderr: IO[bytes]
    kills: int | None = field(default_factory=kernel_kills)

    def code(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self.process.poll()

    def close(self) -> None:
        """Kill the process if it still runs; close its pipe and file."""
        self.process.kill()
        self.process.wait()
        with suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]
        self.stderr.close()

    def out_of_memory(self) -> bool:
        """Return whether the kernel has killed for memory in this cgroup since it started."""
        return self.kills is not None and (kernel_kills() or 0) > self.kills

    def said(self) -> str:
        """Return the last lines of its stderr."""
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-STDERR_LINES:])


class Leader:
    """Process 0 of a trial with its followers; without any, `group` is None."""

    def __init__(
        self,
        group: Group | None,
        followers: Sequence[Follower],
        machines: Machines | None = None,
    ) -> None:
        """Store the parts; call `leading` instead."""
        self.group, self.followers, self.machines = group, followers, machines
        self.ending = False

    def join(self, trainer: Trainer) -> None:
        """Wait for all processes, and let them continue from the state of this one.

        Raises:
            ProcessLostError: A process ended or is too slow.
            TrialFailedError: The processes do not hold the same data or encoder.
        """
        if self.group is not None:
            self.form(self.group)
            trainer.join(self.group)

    def form(self, group: Group) -> None:
        """Wait until all processes are ready, and connect them.

        Raises:
            ProcessLostError: A process ended or is too slow.
        """
        deadline = time.monotonic() + OPENING_SECONDS
        while any(group.noted("ready", follower.rank) is None for follower in self.followers):
            if self._any_exited():
                raise ProcessLostError("a rank ended while it was loading")
            if time.monotonic() > deadline:
                raise ProcessLostError(f"a rank took longer than {OPENING_SECONDS:.0f} s to load")
            time.sleep(LOOK_SECONDS)
        group.announce("form")
        group.form()
        if group.device.type == "cuda":
            threading.Thread(target=self._watch, daemon=True).start()

    def end(self, trainer: Trainer) -> None:
        """End the other processes after training, so that evaluation has the machine alone."""
        trainer.group = None
        self.close()

    def close(self) -> None:
        """Ask the other processes to end, kill those that do not, and release everything."""
        if self.group is None or self.ending:
            return
        self.ending = True
        lost = self._any_exited()
        self.group.announce("end")
        deadline = time.monotonic() + (0 if lost else ENDING_SECONDS)
        running = self.followers
        while running := [follower for follower in running if follower.code() is None]:
            if time.monotonic() > deadline:
                lost = True
                break
            time.sleep(LOOK_SECONDS)
        try:
            for follower in self.followers:
                follower.close()
            self.group.leave(abort=lost)
        finally:
            if self.machines is not None:
                self.machines.close()

    def explain(self, error: ProcessLostError) -> TrialFailedError:
        """Return why other processes are gone or silent, from their notes or exit codes."""
        assert self.group is not None
        deadline = time.monotonic() + (ENDING_SECONDS if self.machines is None else GONE_SECONDS)
        while not (failed := self._failed()) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        for follower in self.followers:
            if (note := self.group.noted("failure", follower.rank)) is not None:
                facts = json.loads(note)
                return TrialFailedError(facts["reason"], f"rank {follower.rank}: {facts['detail']}")
        if not failed:
            detail = f"a rank did not answer within {self.group.patience:g} s: {error}"
            return TrialFailedError("timed out", detail)
        if failed[0].out_of_memory():
            detail = "the kernel killed a process of this group for its memory"
            return TrialFailedError("out of memory", f"rank {failed[0].rank}: {detail}")
        code = failed[0].code() or 0
        if code < 0:
            name = signal.Signals(-code).name
            return TrialFailedError("killed", f"rank {failed[0].rank} was ended by {name}")
        return TrialFailedError(
            "error", f"rank {failed[0].rank} ended with code {code}: {failed[0].said()}"
        )

    def _failed(self) -> list[Follower]:
        """Return followers that noted a failure, then those that ended, not for a lost process."""
        assert self.group is not None
        noted = [f for f in self.followers if self.group.noted("failure", f.rank)]
        return noted + [f for f in self.followers if f.code() not in (None, LOST)]

    def _watch(self) -> None:
        """Wake process 0 when another process ends: NCCL would wait out its timeout."""
        assert self.group is not None
        while not self.ending:
            if self._any_exited():
                with suppress(Exception):
                    self.group.leave(abort=True)
                return
            time.sleep(1.0)

    def _any_exited(self) -> bool:
        return any(follower.code() is not None for follower in self.followers)


@contextmanager
def leading(
    spec: Spec,
    execution: Execution,
    places: Mapping[str, str],
    cache: Cache | None,
    machines: Machines | None = None,
) -> Iterator[Leader]:
    """Start the other processes of a trial that trains; they load while this one does.

    Args:
        spec: The trial.
        execution: Number of processes; each trains as this one does, on its own device.
        places: As for `finetune`.
        cache: As for `finetune`.
        machines: As for `finetune`.

    Raises:
        UserError: Fewer devices than processes on this machine.
        TrialFailedError: A process failed, ended or hung, with the reason.
    """
    if execution.ranks == 1 or not spec.steps:
        yield Leader(None, [])
        return
    per_machine = execution.ranks if machines is None else execution.ranks_each
    refuse_missing_devices(execution.device, per_machine)
    device = torch.device("cuda", 0) if execution.device == "cuda" else torch.device("cpu")
    host = distributed.LOOPBACK if machines is None else machines.host
    group = Group.lead(execution.ranks, device, host=host)
    order = {
        "spec": spec.model_dump_json(),
        "execution": execution.to_json(),
        "places": dict(places),
        "cache": None if cache is None else str(cache.folder),
    }
    followers: list[Follower] = []
    leader = Leader(group, followers, machines)
    try:
        for rank in range(1, group.size):
            machine, index = divmod(rank, per_machine)
            rank_order = order | order_of(group, rank) | {"index": index}
            followers.append(
                machines.start(machine, rank_order) if machines and machine else start(rank_order)
            )
        yield leader
    except ProcessLostError as error:
        raise leader.explain(error) from error
    finally:
        leader.close()


def order_of(group: Group, rank: int) -> dict[str, Any]:
    """Return what the process of this process rank needs to join the group, as JSON values."""
    return {
        "address": group.address,
        "rank": rank,
        "size": group.size,
        "patience": distributed.PATIENCE,
    }


def start(order: Mapping[str, Any], command: Sequence[str] = FOLLOWER) -> LocalFollower:
    """Start another process of the trial on this machine.

    Args:
        order: Input of the process: `order_of`, and what else it needs.
        command: Arguments of Python.
    """
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the leader
    process = subprocess.Popen(
        [sys.executable, "-P", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C must reach process 0 only, which saves first
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it ended at once, which `Leader` notices while waiting
        process.stdin.write(json.dumps({**order, "parent": os.getpid()}).encode() + b"\n")
        process.stdin.flush()
    return LocalFollower(order["rank"], process, stderr)


def refuse_missing_devices(device: str, ranks: int) -> None:
    """Refuse more processes on this machine than it has CUDA devices.

    Raises:
        UserError: Fewer devices than processes.
    """
    if device == "cuda" and (count := torch.cuda.device_count()) < ranks:
        raise UserError(
            f"ranks {ranks}: this trial sees {count} CUDA devices, and every rank needs one of its "
            f"own; use --ranks {max(1, count)}"
        )
