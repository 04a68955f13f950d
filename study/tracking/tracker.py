"""The thread that writes one view of a study, in MLflow or an Optuna storage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from study.tracking.values import TrialView
from trainables.errors import redacted
from trainables.failures import lacking

PAUSE_SECONDS = 30.0
"""Pause after the store could not be reached."""

CLOSING_SECONDS = 60.0
"""Longest wait for a store at the end of a command."""

REST_SECONDS = 0.1
"""Longest pause after each written trial; it leaves the CPU to the driver."""


class Store(Protocol):
    """Backend of a view; every method is idempotent and may raise anything."""

    def write(self, trial: TrialView) -> None:
        """Bring the stored trial to exactly this content."""

    def summarize(self, metrics: Mapping[str, float], artifacts: Mapping[str, str]) -> None:
        """Store numbers and texts about the whole study."""

    def finish(self) -> None:
        """Finish at the end of a command."""


class Tracker:
    """Writes a view of one study in the background; no method raises the errors of its store.

    Attributes:
        problem: Why the last write failed, for people; empty if it succeeded.
    """

    def __init__(
        self, connect: Callable[[], Store], written: Callable[[TrialView], None] | None = None
    ) -> None:
        """Start the thread.

        Args:
            connect: Opens the store; called in the thread.
            written: Called in the thread for each trial that was written completely.
        """
        self._written = written
        self.problem = ""
        self._connect = connect
        self._store: Store | None = None
        self._missing: dict[str, TrialView] = {}
        self._refused: dict[str, TrialView] = {}
        self._summary: tuple[Mapping[str, float], Mapping[str, str]] | None = None
        self._paused_until = 0.0
        self._progress = time.monotonic()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def record(self, trial: TrialView) -> None:
        """Queue a trial for writing."""
        self._missing[trial.digest] = trial
        self._wake.put(True)

    def summarize(self, metrics: Mapping[str, float], artifacts: Mapping[str, str]) -> None:
        """Queue numbers and texts about the whole study."""
        self._summary = (metrics, artifacts)
        self._wake.put(True)

    def close(self, patience: float | None) -> list[str]:
        """Wait for queued trials.

        Args:
            patience: Seconds without progress after which to stop waiting, at the latest after
                `CLOSING_SECONDS`; None to wait without limit.

        Returns:
            Digests of the trials that were not written, sorted.
        """
        self._closing.set()
        self._wake.put(False)
        began = self._progress = time.monotonic()
        while self._thread.is_alive():
            now = time.monotonic()
            # opening a store may create its tables, without progress meanwhile
            is_stalled = self._store is not None and now - self._progress > (patience or 0)
            if patience is not None and (is_stalled or now - began > CLOSING_SECONDS):
                break
            self._thread.join(0.1)
        return sorted(self._missing)

    def _work(self) -> None:
        while self._wake.get():
            if time.monotonic() >= self._paused_until:
                self._catch_up()
        # Catch up even without queued trials, so that the study's parent run is opened.
        if self._catch_up():
            self._try(lambda store: store.finish())

    def _catch_up(self) -> bool:
        """Write all queued trials; False if the store cannot be reached."""
        for digest, trial in self._missing.copy().items():
            if self._refused.get(digest) is trial:
                continue
            began = time.monotonic()
            if not self._try(partial(_write, trial=trial), trial):
                return False
            if self._refused.get(digest) is not trial and self._missing.get(digest) is trial:
                del self._missing[digest]
                if self._written is not None:
                    self._written(trial)
            self._closing.wait(min(REST_SECONDS, time.monotonic() - began))
        summary = self._summary
        if summary is not None and self._try(lambda store: store.summarize(*summary)):
            self._summary = None if self._summary is summary else self._summary
        return True

    def _try(self, write: Callable[[Store], None], trial: TrialView | None = None) -> bool:
        """Write and note any error in `problem`; False if a later retry may help."""
        try:
            if self._store is None:
                self._store = self._connect()
                self._progress = time.monotonic()
            write(self._store)
            self._progress = time.monotonic()
        except Exception as error:  # stores, their databases and HTTP clients raise many kinds
            # A server behind a proxy may carry its password in the URL.
            self.problem = redacted(lacking(error) or f"{type(error).__name__}: {error}")
            if self._store is not None and trial is not None and is_refusal(error):
                self._refused[trial.digest] = trial
                return True
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            return False
        self.problem = ""
        return True


def is_refusal(error: Exception) -> bool:
    """Return whether the content is at fault, so that a retry cannot help."""
    code = getattr(error, "error_code", "")
    return isinstance(error, KeyError | TypeError | ValueError) or code == "INVALID_PARAMETER_VALUE"


def _write(store: Store, trial: TrialView) -> None:
    store.write(trial)
