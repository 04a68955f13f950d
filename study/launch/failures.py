"""Classify the losses of workers by the evidence there is."""

from __future__ import annotations

from dataclasses import dataclass

from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
)

from trainables.failures import Reason, kernel_kills

MEMORY_MONITOR = ("running low on memory", "memory monitor", "OutOfMemory", "OOM killed")
"""Words in Ray's errors about a worker that its memory monitor ended."""


NODE_GONE = ("node has died", "node died", "node was terminated", "node is dead")
"""Words in Ray's errors about an actor whose machine is gone."""


Facts = tuple[Reason, str]


@dataclass
class FailureClassifier:
    """Finds the reason of each loss; reads the kernel's count of out-of-memory kills every time.

    Attributes:
        kernel_kills: The count when it was last read; None if there is no such counter.
        local: Whether workers run on this machine, so that the count covers them.
    """

    kernel_kills: int | None
    local: bool

    @classmethod
    def watch(cls, local: bool) -> FailureClassifier:
        """Start counting kernel kills now."""
        return cls(kernel_kills(), local)

    def explain(self, error: BaseException | None) -> Facts:
        """Return reason and detail of a lost worker."""
        message = " ".join(str(error).split())
        if isinstance(error, OutOfMemoryError) or any(word in message for word in MEMORY_MONITOR):
            return "out of memory", "Ray's memory monitor ended the worker"
        before, self.kernel_kills = self.kernel_kills, kernel_kills()
        if self.local and before is not None and (self.kernel_kills or 0) > before:
            return "out of memory", "the kernel killed a process of this group for its memory"
        gone = isinstance(error, NodeDiedError) or getattr(error, "preempted", False)
        if gone or any(word in message.lower() for word in NODE_GONE):
            return "node lost", "the machine of its worker went away"
        if isinstance(error, ActorUnavailableError) and not self.local:
            # the worker may live: the network to it was cut, which is no fault of the trial
            return "node lost", "the network to the machine of its worker was cut"
        if error is None or isinstance(error, RayError):
            return "killed", "its worker died and nothing says why"
        return "error", f"{type(error).__name__}: {message}"[:500]
