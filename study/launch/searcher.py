"""How Ray Tune gets the planned trials, and how their reports come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from study.launch.launch import Job, Listener, Progress


class Unpickled:
    """Tune pickles what it is given, to restore it; nothing is ever restored from that."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out: the listener holds open files."""
        return {}


class PlanSearcher(Unpickled, Searcher):
    """Hands out the jobs in their order; keeps no state that anybody would restore."""

    def __init__(self, jobs: Sequence[Job], common: Mapping[str, Any], listener: Listener) -> None:
        """Keep what every trial's configuration has in common."""
        super().__init__()
        self.waiting = list(jobs)
        self.common = dict(common)
        self.listener = listener
        self.running: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """The configuration of the next job (called by Tune)."""
        if not self.waiting:
            return Searcher.FINISHED
        job = self.waiting.pop(0)
        self.running[trial_id] = job.digest
        self.listener.started(job.digest)
        return self.common | {"spec": job.spec.model_dump_json(exclude_none=True)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the listener, once, how a trial ended (called by Tune, sometimes twice)."""
        digest = self.running.pop(trial_id, None)
        if digest is None:
            return
        if error:
            self.listener.finished(digest, "killed", "its worker was lost more often than retried")
        elif result and result.get("done"):
            self.listener.finished(digest, result.get("reason", ""), result.get("detail", ""))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger knows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class Reporter(Unpickled, tune.Callback):
    """Passes the reports of running trials on."""

    def __init__(self, listener: Listener) -> None:
        """Keep whom to tell."""
        self.listener = listener

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """A trial reported (called by Tune)."""
        if "at" in result:
            evaluating = result.get("kind") == "evaluating"
            self.listener.progressed(
                Progress(result["digest"], result["at"], result["of"], evaluating)
            )
