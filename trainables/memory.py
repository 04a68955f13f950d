"""The most memory that this process has held since it was last asked to forget."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Begin anew, where the system lets a process do that: one process runs many trials."""
    with suppress(OSError):
        CLEAR.write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak() -> dict[str, float]:
    """Megabytes (10^6 bytes) of main memory and of the accelerator's, as far as they are known."""
    found = {}
    with suppress(OSError):
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        if "VmHWM" in lines:
            found["peak_memory_mb"] = int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    if torch.cuda.is_available():
        found["peak_device_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return found
