"""Ray Tune's scheduler: a judge decides at rungs (ASHA, Hyperband, ...); all else continues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.schedulers.trial_scheduler import TrialScheduler

from study.launch.searcher import Unpickled
from study.search.pruning import Judge


class RungScheduler(Unpickled, FIFOScheduler):
    """FIFO scheduler that stops a trial when the judge says so.

    Attributes:
        judge: Judge of the rungs; None if there are none.
        stopped: Why a trial was stopped, by Tune's ID of the trial.
    """

    def __init__(self, judge: Judge | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.judge = judge
        self.stopped: dict[str, str] = {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Decide about a trial at a rung (called by Tune)."""
        if self.judge is None or "rung" not in result:
            return str(TrialScheduler.CONTINUE)
        digest = result["digest"]
        decision = self.judge.decide(digest, result["rung"], result["at"], result["value"])
        if decision is None or not decision.stop:
            return str(TrialScheduler.CONTINUE)
        self.stopped[trial.trial_id] = decision.why
        return str(TrialScheduler.STOP)
