"""Hand the planned trials to Ray Tune, and pass its reports to the listener."""

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
    """Mixin without pickled state: Tune pickles for a restore that never happens here."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out, since the listener holds open files."""
        return {}


class PlanSearcher(Unpickled, Searcher):
    """Searcher that hands out the jobs in order."""

    def __init__(
        self,
        jobs: Jobs,
        common: Mapping[str, Any],
        listener: Listener,
        launch_config: LaunchConfig,
        stopped: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Prepare the configuration that all trials share.

        Args:
            jobs: Source of trials.
            common: Configuration that all trials share.
            listener: Receiver of starts and ends.
            launch_config: Rungs of trials, and which leave their encoders.
            stopped: Why the scheduler stopped a trial, by Tune's ID of it; filled while running.
        """
        super().__init__()
        self.launch_config, self.stopped = launch_config, stopped
        self.jobs = jobs
        self.common = dict(common)
        self.listener = listener
        self.running: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's configuration; None if it is not known yet (called by Tune)."""
        job = self.jobs.next()
        if job is None:
            return Searcher.FINISHED
        if isinstance(job, Wait):
            return None
        self.running[trial_id] = job.digest
        self.listener.started(job.digest)
        pruning = None if job.whole else self.launch_config.pruning
        rungs = pruning.fidelity.rungs_of(job.spec) if pruning else ()
        spec = job.spec.model_dump_json(exclude_none=True)
        specific = {"digest": job.digest, "spec": spec, "rungs": list(rungs)}
        return self.common | specific | {"keep_weights": self.launch_config.keeps(job)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Report the end of a trial once, though Tune may call this twice."""
        digest = self.running.pop(trial_id, None)
        if digest is not None and trial_id in self.stopped:
            self.listener.finished(digest, PRUNED, self.stopped[trial_id])
        elif digest is not None and not error and result and result.get("done"):
            self.listener.finished(digest, result.get("reason", ""), result.get("detail", ""))

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the journal holds everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


class Reporter(Unpickled, tune.Callback):
    """Callback that passes on progress of trials and the reasons of lost workers."""

    def __init__(self, listener: Listener, losses: FailureClassifier) -> None:
        self.listener = listener
        self.losses = losses
        self.failed: dict[str, tuple[str, str, str]] = {}
        self.heard: dict[str, int] = {}
        self.patience = RetryPolicy()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Report that a trial has its worker (called by Tune)."""
        self.listener.running(trial.config["digest"])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """Report a trial's progress and note its failure (called by Tune)."""
        if "at" in result:
            evaluating = result.get("kind") == "evaluating"
            self.listener.progressed(
                Progress(result["digest"], result["at"], result["of"], evaluating)
            )
        if result.get(FAILED):
            self.failed[trial.trial_id] = (result["digest"], result["reason"], result["detail"])
            trial.max_failures = 0  # the error that follows is the trial's, not a lost worker

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Report a lost worker and count the retry (called by Tune)."""
        digest, reason, detail = self._loss(trial)
        self.listener.lost(digest, reason, detail, trial.config["launch"])
        self.patience.lost(trial, digest, reason, detail)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Report a trial that failed, or lost its worker once too often (called by Tune)."""
        if failure := self.failed.pop(trial.trial_id, None):
            self.listener.finished(*failure)
            return
        digest, reason, detail = self._loss(trial)
        self.listener.lost(digest, reason, detail, trial.config["launch"])
        self.listener.finished(digest, reason, self.patience.final_message(digest, detail))

    def _loss(self, trial: Trial) -> tuple[str, Reason, str]:
        digest = trial.config["digest"]
        folder = TrialFolder.of(parse_root(trial.config["root"]), digest)
        if hung := timed_out(folder, trial.config["launch"]):
            return digest, "timed out", hung
        # use each attempt's failure once: a worker may be lost again before it claims the next
        before, self.heard[digest] = self.heard.get(digest, 0), folder.latest_attempt()
        if failure := last_word(folder, trial.config["launch"], before):
            return digest, *failure
        return digest, *self.losses.explain(_last_error(trial))


def _last_error(trial: Trial) -> BaseException | None:
    """Load the error that Tune caught from its files on the driver, which Tune syncs later.

    Of an error of Ray's memory monitor only the text is kept.
    """
    with suppress(OSError, TypeError), open(trial.error_file, encoding="utf-8") as log:
        last = log.read().rpartition("Failure # ")[2]
        if any(word in last for word in MEMORY_MONITOR):
            return RayError(last)
    if trial.pickled_error_file is None:
        return None
    with suppress(OSError, EOFError), open(trial.pickled_error_file, "rb") as file:
        error: BaseException = cloudpickle.load(file)
        return error
    return None
