"""Rank 0's side of a trial over several ranks: it starts the others and says what became of them.

Each of them is a process of this machine (`follower`) that embeds its share of every batch. They
end when this process does, however it ends; nothing that lasts is theirs.
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
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from trainables import distributed
from trainables.cache import Cache
from trainables.distributed import Group, RankLostError
from trainables.errors import UserError
from trainables.failures import TrialFailedError
from trainables.kernel import kernel_kills
from trainables.spec import Execution, Spec
from trainables.trainer import Trainer

FAILED, LOST = 70, 75
"""Exit codes of a rank that left word of its failure, and of one that lost the others."""

OPENING_SECONDS = 3600.0
"""How long a rank may take to load its encoder and data."""

ENDING_SECONDS = 5.0
"""How long a rank may take to end, or a lost one to leave word, before nothing is expected."""

LOOK_SECONDS = 0.05

STDERR_LINES = 5
"""Last lines of what a rank printed that are told of it."""


@dataclass(frozen=True)
class Follower:
    """Another rank's process.

    Attributes:
        rank: Its number.
        process: Its standard input is held open; when that ends, so does the process.
        stderr: What it prints.
    """

    rank: int
    process: subprocess.Popen[bytes]
    stderr: IO[bytes]

    def said(self) -> str:
        """The end of what it printed."""
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-STDERR_LINES:])


class Leader:
    """Rank 0 of a trial, with its followers; of a trial of one rank it has none to lead."""

    def __init__(self, group: Group | None, followers: Sequence[Follower]) -> None:
        """Take the parts; `leading` makes them."""
        self.group, self.followers = group, followers
        self.kills, self.ending = kernel_kills(), False

    def join(self, trainer: Trainer) -> None:
        """Let all ranks go on from this one's state, once they are ready.

        Raises:
            RankLostError: A rank ended or is too slow.
            TrialFailedError: The ranks do not hold the same data or encoder.
        """
        if self.group is not None:
            self.form(self.group)
            trainer.join(self.group)

    def form(self, group: Group) -> None:
        """Wait until all ranks are ready, and connect them.

        Raises:
            RankLostError: A rank ended or is too slow.
        """
        until = time.monotonic() + OPENING_SECONDS
        while any(group.noted("ready", one.rank) is None for one in self.followers):
            if any(one.process.poll() is not None for one in self.followers):
                raise RankLostError("a rank ended while it was loading")
            if time.monotonic() > until:
                raise RankLostError(f"a rank took longer than {OPENING_SECONDS:.0f} s to load")
            time.sleep(LOOK_SECONDS)
        group.announce("form")
        group.form()
        if group.device.type == "cuda":
            threading.Thread(target=self._watch, daemon=True).start()

    def end(self, trainer: Trainer) -> None:
        """Let the other ranks go once training has ended: evaluation has the machine alone."""
        trainer.group = None
        self.close()

    def close(self) -> None:
        """End the other ranks, politely first; nothing is left of them."""
        if self.group is None or self.ending:
            return
        self.ending = True
        lost = any(one.process.poll() is not None for one in self.followers)
        self.group.announce("end")
        until = time.monotonic() + (0 if lost else ENDING_SECONDS)
        for one in self.followers:
            try:
                one.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
                lost = True
        self.group.leave(abort=lost)
        for one in self.followers:
            one.process.wait()
            with suppress(OSError):
                one.process.stdin.close()  # type: ignore[union-attr]
            one.stderr.close()

    def explain(self, error: RankLostError) -> TrialFailedError:
        """Why the other ranks are gone or silent: what one said, or how its process ended."""
        assert self.group is not None
        until = time.monotonic() + ENDING_SECONDS
        while not (ended := self._ended()) and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        for one in self.followers:
            if (found := self.group.noted("failure", one.rank)) is not None:
                facts = json.loads(found)
                return TrialFailedError(facts["reason"], f"rank {one.rank}: {facts['detail']}")
        if not ended:
            detail = f"a rank did not answer within {self.group.patience:g} s: {error}"
            return TrialFailedError("timed out", detail)
        if self.kills is not None and (kernel_kills() or 0) > self.kills:
            detail = "the kernel killed a process of this group for its memory"
            return TrialFailedError("out of memory", f"rank {ended[0].rank}: {detail}")
        code = ended[0].process.returncode
        if code < 0:
            name = signal.Signals(-code).name
            return TrialFailedError("killed", f"rank {ended[0].rank} was ended by {name}")
        return TrialFailedError(
            "error", f"rank {ended[0].rank} ended with code {code}: {ended[0].said()}"
        )

    def _ended(self) -> list[Follower]:
        """Followers that ended of themselves, or left word that they failed."""
        assert self.group is not None
        ended = [one for one in self.followers if one.process.poll() is not None]
        noted = [one for one in self.followers if self.group.noted("failure", one.rank)]
        return noted + [one for one in ended if one.process.returncode != LOST]

    def _watch(self) -> None:
        """Wake rank 0 when another one ends: NCCL alone would wait until its patience is over."""
        while not self.ending:
            if any(one.process.poll() is not None for one in self.followers):
                with suppress(Exception):
                    torch.distributed.distributed_c10d._abort_process_group()
                return
            time.sleep(1.0)


@contextmanager
def leading(
    spec: Spec, execution: Execution, places: Mapping[str, str], cache: Cache | None
) -> Iterator[Leader]:
    """Start the other ranks of a trial that trains; they load while this one does.

    Args:
        spec: What the trial is.
        execution: Says how many ranks; each trains as this one does, on a device of its own.
        places: As for `finetune`.
        cache: As for `finetune`.

    Raises:
        UserError: Fewer devices than ranks.
        TrialFailedError: A rank failed, ended or hung, with the reason.
    """
    if execution.ranks == 1 or not spec.steps:
        yield Leader(None, [])
        return
    refuse_missing_devices(execution)
    device = torch.device("cuda", 0) if execution.device == "cuda" else torch.device("cpu")
    group = Group.lead(execution.ranks, device)
    order = {
        "spec": spec.model_dump_json(),
        "execution": execution.to_json(),
        "places": dict(places),
        "cache": None if cache is None else str(cache.folder),
    }
    command = ["-m", "trainables.follower"]
    leader = Leader(group, [start(group, rank, order, command) for rank in range(1, group.size)])
    try:
        yield leader
    except RankLostError as error:
        raise leader.explain(error) from error
    finally:
        leader.close()


def start(group: Group, rank: int, order: Mapping[str, object], command: Sequence[str]) -> Follower:
    """Start another rank.

    Args:
        group: What it is to join.
        rank: Which it is.
        order: What it is to do, as JSON has it; the first line that it reads.
        command: What Python runs.
    """
    place = str(Path(__file__).resolve().parents[1])
    paths = [place, *filter(None, [os.environ.get("PYTHONPATH")])]
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the leader
    process = subprocess.Popen(
        [sys.executable, "-P", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C is for rank 0, which saves first
    )
    whole = {
        **order,
        "address": group.address,
        "rank": rank,
        "size": group.size,
        "patience": distributed.PATIENCE,
        "leader": os.getpid(),
    }
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it ended at once; that is noticed when it is waited for
        process.stdin.write(json.dumps(whole).encode() + b"\n")
        process.stdin.flush()
    return Follower(rank, process, stderr)


def refuse_missing_devices(execution: Execution) -> None:
    """Stop where a rank would have no device of its own.

    Raises:
        UserError: With what to do.
    """
    if execution.device == "cuda" and (found := torch.cuda.device_count()) < execution.ranks:
        raise UserError(
            f"ranks {execution.ranks}: this trial sees {found} CUDA devices, and every rank needs "
            f"one of its own; use --ranks {max(1, found)}"
        )
