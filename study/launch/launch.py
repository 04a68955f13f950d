"""Run trials on Ray Tune and report their events to a listener."""

from __future__ import annotations

import signal
import sys
import uuid
from collections.abc import Sequence

from study.interrupts import handed_on
from study.launch.config import Job, Jobs, LaunchConfig, Listener
from study.launch.resources import placing
from study.launch.retries import ALWAYS
from study.launch.session import ray_session
from study.search.pruning import Judge
from trainables import faults
from trainables.errors import UserError
from trainables.failures import behind

TURN_SECONDS = 0.0005
"""Switch interval of the driver's threads."""


def launch(jobs: Sequence[Job] | Jobs, listener: Listener, config: LaunchConfig) -> None:
    """Run the jobs, at most `workers` at a time; return when all have ended or on an interrupt.

    Args:
        jobs: Trials, started in this order.
        listener: Receiver of every start, report, loss and end.
        config: Configuration of the launch.
    """
    source = jobs if isinstance(jobs, Jobs) else Jobs(list(jobs))
    faults.at("ray.starting")
    processors = (config.workers or 1) * config.execution.threads * config.execution.ranks
    with (
        ray_session(config.state, processors, config.address) as folder,
        placing(
            config.root,
            config.execution,
            config.workers,
            config.address,
            config.needs,
            config.accelerator,
            config.places,
        ) as placed,
    ):
        from ray import tune

        from study.launch.actor import TrialActor
        from study.launch.failures import FailureClassifier
        from study.launch.schedulers import RungScheduler
        from study.launch.searcher import PlanSearcher, Reporter

        faults.at("ray.started")
        common = {
            "root": str(config.root),
            "places": dict(config.places),
            "execution": config.execution.to_json(),
            "launch": uuid.uuid4().hex,
            "timeout": config.timeout,
            "work": config.work,
            "metric": config.pruning.metric if config.pruning else "",
            "cache": str(config.state / "cache"),
            "proof": placed.proof,
        }
        losses = FailureClassifier.watch(local=config.address is None)
        scheduler = RungScheduler(judge_of(config, listener))
        tuner = tune.Tuner(
            tune.with_resources(TrialActor, placed.request),
            tune_config=tune.TuneConfig(
                search_alg=PlanSearcher(source, common, listener, config, scheduler.stopped),
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
        # by default, a tracking thread could keep the driver waiting 5 ms at every switch
        sys.setswitchinterval(TURN_SECONDS)
        try:
            with handed_on(signal.SIGUSR1):  # on SIGUSR1 Tune saves and ends
                tuner.fit()
        except tune.TuneError as error:  # wraps whatever the listener raises
            for cause in behind(error):
                if isinstance(cause, UserError):
                    raise cause from None
            raise


def judge_of(config: LaunchConfig, listener: Listener) -> Judge | None:
    """Return the judge of a launch's rungs; None if it has none."""
    if config.pruning is None:
        return None
    from study.search.stopping_rules import stopping_rule  # imports scipy

    return Judge(stopping_rule(config.pruning, config.root), config.pruning, listener.reached)
