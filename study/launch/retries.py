"""How often a trial that loses its worker is started again: machines that go away are no failure.

Ray Tune counts every loss alike unless a machine was drained first, which nobody does for one that
a spot market takes. So Tune is told to start trials again always, and the counting is done here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from trainables.failures import Reason

RETRIES = 2
"""How often a trial whose worker was lost is started again, from its last checkpoint; not counted
are machines that went away."""

ALWAYS = -1
"""What Tune takes for any number of failures."""

NO_FAULT: tuple[Reason, ...] = ("node lost",)
"""Losses that a trial has no part in."""

GIVEN_UP = "given_up"
"""Key of a trial's configuration: reason and detail with which the next actor ends it at once."""


@dataclass
class RetryPolicy:
    """Counts what trials lost, by digest."""

    spent: Counter[str] = field(default_factory=Counter)

    def lost(self, trial: Any, digest: str, reason: Reason, detail: str) -> None:
        """Count a loss of a trial that Tune starts again; once too often, that start is the last.

        Tune has decided before it tells: the trial is started, and says itself that it is given up.
        If even that fails, Tune ends it.
        """
        if reason in NO_FAULT:
            return
        self.spent[digest] += 1
        if self.spent[digest] > RETRIES:
            trial.set_config(
                {**trial.config, GIVEN_UP: [reason, self.final_message(digest, detail)]}
            )
            trial.max_failures = 0

    def final_message(self, digest: str, detail: str) -> str:
        """What is said of a trial that is not started again."""
        times = self.spent[digest]
        return f"{detail}; tried {times} times" if times > 1 else detail
