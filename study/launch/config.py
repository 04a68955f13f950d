"""Input of a launch, and the events that it reports."""

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
"""Reason of a trial that was stopped at a rung."""


@dataclass(frozen=True)
class Job:
    """One trial to run.

    Attributes:
        digest: Digest of the spec.
        spec: Spec of the trial.
        whole: Whether it runs to its end, without rungs.
        candidate: Whether its encoder may be the best, which `--keep best` keeps.
    """

    digest: str
    spec: Spec
    whole: bool = False
    candidate: bool = True


class Wait:
    """The next trial depends on running ones."""


@dataclass
class Jobs:
    """Source of a launch's trials, one at a time.

    Attributes:
        waiting: Trials known beforehand, in order.
        further: Returns the next trial after those, and is called when there is room for one; its
            None ends the launch.
    """

    waiting: list[Job]
    further: Callable[[], Job | Wait | None] | None = None

    def next(self) -> Job | Wait | None:
        """Return the next trial; None if there are no more."""
        if self.waiting:
            return self.waiting.pop(0)
        return self.further() if self.further else None

    @property
    def most(self) -> int:
        """Maximum number of trials; -1 if unknown."""
        return -1 if self.further else len(self.waiting)

    def __iter__(self) -> Iterator[Job]:
        """Yield jobs one by one; each must have ended before the next is requested."""
        while (job := self.next()) is not None:
            assert isinstance(job, Job), "nothing is running that could be waited for"
            yield job


@dataclass(frozen=True)
class Progress:
    """Progress of a running trial.

    Attributes:
        digest: Digest of the trial.
        step: Optimizer steps taken.
        steps: Optimizer steps to take.
        evaluating: Whether training has ended.
    """

    digest: str
    step: int
    steps: int
    evaluating: bool


class Listener(Protocol):
    """Receiver of a launch's events; called in the driver's own thread."""

    def started(self, digest: str) -> None:
        """Handle a trial that was handed to Ray."""

    def running(self, digest: str) -> None:
        """Handle a trial that got its resources; called again after its worker was lost."""

    def progressed(self, progress: Progress) -> None:
        """Handle a trial's progress."""

    def reached(self, rung: Rung) -> None:
        """Record a rung before returning, since the decision is acted on next."""

    def lost(self, digest: str, reason: str, detail: str, launch: str) -> None:
        """Handle the loss of a trial's worker; the trial may go on from its checkpoint."""

    def finished(self, digest: str, reason: str, detail: str) -> None:
        """Handle the end of a trial; an empty reason means that it committed its result.

        `PRUNED` is no failure: the trial was stopped at a rung, and `detail` says why.
        """


@dataclass(frozen=True)
class LaunchConfig:
    """How the trials of one launch run; no part of a plan.

    Attributes:
        root: Root of the trial folders.
        state: Local folder for Ray's token and temporary files, and for the shared cache.
        places: Local paths of data and checkpoints, by digest.
        execution: Threads, device and memory layout of every trial.
        workers: Concurrent trials; None for as many as the cluster has room for at the start.
        address: Address of a running Ray cluster; None starts Ray on this machine.
        timeout: Time limit of one attempt at a trial in seconds; None for no limit.
        keep: Fine-tuned encoders that stay in the trial folders: `best`, `all` or `none`.
        work: Function that an actor runs a trial with, as `module:function`, called like
            `finetune`.
        pruning: Rungs of trials and the rule that stops them; None for no rungs.
        needs: GPU memory of trials in bytes, by `cost_key`; a trial without an entry gets a whole
            GPU.
        accelerator: Type of the GPUs that an autoscaler will start.
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
        """Return whether a trial leaves its encoder; the best one is only known at the end."""
        return self.keep == "all" or (self.keep == "best" and job.candidate)
