"""What the kernel says of this process's group."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


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
