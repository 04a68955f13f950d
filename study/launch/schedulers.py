"""Ray Tune's schedulers as rules at our rungs, and the rules as a scheduler of Ray Tune's.

Ray's own schedulers know trials by names of one launch and draw from a global generator. Here they
are given trials by their digest and rungs in examples, so that what an earlier launch saw can be
shown to them again and they decide as if it had not ended.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule
from ray.tune.schedulers.trial_scheduler import TrialScheduler

from study.launch.searcher import Unpickled
from study.rungs import Rung
from study.search.cannot_win import CannotWin, looking
from study.search.judge import Judge, Never, Pruning, Rule
from study.spaces.fidelity import Fidelity
from trainables.places import Place

TIME, SCORE = "examples", "score"
"""Keys of what Ray's schedulers are shown."""

FURTHEST = 30
"""Powers of the factor up to which Ray's rungs lie: further than any trial goes."""


class Shown:
    """A trial as Ray's schedulers need it: something with a name."""

    def __init__(self, digest: str) -> None:
        """Keep the name."""
        self.trial_id = digest


class Halving(AsyncHyperBandScheduler):
    """Ray's ASHA and Hyperband, whose trials find their bracket by their digest."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Deal a trial to a bracket, with Ray's chances (called when it first reports)."""
        sizes = np.array([len(bracket._rungs) for bracket in self._brackets], dtype=float)
        chances = np.exp(sizes - sizes.max())
        drawn = int(hashlib.sha256(trial.trial_id.encode()).hexdigest()[:12], 16) / 16**12
        place = int(np.searchsorted(np.cumsum(chances / chances.sum()), drawn, side="right"))
        self._trial_info[trial.trial_id] = self._brackets[min(place, len(sizes) - 1)]


class RayRule:
    """A scheduler of Ray's, asked about trials by their digest."""

    def __init__(self, scheduler: FIFOScheduler, why: str) -> None:
        """Keep the scheduler, and what is said of those that it stops."""
        self.scheduler, self.why = scheduler, why
        self.shown: dict[str, Shown] = {}

    def reached(self, rung: Rung, score: float) -> str:
        """Take in a trial at a rung; why it is stopped, or empty."""
        if rung.trial not in self.shown:
            self.shown[rung.trial] = Shown(rung.trial)
            self.scheduler.on_trial_add(None, self.shown[rung.trial])  # type: ignore[arg-type]
        result = {TIME: rung.examples, SCORE: score}
        decision = self.scheduler.on_trial_result(None, self.shown[rung.trial], result)  # type: ignore[arg-type]
        stopping = TrialScheduler.STOP, TrialScheduler.PAUSE
        return self.why if decision in stopping else ""


def rule_of(pruning: Pruning, root: Place) -> Rule:
    """What decides at the rungs of a launch.

    Args:
        pruning: How.
        root: Of the trial folders, where queries are read.
    """
    fidelity = pruning.fidelity
    if fidelity.kind in ("asha", "hyperband"):
        return RayRule(halving(fidelity), f"not among the best 1/{fidelity.factor} so far")
    if fidelity.kind == "median":
        return RayRule(
            MedianStoppingRule(
                time_attr=TIME,
                metric=SCORE,
                mode="max",
                grace_period=fidelity.first,
                min_samples_required=fidelity.enough,
                # says pause where it would stop, and lets an exempt trial come to another rung
                hard_stop=False,
                # never paused for want of others: a pause is a checkpoint of Tune's
                min_time_slice=math.inf,  # type: ignore[arg-type]
            ),
            "below the median of the others' running means",
        )
    if fidelity.kind == "bootstrap":
        look = looking(root, pruning.metric)
        return CannotWin(look, pruning.maximize, fidelity.level, fidelity.slack)
    return Never()


def halving(fidelity: Fidelity) -> Halving:
    """Ray's asynchronous successive halving, in one bracket or several."""
    return Halving(
        time_attr=TIME,
        metric=SCORE,
        mode="max",
        grace_period=fidelity.first,
        max_t=fidelity.first * fidelity.factor**FURTHEST,
        reduction_factor=fidelity.factor,
        brackets=fidelity.brackets if fidelity.kind == "hyperband" else 1,
        stop_last_trials=False,
    )


class RungScheduler(Unpickled, FIFOScheduler):
    """Asks the judge whenever a trial reports a rung; all else goes on."""

    def __init__(self, judge: Judge | None) -> None:
        """Keep the judge; None where nothing is looked at."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.judge = judge
        self.stopped: dict[str, str] = {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Decide (called by Tune)."""
        if self.judge is None or "rung" not in result:
            return str(TrialScheduler.CONTINUE)
        digest = result["digest"]
        decided = self.judge.decide(digest, result["rung"], result["at"], result["value"])
        if decided is None or not decided.stop:
            return str(TrialScheduler.CONTINUE)
        self.stopped[trial.trial_id] = decided.why
        return str(TrialScheduler.STOP)
