"""Count retries of trials that lost their worker; the loss of a machine is no failure.

Ray Tune counts every loss alike unless the machine was drained first, which spot markets do not do.
So Tune retries without limit, and this module counts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from trainables.failures import Reason

RETRIES = 2
"""Maximum restarts of a trial that lost its worker; losses of machines do not count."""

ALWAYS = -1
"""Tune's value for unlimited retries."""

NO_FAULT: tuple[Reason, ...] = ("node lost",)
"""Reasons that do not count against a trial."""

GIVEN_UP = "given_up"
"""Config key: reason and detail with which the next actor ends the trial at once."""


@dataclass
class RetryPolicy:
    """Counts the retries that trials have spent, by digest."""

    spent: Counter[str] = field(default_factory=Counter)

    def lost(self, trial: Any, digest: str, reason: Reason, detail: str) -> None:
        """Count a trial's loss; after `RETRIES` restarts, its next actor only reports the failure.

        Tune calls this after it has decided to restart the trial, so the restarted actor must end
        it (`GIVEN_UP`). If that actor is lost too, Tune ends the trial.
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
        """Format the detail of a trial that is not retried."""
        times = self.spent[digest]
        return f"{detail}; tried {times} times" if times > 1 else detail
