"""What a launch is given, and what it tells of its trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from study.search.pruning import Pruning
from study.state.rungs import Rung
from trainables.spec import Execution, Spec
from trainables.storage.paths import AnyPath

PRUNED = "pruned"
"""The reason of a trial that was stopped at a rung."""


@dataclass(frozen=True)
class Job:
    """One trial to run.

    Attributes:
        digest: Of its spec.
        spec: What it is.
        whole: It has no rungs at which it could be stopped.
        candidate: Its encoder may be the best, which `--keep best` keeps.
    """

    digest: str
    spec: Spec
    whole: bool = False
    candidate: bool = True


class Wait:
    """What runs next depends on trials that are running."""


@dataclass
class Jobs:
    """Where the trials of a launch come from, one at a time.

    Attributes:
        waiting: Known before, in their order.
        further: What comes after them, asked whenever there is room for a trial; None for nothing
            more.
    """

    waiting: list[Job]
    further: Callable[[], Job | Wait | None] | None = None

    def next(self) -> Job | Wait | None:
        """The next trial; None where there is none, now or ever."""
        if self.waiting:
            return self.waiting.pop(0)
        return self.further() if self.further else None

    @property
    def most(self) -> int:
        """How many there can be; -1 where that is not known."""
        return -1 if self.further else len(self.waiting)

    def __iter__(self) -> Iterator[Job]:
        """One after the other, each after the one before has ended."""
        while (job := self.next()) is not None:
            assert isinstance(job, Job), "nothing is running that could be waited for"
            yield job


@dataclass(frozen=True)
class Progress:
    """Where a running trial stands.

    Attributes:
        digest: Which trial.
        step: Optimizer steps taken.
        steps: Optimizer steps to take.
        evaluating: Whether it is past training.
    """

    digest: str
    step: int
    steps: int
    evaluating: bool


class Listener(Protocol):
    """What the driver wants to hear; called from the driver's own thread."""

    def started(self, digest: str) -> None:
        """A trial was handed to Ray."""

    def running(self, digest: str) -> None:
        """A trial has its place and runs; again, after its worker was lost."""

    def progressed(self, progress: Progress) -> None:
        """A trial reported."""

    def reached(self, rung: Rung) -> None:
        """A trial came to a rung; to be kept before this returns, since then it is acted on."""

    def lost(self, digest: str, reason: str, detail: str, launch: str) -> None:
        """A trial's worker was lost in this launch; it goes on from its checkpoint."""

    def finished(self, digest: str, reason: str, detail: str) -> None:
        """A trial ended; an empty reason means that it committed its result.

        `PRUNED` is no failure: it was stopped at a rung, and `detail` says why.
        """


@dataclass(frozen=True)
class LaunchConfig:
    """How the trials of one launch run; nothing of it is part of a plan.

    Attributes:
        root: Where trial folders lie.
        state: A local folder for Ray's token and temporary files, and for the shared cache.
        places: Digest to folder, for data and checkpoints in files.
        execution: Threads, device and memory layout of every trial.
        workers: Trials at once; None for what a cluster has room for when the launch begins.
        address: Of a running Ray cluster; None starts Ray on this machine.
        timeout: Seconds that one attempt at a trial may take; None for no limit.
        keep: Fine-tuned encoders that stay in the trial folders: best, all or none.
        work: What runs a trial in the actor, as `module:function`, called as `finetune` is.
        pruning: Where trials are looked at on the way, and which of them are stopped; None nowhere.
        needs: Bytes of a GPU, by what decides a trial's cost; other trials get a whole one.
        accelerator: GPUs that a cluster will start, where none is there yet.
    """

    root: AnyPath
    state: Path
    places: Mapping[str, str]
    execution: Execution
    workers: int | None
    address: str | None = None
    timeout: float | None = None
    keep: str = "none"
    work: str = "trainables.finetune:finetune"
    pruning: Pruning | None = None
    needs: Mapping[str, float] = field(default_factory=dict)
    accelerator: str | None = None

    def keeps(self, job: Job) -> bool:
        """Whether a trial leaves its encoder: which is best is known at the end."""
        return self.keep == "all" or (self.keep == "best" and job.candidate)
