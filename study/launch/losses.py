"""Why a worker was lost, as far as there is evidence."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError, RayError

from trainables.failures import Reason

CGROUP = Path("/sys/fs/cgroup")

MEMORY_MONITOR = ("running low on memory", "memory monitor", "OutOfMemory", "OOM killed")
"""What Ray says of a worker that its memory monitor ended."""

NODE_GONE = ("node has died", "node died", "node was terminated", "node is dead")
"""What Ray says of an actor whose machine is gone."""

Facts = tuple[Reason, str]


@dataclass
class Losses:
    """Tells losses apart; the kernel's count of its own kills is read at every one.

    Attributes:
        kernel_kills: The count when it was last read; None where there is no such counter.
        local: Whether the workers are on this machine, so that the count is about them.
    """

    kernel_kills: int | None
    local: bool

    @classmethod
    def watch(cls, local: bool) -> Losses:
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
        if error is None or isinstance(error, (ActorDiedError, RayError)):
            return "killed", "its worker died and nothing says why"
        return "error", f"{type(error).__name__}: {said}"[:500]


def kernel_kills() -> int | None:
    """How often the kernel has killed a process of this group for its memory."""
    for file in _counters():
        try:
            lines = file.read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        counts = dict(line.split() for line in lines)
        if "oom_kill" in counts:
            return int(counts["oom_kill"])
    return None


def _counters() -> list[Path]:
    """Where the count may stand: the group's own file or its mount's, in either version."""
    files = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
            _, kind, group = line.split(":", 2)
            for folder in (group.lstrip("/"), ""):
                if kind == "":
                    files.append(CGROUP / folder / "memory.events")
                if "memory" in kind.split(","):
                    files.append(CGROUP / "memory" / folder / "memory.oom_control")
    return files
