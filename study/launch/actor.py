"""The Ray Tune trainable that steps through the events of one trial."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from ray import tune

from study.launch.nodes import refuse_another_root
from study.launch.retries import GIVEN_UP
from trainables.failures import Reason, TrialFailedError, describe, lacking
from trainables.spec import Execution, Spec
from trainables.storage.cache import shared_cache
from trainables.storage.inputs import at_hand
from trainables.storage.paths import is_own_file, parse_root
from trainables.trial.trial_folder import Attempt, TrialFolder

REPORT_SECONDS = 1.0
"""Time that a trial runs between two reports to the driver."""

GRACE_SECONDS = 5.0
"""Time after its limit at which the watchdog ends an attempt that no longer reports."""

STACKS = "stacks.txt"
"""File for the stacks of a hanging attempt, written by the watchdog; content proves the hang."""

FAILED = "failed"
"""Key of a report: the trial failed and is not retried."""


class TrialActor(tune.Trainable):
    """Ray actor that runs trials one after the other; it knows nothing of the study.

    `config` holds plain values: `digest` and `spec` (canonical JSON with its labels) of the trial,
    `root`, `cache`, `places`, `execution`, `launch` (ID of the launch), `timeout` (seconds per
    attempt, or None), `keep_weights`, `rungs`, `metric` (the objective at rungs), `proof` (see
    `Placing`) and `work` (function that runs a trial, as `module:function`).

    A failed trial reports its failure and its process ends, so that its memory or a broken CUDA
    context cannot affect the next trial. A lost worker or node is an error to Ray, which starts the
    trial again from its checkpoint.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Start a trial (called by Ray)."""
        module, _, function = config["work"].partition(":")
        work = getattr(import_module(module), function)  # imports torch, in the worker only
        refuse_another_root(config["proof"])
        spec = Spec.model_validate_json(config["spec"])
        self.digest = spec.digest
        self.folder = TrialFolder.of(parse_root(config["root"]), self.digest)
        self.launch: str = config["launch"]
        self.timeout: float | None = config["timeout"]
        self.stacks: TextIO | None = None
        self.deadline = float("inf")
        self.attempt = 0
        self.stepping = self.ending = self.closing = False
        self.failed: TrialFailedError | None = None
        self.given_up = config.get(GIVEN_UP) or given_up(self.folder, config["launch"])
        cache = shared_cache(Path(config["cache"]))
        execution = Execution(**config["execution"])
        machines = None
        if execution.nodes > 1:
            from study.launch.remote_ranks import OtherMachines

            machines = OtherMachines(config, self._lost_machine)
        self.events: Iterator[Any] = work(
            spec,
            self.folder,
            places=at_hand(config["places"], config["spec"], parse_root(config["root"]), cache),
            execution=execution,
            holder={
                "host": socket.gethostname(),
                "process": os.getpid(),
                "launch": config["launch"],
            },
            keep_weights=config["keep_weights"],
            cache=cache,
            rungs=config["rungs"],
            machines=machines,
        )
        self.metric: str = config["metric"]
        signal.signal(signal.SIGTERM, self._end)

    def step(self) -> dict[str, Any]:
        """Run for `REPORT_SECONDS` and report the trial's progress (called by Ray)."""
        report: dict[str, Any] = {"digest": self.digest, "done": False, "reason": ""}
        if self.given_up:
            reason, detail = self.given_up
            return report | {"done": True, "reason": reason, "detail": detail}
        if self.failed:
            raise self.failed
        self.stepping = True
        report_at = time.monotonic() + REPORT_SECONDS
        try:
            while time.monotonic() < report_at:
                event = next(self.events, None)
                if self.ending:
                    self._save_and_exit()
                if event is None:
                    return report | {"done": True}
                if event.kind == "claimed":
                    self.attempt = event.attempt
                    self._watch()
                report |= {"kind": event.kind, "at": event.step, "of": event.steps}
                report |= {"done": event.kind == "committed"}
                if event.kind == "rung":
                    value = event.rung.metrics.get(self.metric)
                    return report | {"rung": event.rung.examples, "value": value}
                if event.kind in ("committed", "evaluating"):
                    break
                if time.monotonic() > self.deadline:
                    return report | self._failed(self._timed_out())
        except TrialFailedError as failure:
            return report | self._failed(failure)
        except OSError as error:  # raised outside of an attempt
            if not lacking(error):
                raise
            facts = describe(error)
            return report | self._failed(TrialFailedError(facts["reason"], facts["detail"]))
        finally:
            self.stepping = False
            if report["done"] or self.failed:
                self._unwatch()
        return report

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in the same process (called by Ray)."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Let the trial save a checkpoint (called by Ray at the end and on interrupts)."""
        self.closing = True
        self._unwatch()
        close = getattr(self.events, "close", None)
        if close is not None:
            close()

    def _watch(self) -> None:
        """Start the attempt's time limit; faulthandler's C thread enforces it if Python hangs."""
        if self.timeout is None:
            return
        self._unwatch()
        self.deadline = time.monotonic() + self.timeout
        path = stacks_file(Attempt(self.folder, self.attempt), self.launch)
        with suppress(OSError):
            path.unlink(missing_ok=True)
        # "x" and 0o600: in a shared folder another user could have created a file of this name
        private = partial(os.open, mode=0o600)
        self.stacks = open(path, "x", encoding="utf-8", opener=private)  # noqa: SIM115 - kept
        faulthandler.dump_traceback_later(self.timeout + GRACE_SECONDS, exit=True, file=self.stacks)

    def _unwatch(self) -> None:
        if self.stacks is not None:
            faulthandler.cancel_dump_traceback_later()
            self.stacks.close()
            Path(self.stacks.name).unlink(missing_ok=True)
            self.stacks = None
        self.deadline = float("inf")

    def _failed(self, failure: TrialFailedError) -> dict[str, Any]:
        """Report a failure; the next step raises it, so that Ray ends this process."""
        self.failed = failure
        return {FAILED: True, "reason": failure.reason, "detail": str(failure)}

    def _timed_out(self) -> TrialFailedError:
        """Checkpoint and end a trial that is past its limit but not stuck."""
        self.cleanup()
        detail = f"ran longer than {self.timeout:g} s; what it had reached is saved"
        self._record_failure("timed out", detail)
        return TrialFailedError("timed out", detail)

    def _lost_machine(self, reason: Reason, detail: str) -> None:
        """Exit after the loss of another machine of this trial, so that Ray starts it again."""
        if self.closing:  # the trial is saving already
            return
        try:
            self._record_failure(reason, detail)
        finally:
            os._exit(143)

    def _record_failure(self, reason: Reason, detail: str) -> None:
        """Record why this attempt ends, if it has begun."""
        attempt = Attempt(self.folder, self.attempt)
        if attempt.claimed_by():
            attempt.fail({"reason": reason, "detail": detail, "trace": []})

    def _end(self, *_: Any) -> None:
        """Checkpoint and exit on SIGTERM, such as a spot machine's notice."""
        self.ending = True
        if not self.stepping:
            self._save_and_exit()

    def _save_and_exit(self) -> None:
        try:
            self.cleanup()
        finally:
            os._exit(143)


def given_up(folder: TrialFolder, launch: str) -> tuple[Reason, str] | None:
    """Return why this launch no longer retries a trial: it hung, or ran out of memory twice.

    Counts memory failures that only Ray or the kernel reported; those that torch reports are
    handled inside one attempt.
    """
    if hung := timed_out(folder, launch):
        return "timed out", hung
    failures = [
        failure
        for attempt in folder.attempts()
        if attempt.claimed_by().get("launch") == launch and (failure := attempt.failure())
    ]
    memory_failures = [failure for failure in failures if failure.get("reason") == "out of memory"]
    if len(memory_failures) < 2 or folder.is_committed:
        return None
    detail = (
        f"twice, the second time with smaller micro-batches: {memory_failures[0].get('detail')}"
    )
    return "out of memory", detail


def last_word(folder: TrialFolder, launch: str, before: int) -> tuple[Reason, str] | None:
    """Return the last attempt's reason and detail if it is of this launch and after `before`."""
    latest = Attempt(folder, folder.latest_attempt())
    if latest.number <= before or latest.claimed_by().get("launch") != launch:
        return None
    failure = latest.failure()
    return (failure["reason"], failure["detail"]) if failure else None


def stacks_file(attempt: Attempt, launch: str) -> Path:
    """Return the watchdog's file on this machine, which it writes when nothing else can run.

    For a remote root, the driver or the next attempt finds it only on the same machine.
    """
    if isinstance(attempt.path, Path):
        return attempt.path / STACKS
    name = f"study-{launch}-{attempt.trial.digest}-{attempt.number}-{STACKS}"
    return Path(tempfile.gettempdir(), name)


def timed_out(folder: TrialFolder, launch: str) -> str:
    """Return how the watchdog ended an earlier attempt of this launch; empty if it ended none."""
    for attempt in folder.attempts():
        stacks = stacks_file(attempt, launch)
        if attempt.claimed_by().get("launch") != launch or not is_own_file(stacks):
            continue
        lines = stacks.read_text(encoding="utf-8", errors="replace").splitlines()
        if lines and not folder.is_committed:
            detail = "did not react at its time limit and was ended"
            attempt.fail({"reason": "timed out", "detail": detail, "trace": lines})
            return detail
    return ""
