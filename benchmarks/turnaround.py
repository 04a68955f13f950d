"""What launching a trial costs beside the trial: no-op trials on two slots, against stock Ray Tune.

Ours is the real road: driver, journal, committed folders, and the views of MLflow and Optuna in
its thread. The peers are Ray Tune with OptunaSearch as they come, and the same with
`reuse_actors=True`, neither of which leaves anything but Tune's own files. Workers import torch
and transformers everywhere. A rate counts from the first step of the first trial to the end of
the last one; a turn-around is the time from one trial's end to the first step of the next on the
same slot. Stock takes seconds a trial, so fewer are enough for its rate.

    python benchmarks/turnaround.py [--trials 200] [--stock 40]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402

from benchmarks.figures import Figure, figure, show  # noqa: E402

SPACE = """
question: What does launching a trial cost?
fixed: {{languages: [qaa, qad], eval_languages: [qaa, qad], sampling: hybrid, steps: 3}}
search: {{alpha: [{values}]}}
seeds: {seeds}
tiers: {{demo: {{}}, full: {{}}}}
"""
SLOTS = 2
SEEDS = 10
NOTES = "NOOP_NOTES"

LIMIT = 0.25
"""Limit of the 95th percentile of turn-around times, in seconds."""


@dataclass(frozen=True)
class Line:
    """Line of the notes."""

    trial: str
    what: str
    at: float
    process: int
    soiled: str = ""


def main() -> None:
    """Measure, print a table, then one JSON object a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--stock", type=int, default=40)
    parser.add_argument("--part", choices=("all", "ours", "failing"), default="all")
    asked = parser.parse_args()
    if asked.part != "all":
        folder = Path(os.environ["TURNAROUND_FOLDER"])
        print(json.dumps(run_ours(folder, asked.trials)))
        return
    busy = os.getloadavg()[0]
    found = [*throughput(asked.trials, asked.stock), *failing()]
    print(f"load before: {busy:.2f} on {os.cpu_count()} cores")
    show(found)


def throughput(trials: int, stock: int) -> list[Figure]:
    """Measure the rates of all three, and our turn-around times."""
    lines, told = ours(trials)
    reused = peer(trials, reuse=True)
    fresh = peer(stock, reuse=False)
    rate, slow, quick = per_minute(lines), per_minute(fresh), per_minute(reused)
    waits = turnarounds(lines)
    late = statistics.quantiles(waits, n=20)[-1]
    theirs = statistics.quantiles(turnarounds(reused), n=20)[-1]
    name = f"no-op trials, {SLOTS} slots"
    return [
        figure(f"{name}, against stock", rate, slow, rate / slow, unit="1/min", goal="ratio >= 20"),
        figure(
            f"{name}, against reuse_actors",
            rate,
            quick,
            rate / quick,
            unit="1/min",
            goal="ratio >= 0.5",
        ),
        figure(
            "turn-around, 95th percentile",
            late,
            theirs,
            theirs / late,
            unit="s",
            goal=f"ours <= {LIMIT}",
        ),
        figure("turn-around, median", statistics.median(waits), unit="s"),
        figure("from the last trial's end to a whole view in MLflow", told["view"], unit="s"),
        figure(
            "records missing (journal, folders, Optuna, MLflow)",
            told["missing"],
            unit="",
            goal="ours <= 0",
        ),
    ]


def failing() -> list[Figure]:
    """Measure forty trials, one of which raises an error and one of which is killed."""
    lines, told = ours(40, failing=True)
    processes = {line.process for line in lines}
    soiled = [line for line in lines if line.what == "began" and line.soiled]
    started = "processes for 40 trials on 2 slots, one failing, one killed"
    none = "ours <= 0"
    return [
        figure(started, len(processes), unit="", goal=f"ours <= {SLOTS + 2}"),
        figure("trials that met another's state", len(soiled), unit="", goal=none),
        figure("  other trials without a record", told["missing"], unit="", goal=none),
        figure("  longest turn-around, with a restart", max(turnarounds(lines)), unit="s"),
    ]


def ours(trials: int, failing: bool = False) -> tuple[list[Line], dict[str, float]]:
    """Run our trials; return their notes, and the checks of the driver's process afterwards."""
    with tempfile.TemporaryDirectory(prefix="turn-") as name:
        notes = Path(name) / "notes"
        environment = os.environ | {NOTES: str(notes), "TURNAROUND_FOLDER": name}
        command = [sys.executable, __file__, "--part", "failing" if failing else "ours"]
        done = subprocess.run(
            [*command, "--trials", str(trials)],
            cwd=ROOT,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return read(notes), json.loads(done.stdout.splitlines()[-1])


def peer(trials: int, reuse: bool) -> list[Line]:
    """Run Ray Tune's trials, and return their notes."""
    with tempfile.TemporaryDirectory(prefix="turn-") as name:
        notes = Path(name) / "notes"
        command = [sys.executable, "-m", "benchmarks.turnaround_peer", str(notes), str(trials)]
        subprocess.run([*command, str(int(reuse))], cwd=ROOT, check=True, capture_output=True)
        return read(notes)


def read(notes: Path) -> list[Line]:
    """Read the notes in order of time."""
    lines = [Line(**json.loads(text)) for text in notes.read_text("utf-8").splitlines()]
    return sorted(lines, key=lambda line: line.at)


def per_minute(lines: list[Line]) -> float:
    """Return trials per minute, from the first step to the last end."""
    ended = [line.at for line in lines if line.what == "ended"]
    return 60 * len(ended) / (max(ended) - lines[0].at)


def turnarounds(lines: list[Line]) -> list[float]:
    """Return the seconds from each trial's end to the next start in the same process.

    A process's first start, but for those of the first `SLOTS` processes, is paired with the
    earliest unpaired end of a process.
    """
    by_process: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        by_process[line.process].append(line)
    waits: list[float] = []
    ends: list[float] = []
    begins: list[float] = []
    for held in by_process.values():
        begins.append(held[0].at)
        for line, following in itertools.pairwise(held):
            if following.what == "began":
                waits.append(following.at - line.at)
        ends.append(held[-1].at)
    for begin in sorted(begins)[SLOTS:]:
        end = min(ends)
        ends.remove(end)
        waits.append(begin - end)
    return waits


def run_ours(folder: Path, trials: int) -> dict[str, float]:
    """Run the study in this process, then check every record."""
    from benchmarks.record import open_driver
    from study.launch.config import LaunchConfig
    from study.planning.build import make_plan
    from study.spaces.schema import load_space
    from trainables import faults
    from trainables.spec import Execution

    space = folder / "noop.yaml"
    values = ", ".join(str(n * SEEDS / trials) for n in range(trials // SEEDS))
    space.write_text(SPACE.format(values=values, seeds=SEEDS), encoding="utf-8")
    plan, places = make_plan(load_space(str(space)), str(space), "demo", {}, name="noop")
    root = folder / "root"
    root.mkdir()
    driver = open_driver(plan, root)
    driver.reconcile()
    # without the untrained cell, so that all trials are alike
    jobs = [job for job in driver.jobs() if job.spec.steps]
    lost: set[str] = set()
    if "failing" in sys.argv:
        broken, killed = jobs[8].digest, jobs[15].digest
        os.environ[faults.VARIABLE] = (
            f"error point=step digest={broken};kill point=step attempt=1 digest={killed}"
        )
        lost = {broken}
    work = "benchmarks.noop:work"
    orders = LaunchConfig(root, root, places, Execution(), SLOTS, work=work)
    driver.run(jobs, orders)
    ended = time.monotonic()
    for observer in driver.observers:
        observer.close(Console(quiet=True), dict)
    view = time.monotonic() - ended
    return {"view": view, "missing": missing({j.digest for j in jobs} - lost, driver, root)}


def missing(digests: set[str], driver: Any, root: Path) -> int:
    """List the records missing from journal, folders, Optuna and MLflow."""
    from study.state.committed import committed_results
    from study.state.study_folder import StudyFolder
    from tests.study.inline import mlflow_trials, optuna_rows

    shown = {digest for digest, (status, *_) in mlflow_trials(root).items() if status == "FINISHED"}
    held = (
        {digest for digest, state in optuna_rows(root, "noop") if state == "COMPLETE"},
        committed_results(root, digests).keys(),
        StudyFolder.of(root, "noop").record().complete,
        shown,
    )
    return sum(len(digests - known) for known in held)


if __name__ == "__main__":
    main()
