"""Run planned trials on Ray Tune and tell a listener what becomes of each."""

from __future__ import annotations

import signal
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from study.launch.patience import ALWAYS
from study.launch.placing import placing
from study.launch.session import ray_session
from study.search.rungs import Judge, Pruning, Rung
from trainables import faults
from trainables.places import Place
from trainables.spec import Execution, Spec

TURN_SECONDS = 0.0005
"""After how long a thread of the driver lets another one have its turn."""

PRUNED = "pruned"
"""The reason of a trial that was stopped at a rung."""


@dataclass(frozen=True)
class Job:
    """One trial to run; a `whole` one has no rungs at which it could be stopped."""

    digest: str
    spec: Spec
    whole: bool = False


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

    def progressed(self, progress: Progress) -> None:
        """A trial reported."""

    def reached(self, rung: Rung) -> None:
        """A trial came to a rung; to be kept before this returns, since then it is acted on."""

    def lost(self, digest: str, reason: str, detail: str) -> None:
        """A trial's worker was lost; it is started again from its checkpoint."""

    def finished(self, digest: str, reason: str, detail: str) -> None:
        """A trial ended; an empty reason means that it committed its result.

        `PRUNED` is no failure: it was stopped at a rung, and `detail` says why.
        """


@dataclass(frozen=True)
class Orders:
    """How the trials of one launch run; nothing of it is part of a plan.

    Attributes:
        root: Where trial folders lie.
        state: A local folder for Ray's token and temporary files, and for the shared cache.
        places: Digest to folder, for data and checkpoints in files.
        execution: Threads, device and memory layout of every trial.
        workers: Trials at once; None for what a cluster has room for when the launch begins.
        address: Of a running Ray cluster; None starts Ray on this machine.
        timeout: Seconds that one attempt at a trial may take; None for no limit.
        keep_weights: Leave fine-tuned encoders in the trial folders.
        work: What runs a trial in the actor, as `module:function`, called as `finetune` is.
        pruning: Where trials are looked at on the way, and which of them are stopped; None nowhere.
        needs: Bytes of a GPU, by what decides a trial's cost; other trials get a whole one.
        accelerator: GPUs that a cluster will start, where none is there yet.
    """

    root: Place
    state: Path
    places: Mapping[str, str]
    execution: Execution
    workers: int | None
    address: str | None = None
    timeout: float | None = None
    keep_weights: bool = False
    work: str = "trainables.finetune:finetune"
    pruning: Pruning | None = None
    needs: Mapping[str, float] = field(default_factory=dict)
    accelerator: str | None = None


def launch(jobs: Sequence[Job] | Jobs, listener: Listener, orders: Orders) -> None:
    """Run the jobs, `workers` at a time, and return when all have ended or on an interrupt.

    Args:
        jobs: What to run, first come first served.
        listener: Told of every start, report, loss and end.
        orders: How.
    """
    source = jobs if isinstance(jobs, Jobs) else Jobs(list(jobs))
    faults.at("ray.starting")
    processors = (orders.workers or 1) * orders.execution.threads * orders.execution.ranks
    with (
        ray_session(orders.state, processors, orders.address) as folder,
        placing(
            orders.root,
            orders.execution,
            orders.workers,
            orders.address,
            orders.needs,
            orders.accelerator,
            orders.places,
        ) as placed,
    ):
        from ray import tune

        from study.launch.adapter import TrialActor
        from study.launch.losses import Losses
        from study.launch.schedulers import RungScheduler
        from study.launch.searcher import PlanSearcher, Reporter

        faults.at("ray.started")
        common = {
            "root": str(orders.root),
            "places": dict(orders.places),
            "execution": orders.execution.to_json(),
            "launch": uuid.uuid4().hex,
            "timeout": orders.timeout,
            "keep_weights": orders.keep_weights,
            "work": orders.work,
            "metric": orders.pruning.metric if orders.pruning else "",
            "cache": str(orders.state / "cache"),
            "proof": placed.proof,
        }
        losses = Losses.watch(local=orders.address is None)
        scheduler = RungScheduler(judge_of(orders, listener))
        tuner = tune.Tuner(
            tune.with_resources(TrialActor, placed.request),
            tune_config=tune.TuneConfig(
                search_alg=PlanSearcher(
                    source, common, listener, orders.pruning, scheduler.stopped
                ),
                scheduler=scheduler,
                num_samples=source.most,
                max_concurrent_trials=placed.workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="attempt",
                storage_path=str(folder),
                verbose=0,
                callbacks=[Reporter(listener, losses)],
                failure_config=tune.FailureConfig(max_failures=ALWAYS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        # the thread that fills the view would else keep the driver waiting 5 ms at every turn
        sys.setswitchinterval(TURN_SECONDS)
        # to be ended politely is to be interrupted: trials save, the ledger is put in order
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        tuner.fit()


def judge_of(orders: Orders, listener: Listener) -> Judge | None:
    """Who decides at the rungs of a launch; None where nothing is looked at."""
    from study.launch.schedulers import rule_of  # imports Ray

    if orders.pruning is None:
        return None
    return Judge(rule_of(orders.pruning, orders.root), orders.pruning, listener.reached)
