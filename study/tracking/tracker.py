"""The thread that fills the view of one study."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from queue import SimpleQueue

from study.tracking.store import Store, is_refusal
from study.tracking.values import StudyInfo, TrialView
from trainables.errors import redacted
from trainables.failures import lacking

PAUSE_SECONDS = 30.0
"""After the store could not be reached, how long nothing is tried."""

REST_SECONDS = 0.1
"""At most so long, the driver has its processor to itself after each trial that was written."""


class Tracker:
    """Fills the view of one study in the background; no method raises for what MLflow does.

    Attributes:
        problem: Why the last write failed, for a person; empty while all is well.
    """

    def __init__(
        self, uri: str, study: StudyInfo, told: Callable[[TrialView], None] | None = None
    ) -> None:
        """Start the thread; the store is opened there.

        Args:
            uri: Any MLflow tracking URI; for SQLite, artifacts lie in `mlartifacts` beside it.
            study: What the parent run says.
            told: Called from the thread for each trial once the store has all of it.
        """
        self._told = told
        self.problem = ""
        self._uri, self._study = uri, study
        self._store: Store | None = None
        self._missing: dict[str, TrialView] = {}
        self._refused: dict[str, TrialView] = {}
        self._summary: tuple[Mapping[str, float], Mapping[str, str]] | None = None
        self._paused_until = 0.0
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def record(self, trial: TrialView) -> None:
        """Put an ended trial into the view, soon; the same content again changes nothing."""
        self._missing[trial.digest] = trial
        self._wake.put(True)

    def summarize(self, metrics: Mapping[str, float], artifacts: Mapping[str, str]) -> None:
        """Put numbers and texts about the whole study into its parent run, soon."""
        self._summary = (metrics, artifacts)
        self._wake.put(True)

    def close(self, timeout: float) -> list[str]:
        """Wait at most `timeout` seconds for what is on its way.

        Returns:
            Digests of the trials that the view lacks, sorted.
        """
        self._closing.set()
        self._wake.put(False)
        self._thread.join(timeout)
        return sorted(self._missing)

    def _work(self) -> None:
        while self._wake.get():
            if time.monotonic() >= self._paused_until:
                self._catch_up()
        # The parent is opened even where no trial ended: a study that only failed is seen too.
        if self._catch_up():
            self._try(Store.finish)

    def _catch_up(self) -> bool:
        """Write all that is missing; False where the store cannot be reached."""
        for digest, trial in self._missing.copy().items():
            if self._refused.get(digest) is trial:
                continue
            began = time.monotonic()
            if not self._try(partial(Store.write, trial=trial), trial):
                return False
            if self._refused.get(digest) is not trial and self._missing.get(digest) is trial:
                del self._missing[digest]
                if self._told is not None:
                    self._told(trial)
            self._closing.wait(min(REST_SECONDS, time.monotonic() - began))
        summary = self._summary
        if summary is not None and self._try(lambda store: store.summarize(*summary)):
            self._summary = None if self._summary is summary else self._summary
        return True

    def _try(self, write: Callable[[Store], None], trial: TrialView | None = None) -> bool:
        """Write, whatever may happen; False where waiting could help."""
        try:
            if self._store is None:
                self._store = Store(self._uri, self._study)
            write(self._store)
        except Exception as error:  # MLflow, its database and its HTTP client raise many kinds
            # A server behind a proxy may carry its password in the URL.
            self.problem = redacted(lacking(error) or f"{type(error).__name__}: {error}")
            if trial is not None and is_refusal(error):
                self._refused[trial.digest] = trial
                return True
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            return False
        self.problem = ""
        return True
