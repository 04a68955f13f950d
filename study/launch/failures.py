"""Why a worker was lost, as far as there is evidence."""

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
