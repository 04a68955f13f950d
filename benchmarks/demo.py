"""Cost of the demo study in the README: seconds, and peak memory of all its processes.

`python benchmarks/demo.py` runs it in a temporary root. Memory is the sum of proportional set
sizes (shared pages counted once), read twice a second; there is no peer.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figures import figure, show  # noqa: E402

SECONDS_GOAL = 240.0


def main() -> None:
    """Run the demo, print a table, then one JSON object a line."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        began = time.perf_counter()
        command = [sys.executable, "study/run.py", "--space", "batch_size", "--root", folder]
        process = subprocess.Popen(command, cwd=ROOT)
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.5)
        seconds = time.perf_counter() - began
    if process.returncode != 0:
        sys.exit(f"the demo study ended with {process.returncode}")
    figures = [
        figure("demo study, seconds", seconds, unit="s", goal=f"ours <= {SECONDS_GOAL:g}"),
        figure("demo study, peak memory", peak / 1e9, unit="GB"),
    ]
    show(figures)


def memory(pid: int) -> int:
    """Return the bytes of a process and its descendants, counting shared pages once (Linux)."""
    folder = Path("/proc") / str(pid)
    try:
        rollup = (folder / "smaps_rollup").read_text(encoding="ascii")
        children = [
            int(child)
            for task in folder.glob("task/*/children")
            for child in task.read_text(encoding="ascii").split()
        ]
    except OSError:  # the process has ended
        return 0
    held = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return 1024 * held + sum(map(memory, children))


if __name__ == "__main__":
    main()
