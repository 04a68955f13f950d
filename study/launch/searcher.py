"""How Ray Tune gets the planned trials, and how their reports come back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from ray import cloudpickle, tune
from ray.exceptions import RayError
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from study.launch.actor import FAILED, last_word, timed_out
from study.launch.config import PRUNED, Jobs, LaunchConfig, Listener, Progress, Wait
from study.launch.failures import MEMORY_MONITOR, FailureClassifier
from study.launch.retries import RetryPolicy
from trainables.failures import Reason
from trainables.storage.paths import parse_root
from trainables.trial.trial_folder import TrialFolder


class Unpickled:
    """Tune pickles what it is given, to restore it; nothing is ever restored from that."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out: the listener holds open files."""
        return {}


class PlanSearcher(Unpickled, Searcher):
    """Hands out the jobs in their order; keeps no state that anybody would restore."""

    def __init__(
        self,
        jobs: Jobs,
        common: Mapping[str, Any],
        listener: Listener,
        orders: LaunchConfig,
        stopped: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Keep what every trial's configuration has in common.

        Args:
            jobs: Where trials come from.
            common: Of every trial's configuration.
            listener: Told of starts and ends.
            orders: Which rungs trials have, and which leave their encoders.
            stopped: Why the scheduler stopped a trial, by Tune's name of it, as soon as it did.
        """
        super().__init__()
        self.orders, self.stopped = orders, stopped
        self.jobs = jobs
        self.common = dict(common)
        self.listener = listener
        self.running: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """The configuration of the next job; None where it is not known yet (called by Tune)."""
        job = self.jobs.next()
        if job is None:
            return Searcher.FINISHED
        if isinstance(job, Wait):
            return None
        self.running[trial_id] = job.digest
        self.listener.started(job.digest)
        pruning = None if job.whole else self.orders.pruning
        rungs = pruning.fidelity.rungs_of(job.spec) if pruning else ()
        spec = job.spec.model_dump_json(exclude_none=True)
        own = {"digest": job.digest, "spec": spec, "rungs": list(rungs)}
        return self.common | own | {"keep_weights": self.orders.keeps(job)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the listener, once, how a trial ended (called by Tune, sometimes twice)."""
        digest = self.running.pop(trial_id, None)
        if digest is not None and trial_id in self.stopped:
            self.listener.finished(digest, PRUNED, self.stopped[trial_id])
        elif digest is not None and not error and result and result.get("done"):
            self.listener.finished(digest, result.get("reason", ""), result.get("detail", ""))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal knows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class Reporter(Unpickled, tune.Callback):
    """Passes on what running trials report, and why workers were lost."""

    def __init__(self, listener: Listener, losses: FailureClassifier) -> None:
        """Keep whom to tell."""
        self.listener = listener
        self.losses = losses
        self.failed: dict[str, tuple[str, str, str]] = {}
        self.heard: dict[str, int] = {}
        self.patience = RetryPolicy()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A trial has its worker (called by Tune)."""
        self.listener.running(trial.config["digest"])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """A trial reported (called by Tune)."""
        if "at" in result:
            evaluating = result.get("kind") == "evaluating"
            self.listener.progressed(
                Progress(result["digest"], result["at"], result["of"], evaluating)
            )
        if result.get(FAILED):
            self.failed[trial.trial_id] = (result["digest"], result["reason"], result["detail"])
            trial.max_failures = 0  # the error that follows is no lost worker

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A worker was lost and its trial is started again (called by Tune)."""
        digest, reason, detail = self._loss(trial)
        self.listener.lost(digest, reason, detail, trial.config["launch"])
        self.patience.lost(trial, digest, reason, detail)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A trial failed of itself, or lost its worker once too often (called by Tune)."""
        if final_message := self.failed.pop(trial.trial_id, None):
            self.listener.finished(*final_message)
            return
        digest, reason, detail = self._loss(trial)
        self.listener.lost(digest, reason, detail, trial.config["launch"])
        self.listener.finished(digest, reason, self.patience.final_message(digest, detail))

    def _loss(self, trial: Trial) -> tuple[str, Reason, str]:
        digest = trial.config["digest"]
        folder = TrialFolder.of(parse_root(trial.config["root"]), digest)
        if hung := timed_out(folder, trial.config["launch"]):
            return digest, "timed out", hung
        # one word an attempt: a worker may be lost again before it claims the next
        before, self.heard[digest] = self.heard.get(digest, 0), folder.latest_attempt()
        if said := last_word(folder, trial.config["launch"], before):
            return digest, *said
        return digest, *self.losses.explain(_last_error(trial))


def _last_error(trial: Trial) -> BaseException | None:
    """What Tune caught; it keeps it in files of the driver, and synchronises those later.

    Of what Ray's memory monitor does it keeps the words alone.
    """
    with suppress(OSError, TypeError), open(trial.error_file, encoding="utf-8") as words:
        last = words.read().rpartition("Failure # ")[2]
        if any(word in last for word in MEMORY_MONITOR):
            return RayError(last)
    if trial.pickled_error_file is None:
        return None
    with suppress(OSError, EOFError), open(trial.pickled_error_file, "rb") as file:
        error: BaseException = cloudpickle.load(file)
        return error
    return None
