"""How often a trial that loses its worker is started again: machines that go away are no failure.

Ray Tune counts every loss alike unless a machine was drained first, which nobody does for one that
a spot market takes. So Tune is told to start trials again always, and the counting is done here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
)

from trainables.failures import Reason, kernel_kills

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


MEMORY_MONITOR = ("running low on memory", "memory monitor", "OutOfMemory", "OOM killed")
"""What Ray says of a worker that its memory monitor ended."""

NODE_GONE = ("node has died", "node died", "node was terminated", "node is dead")
"""What Ray says of an actor whose machine is gone."""

Facts = tuple[Reason, str]


@dataclass
class FailureClassifier:
    """Tells losses apart; the kernel's count of its own kills is read at every one.

    Attributes:
        kernel_kills: The count when it was last read; None where there is no such counter.
        local: Whether the workers are on this machine, so that the count is about them.
    """

    kernel_kills: int | None
    local: bool

    @classmethod
    def watch(cls, local: bool) -> FailureClassifier:
        """Start counting now."""
        return cls(kernel_kills(), local)

    def explain(self, error: BaseException | None) -> Facts:
        """Reason and detail of a lost worker."""
        said = " ".join(str(error).split())
        if isinstance(error, OutOfMemoryError) or any(word in said for word in MEMORY_MONITOR):
            return "out of memory", "Ray's memory monitor ended the worker"
        before, self.kernel_kills = self.kernel_kills, kernel_kills()
        if self.local and before is not None and (self.kernel_kills or 0) > before:
            return "out of memory", "the kernel killed a process of this group for its memory"
        gone = isinstance(error, NodeDiedError) or getattr(error, "preempted", False)
        if gone or any(word in said.lower() for word in NODE_GONE):
            return "node lost", "the machine of its worker went away"
        if isinstance(error, ActorUnavailableError) and not self.local:
            # the worker may live: the network to it was cut, which is no fault of the trial
            return "node lost", "the network to the machine of its worker was cut"
        if error is None or isinstance(error, RayError):
            return "killed", "its worker died and nothing says why"
        return "error", f"{type(error).__name__}: {said}"[:500]
