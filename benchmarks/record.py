"""What keeping a study costs: "nothing to do", planning, and handing out and recording a trial.

Trials are not trained here: their folders hold what a tiny trial leaves, made from one sample.
Prints a table, and ends with one JSON object a line.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.figures import Figure, figure, show  # noqa: E402
from study.driver.driver import Driver  # noqa: E402
from study.planning.build import make_plan  # noqa: E402
from study.spaces.schema import load_space  # noqa: E402
from study.state.databases import OPTUNA_FILE, sqlite_url  # noqa: E402
from study.state.plan import Plan  # noqa: E402
from study.state.record import Journal  # noqa: E402
from study.state.study_folder import StudyFolder  # noqa: E402
from study.tracking import Delivered  # noqa: E402
from study.tracking.view import MlflowView, OptunaView  # noqa: E402
from trainables.spec import Spec  # noqa: E402
from trainables.storage import atomic as storage  # noqa: E402
from trainables.storage.paths import AnyPath  # noqa: E402
from trainables.trial.trial_folder import TrialFolder  # noqa: E402

SPACE = """
question: How much does it cost to keep a study?
fixed: {{languages: [qaa, qad], eval_languages: [qaa, qad], sampling: hybrid, steps: 3}}
search: {{alpha: [{values}]}}
seeds: {seeds}
tiers: {{demo: {{}}, full: {{}}}}
"""
SEEDS = 10
HEAVY = {"ray", "torch", "mlflow", "transformers"}
RECORDED = 30
PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=2)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""Runs a command from a small process: its peak memory would otherwise start at its parent's."""


def main() -> None:
    """Measure, print, exit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[1_000, 10_000])
    sizes = parser.parse_args().trials
    show([found for size in sizes for found in measure(size, last=size == max(sizes))])


def measure(trials: int, last: bool) -> Iterator[Figure]:
    """Compute the figures of a plan with this number of trials."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = ", ".join(str(n * SEEDS / trials) for n in range(trials // SEEDS))
        space = folder / "large.yaml"
        space.write_text(SPACE.format(values=values, seeds=SEEDS), encoding="utf-8")
        began = time.monotonic()
        plan, _ = make_plan(load_space(str(space)), str(space), "demo", {}, name="large")
        driver = open_driver(plan, folder)
        driver.reconcile()
        planned = time.monotonic() - began
        if last:
            yield figure(f"planning {trials} trials", planned, unit="s", goal="ours <= 90")
            took = record(driver)
            name = "handing out and recording one trial"
            yield figure(name, took, unit="s", goal="ours <= 0.03")
        fill(plan, folder)
        open_driver(plan, folder).reconcile()
        words = ["study/run.py", "--space", str(space), "--root", str(folder), "--name", "large"]
        state = ["-m", "study", "status", "large", "--json", "--root", str(folder)]
        goals = {20_000: (30, 0.5, 16, 5), 10_000: (20, 0.4, 8, 3)}.get(trials, (10, 0.4, 3, 2))
        limits = [f"ours <= {limit}" for limit in goals]
        first, memory, said = timed(*words)
        assert "Nothing to do" in said, said
        yield figure(
            f"first of {trials} trials, answer and report", first, unit="s", goal=limits[0]
        )
        yield figure("memory of that", memory, unit="GB", goal=limits[1])
        yield figure("nothing to do", timed(*words)[0], unit="s", goal=limits[2])
        yield figure("status --json", timed(*state)[0], unit="s", goal=limits[3])
        assert not imported(*words) & HEAVY


def open_driver(plan: Plan, root: Path) -> Driver:
    """Write the study of a plan to disk, and open a driver for it."""
    folder = StudyFolder.of(root, plan.name)
    folder.path.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder.path, {})
    folder.save_plan(plan)
    if journal.record.frozen is None:
        journal.note("planned", durable=True, trials=len(plan.specs), frozen=plan.frozen)
    study = (plan, folder, root, root)
    views = [
        MlflowView(*study, sqlite_url(root / "mlflow.db")),
        OptunaView(*study, sqlite_url(root / OPTUNA_FILE)),
    ]
    return Driver(plan, root, journal, [*views], Console(quiet=True))


def record(driver: Driver) -> float:
    """Measure the driver's median seconds per trial, with its MLflow thread running."""
    seconds = []
    for job in driver.jobs()[:RECORDED]:
        began = time.monotonic()
        driver.started(job.digest)
        handed = time.monotonic() - began
        write_trial(driver.root, job.spec)
        began = time.monotonic()
        driver.finished(job.digest, "", "")
        seconds.append(handed + time.monotonic() - began)
    return statistics.median(seconds)


def fill(plan: Plan, root: Path) -> None:
    """Write folders and both views as if every trial had run."""
    folder = StudyFolder.of(root, plan.name)
    for name in ("mlflow.db", OPTUNA_FILE):
        (root / name).touch()
        delivered = Delivered(folder.local / "tracked.jsonl", sqlite_url(root / name))
        for digest in plan.specs:
            delivered.add(digest, "complete")
    for digest, spec in plan.specs.items():
        if not TrialFolder.of(root, digest).is_committed:
            write_trial(root, spec)


def write_trial(root: AnyPath, spec: Spec) -> None:
    """Commit a trial with made-up numbers: only its files matter."""
    folder = TrialFolder.of(root, spec.digest)
    folder.ensure_spec(spec)
    attempt = folder.claim(spec, {})
    metrics = {
        f"{m}/{s}/{pair}": 0.5
        for m in ("map", "recall_at_1", "ndcg_at_10")
        for s in ("mono", "cross", "multi")
        for pair in ("qaa", "qad", "qaa-qad")
    }
    metrics |= {"map/mono": 0.5, "map/cross": 0.5, "map/multi": 0.5, "rank_distance": 10.0}
    attempt.write_json(
        "result.json",
        {
            "digest": spec.digest,
            "metrics": metrics,
            "validation": {},
            "counts": {"test": {}},
            "zero_shot": {"verdict": "not checkable"},
            "training": {},
            "execution": {},
        },
    )
    attempt.write_json("history.json", {"points": [{"step": 3, "train/loss": 1.0}]})
    attempt.write_json("environment.json", {"seconds": 1.0, "python": "", "versions": {}})
    for role in ("test", "validation"):
        storage.write(attempt.path / f"ranks-{role}.npz", bytes(20_000))
    attempt.commit(sorted(p.name for p in attempt.path.iterdir()))


def timed(*words: str) -> tuple[float, float, str]:
    """Return a command's seconds and peak GB, Python's start included, and its output."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        began = time.monotonic()
        command = [sys.executable, "-c", PEAK, sys.executable, *words]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=output, check=False)
        took = time.monotonic() - began
        output.seek(0)
        said = output.read()
    assert done.returncode == 0, said
    return took, int(done.stdout) / 1e6, said


def imported(*words: str) -> set[str]:
    """Return the modules that a command imports."""
    command = [sys.executable, "-X", "importtime", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


if __name__ == "__main__":
    main()
