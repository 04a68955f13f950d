"""Process 0 of a trial of several: it starts the others and says what became of them.

Each of them (`rank_worker`) embeds its share of every batch, on this machine or on one of
`Machines`. They end when this process does, however it ends; nothing that lasts is theirs.
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
"""Exit codes of a process that left word of its failure, and of one that lost the others."""

OPENING_SECONDS = 3600.0
"""How long a process may take to load its encoder and data."""

ENDING_SECONDS = 5.0
"""How long a process may take to end, or a lost one to leave word."""

GONE_SECONDS = 120.0
"""How long it takes until a machine that went away is known to be gone."""

LOOK_SECONDS = 0.05

STDERR_LINES = 5
"""Last lines of what a process printed that are told of it."""

FOLLOWER = ("-m", "trainables.distributed.rank_worker")
"""What Python runs as another process."""


class Follower(Protocol):
    """Another process of the trial, wherever it runs."""

    @property
    def rank(self) -> int:
        """Its process rank."""

    def code(self) -> int | None:
        """How it ended, as `subprocess` says it; None where it has not, or nobody knows."""

    def close(self) -> None:
        """Kill it if it has not ended, and put away what was held of it."""

    def out_of_memory(self) -> bool:
        """Whether the kernel of its machine has killed for memory since it started."""

    def said(self) -> str:
        """The end of what it printed."""


class Machines(Protocol):
    """The machines beside this one of a trial over several, whoever reaches them.

    One that goes away is no failure of the trial: who gives them ends this process then.
    """

    @property
    def host(self) -> str:
        """The address of this machine, as the others see it."""

    def start(self, machine: int, order: Mapping[str, Any]) -> Follower:
        """Start a process on the machine of this number, from 1 on."""

    def close(self) -> None:
        """Leave nothing there."""


@dataclass(frozen=True)
class LocalFollower:
    """Another process of the trial on this machine.

    Attributes:
        rank: Its process rank.
        process: Its standard input is held open; when that ends, so does the process.
        stderr: What it prints.
        kills: What the kernel had killed for memory when it was started, where that is counted.
    """

    rank: int
    process: subprocess.Popen[bytes]
    stderr: IO[bytes]
    kills: int | None = field(default_factory=kernel_kills)

    def code(self) -> int | None:
        """How it ended."""
        return self.process.poll()

    def close(self) -> None:
        """Kill it if it has not ended; put away pipe and file."""
        self.process.kill()
        self.process.wait()
        with suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]
        self.stderr.close()

    def out_of_memory(self) -> bool:
        """Whether the kernel has killed for memory since it started."""
        return self.kills is not None and (kernel_kills() or 0) > self.kills

    def said(self) -> str:
        """The end of what it printed."""
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-STDERR_LINES:])


class Leader:
    """Process 0 of a trial, with its followers; of a trial of one process it has none to lead."""

    def __init__(
        self,
        group: Group | None,
        followers: Sequence[Follower],
        machines: Machines | None = None,
    ) -> None:
        """Take the parts; `leading` makes them."""
        self.group, self.followers, self.machines = group, followers, machines
        self.ending = False

    def join(self, trainer: Trainer) -> None:
        """Let all processes go on from this one's state, once they are ready.

        Raises:
            ProcessLostError: One ended or is too slow.
            TrialFailedError: They do not hold the same data or encoder.
        """
        if self.group is not None:
            self.form(self.group)
            trainer.join(self.group)

    def form(self, group: Group) -> None:
        """Wait until all processes are ready, and connect them.

        Raises:
            ProcessLostError: One ended or is too slow.
        """
        until = time.monotonic() + OPENING_SECONDS
        while any(group.noted("ready", one.rank) is None for one in self.followers):
            if self._one_ended():
                raise ProcessLostError("a rank ended while it was loading")
            if time.monotonic() > until:
                raise ProcessLostError(f"a rank took longer than {OPENING_SECONDS:.0f} s to load")
            time.sleep(LOOK_SECONDS)
        group.announce("form")
        group.form()
        if group.device.type == "cuda":
            threading.Thread(target=self._watch, daemon=True).start()

    def end(self, trainer: Trainer) -> None:
        """Let the others go once training has ended: evaluation has the machine alone."""
        trainer.group = None
        self.close()

    def close(self) -> None:
        """End the other processes, politely first; nothing is left of them."""
        if self.group is None or self.ending:
            return
        self.ending = True
        lost = self._one_ended()
        self.group.announce("end")
        until = time.monotonic() + (0 if lost else ENDING_SECONDS)
        left = self.followers
        while left := [one for one in left if one.code() is None]:
            if time.monotonic() > until:
                lost = True
                break
            time.sleep(LOOK_SECONDS)
        try:
            for one in self.followers:
                one.close()
            self.group.leave(abort=lost)
        finally:
            if self.machines is not None:
                self.machines.close()

    def explain(self, error: ProcessLostError) -> TrialFailedError:
        """Why the others are gone or silent: what one said, or how it ended."""
        assert self.group is not None
        until = time.monotonic() + (ENDING_SECONDS if self.machines is None else GONE_SECONDS)
        while not (ended := self._ended()) and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        for one in self.followers:
            if (reason_given := self.group.noted("failure", one.rank)) is not None:
                facts = json.loads(reason_given)
                return TrialFailedError(facts["reason"], f"rank {one.rank}: {facts['detail']}")
        if not ended:
            detail = f"a rank did not answer within {self.group.patience:g} s: {error}"
            return TrialFailedError("timed out", detail)
        if ended[0].out_of_memory():
            detail = "the kernel killed a process of this group for its memory"
            return TrialFailedError("out of memory", f"rank {ended[0].rank}: {detail}")
        code = ended[0].code() or 0
        if code < 0:
            name = signal.Signals(-code).name
            return TrialFailedError("killed", f"rank {ended[0].rank} was ended by {name}")
        return TrialFailedError(
            "error", f"rank {ended[0].rank} ended with code {code}: {ended[0].said()}"
        )

    def _ended(self) -> list[Follower]:
        """Followers that ended of themselves, or left word that they failed."""
        assert self.group is not None
        noted = [one for one in self.followers if self.group.noted("failure", one.rank)]
        return noted + [one for one in self.followers if one.code() not in (None, LOST)]

    def _watch(self) -> None:
        """Wake process 0 when another ends: NCCL alone would wait until its patience is over."""
        assert self.group is not None
        while not self.ending:
            if self._one_ended():
                with suppress(Exception):
                    self.group.leave(abort=True)
                return
            time.sleep(1.0)

    def _one_ended(self) -> bool:
        return any(one.code() is not None for one in self.followers)


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
        spec: What the trial is.
        execution: Says how many; each trains as this one does, on a device of its own.
        places: As for `finetune`.
        cache: As for `finetune`.
        machines: As for `finetune`.

    Raises:
        UserError: Fewer devices than processes.
        TrialFailedError: A process failed, ended or hung, with the reason.
    """
    if execution.ranks == 1 or not spec.steps:
        yield Leader(None, [])
        return
    each = execution.ranks if machines is None else execution.ranks_each
    refuse_missing_devices(execution.device, each)
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
            machine, index = divmod(rank, each)
            own = order | order_of(group, rank) | {"index": index}
            followers.append(machines.start(machine, own) if machines and machine else start(own))
        yield leader
    except ProcessLostError as error:
        raise leader.explain(error) from error
    finally:
        leader.close()


def order_of(group: Group, rank: int) -> dict[str, Any]:
    """What the process of this rank must know of the group, as JSON has it."""
    return {
        "address": group.address,
        "rank": rank,
        "size": group.size,
        "patience": distributed.PATIENCE,
    }


def start(order: Mapping[str, Any], command: Sequence[str] = FOLLOWER) -> LocalFollower:
    """Start another process of the trial on this machine.

    Args:
        order: What it is to do: `order_of`, and what it is told besides.
        command: What Python runs.
    """
    place = str(Path(__file__).resolve().parents[2])
    paths = [place, *filter(None, [os.environ.get("PYTHONPATH")])]
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the leader
    process = subprocess.Popen(
        [sys.executable, "-P", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C is for process 0, which saves first
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it ended at once; that is noticed when it is waited for
        process.stdin.write(json.dumps({**order, "parent": os.getpid()}).encode() + b"\n")
        process.stdin.flush()
    return LocalFollower(order["rank"], process, stderr)


def refuse_missing_devices(device: str, ranks: int) -> None:
    """Stop where a process on this machine would have no device of its own.

    Raises:
        UserError: With what to do.
    """
    if device == "cuda" and (count := torch.cuda.device_count()) < ranks:
        raise UserError(
            f"ranks {ranks}: this trial sees {count} CUDA devices, and every rank needs one of its "
            f"own; use --ranks {max(1, count)}"
        )
