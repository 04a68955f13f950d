"""The scheduler that Ray Tune asks: it passes rungs on to the judge, all else goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.schedulers.trial_scheduler import TrialScheduler

from study.launch.searcher import Unpickled
from study.search.pruning import Judge


class RungScheduler(Unpickled, FIFOScheduler):
    """Stops a trial where the judge says so.

    Attributes:
        judge: None where nothing is looked at.
        stopped: Why, by Tune's name of the trial.
    """

    def __init__(self, judge: Judge | None) -> None:
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
