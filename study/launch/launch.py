"""Run planned trials on Ray Tune and tell a listener what becomes of each."""

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
"""After how long a thread of the driver lets another one have its turn."""


def launch(jobs: Sequence[Job] | Jobs, listener: Listener, orders: LaunchConfig) -> None:
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

        from study.launch.actor import TrialActor
        from study.launch.failures import FailureClassifier
        from study.launch.schedulers import RungScheduler
        from study.launch.searcher import PlanSearcher, Reporter

        faults.at("ray.started")
        common = {
            "root": str(orders.root),
            "places": dict(orders.places),
            "execution": orders.execution.to_json(),
            "launch": uuid.uuid4().hex,
            "timeout": orders.timeout,
            "work": orders.work,
            "metric": orders.pruning.metric if orders.pruning else "",
            "cache": str(orders.state / "cache"),
            "proof": placed.proof,
        }
        losses = FailureClassifier.watch(local=orders.address is None)
        scheduler = RungScheduler(judge_of(orders, listener))
        tuner = tune.Tuner(
            tune.with_resources(TrialActor, placed.request),
            tune_config=tune.TuneConfig(
                search_alg=PlanSearcher(source, common, listener, orders, scheduler.stopped),
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
        try:
            with handed_on(signal.SIGUSR1):  # at which Tune saves and ends
                tuner.fit()
        except tune.TuneError as error:  # whatever the listener raises comes wrapped in those
            for one in behind(error):
                if isinstance(one, UserError):
                    raise one from None
            raise


def judge_of(orders: LaunchConfig, listener: Listener) -> Judge | None:
    """Who decides at the rungs of a launch; None where nothing is looked at."""
    if orders.pruning is None:
        return None
    from study.search.stopping_rules import stopping_rule  # imports scipy

    return Judge(stopping_rule(orders.pruning, orders.root), orders.pruning, listener.reached)
