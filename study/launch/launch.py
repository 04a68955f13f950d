"""Run planned trials on Ray Tune and tell a listener what becomes of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from study.launch.session import ray_session
from trainables.spec import Execution, Spec

RETRIES = 2
"""How often a trial whose worker or node was lost is started again, from its last checkpoint."""


@dataclass(frozen=True)
class Job:
    """One trial to run."""

    digest: str
    spec: Spec


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

    def finished(self, digest: str, reason: str, detail: str) -> None:
        """A trial ended; an empty reason means that it committed its result."""


def launch(
    jobs: Sequence[Job],
    listener: Listener,
    *,
    root: Path,
    places: Mapping[str, str],
    execution: Execution,
    workers: int,
    address: str | None = None,
) -> None:
    """Run the jobs, `workers` at a time, and return when all have ended or on an interrupt.

    Args:
        jobs: What to run, first come first served.
        listener: Told of every start, report and end.
        root: Where trial folders lie.
        places: Digest to folder, for data and checkpoints in files.
        execution: Threads, device and memory layout of every trial.
        workers: Trials at once.
        address: Of a running Ray cluster; None starts Ray on this machine.
    """
    with ray_session(root, workers, address) as folder:
        from ray import tune

        from study.launch.adapter import TrialActor
        from study.launch.searcher import PlanSearcher, Reporter

        common = {
            "root": str(root),
            "places": dict(places),
            "execution": execution.to_json(),
        }
        gpus = 1 if execution.device == "cuda" else 0
        tuner = tune.Tuner(
            tune.with_resources(TrialActor, {"cpu": 1, "gpu": gpus}),
            tune_config=tune.TuneConfig(
                search_alg=PlanSearcher(jobs, common, listener),
                num_samples=len(jobs),
                max_concurrent_trials=workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="attempt",
                storage_path=str(folder),
                verbose=0,
                callbacks=[Reporter(listener)],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()
