"""What keeping a study costs: "nothing to do", planning, and handing out and recording a trial.

Trials are not trained here: their folders hold what a tiny trial leaves, made from one sample.
Prints a table, and ends with one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
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
from study.driver import Driver  # noqa: E402
from study.ledger import Ledger  # noqa: E402
from study.plan import Plan  # noqa: E402
from study.planning import make_plan  # noqa: E402
from study.spaces.schema import load_space  # noqa: E402
from study.study_folder import StudyFolder  # noqa: E402
from study.view import View  # noqa: E402
from trainables import storage  # noqa: E402
from trainables.places import Place  # noqa: E402
from trainables.spec import Spec  # noqa: E402
from trainables.trial_folder import TrialFolder  # noqa: E402

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


def main() -> None:
    """Measure, print, exit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[1_000, 10_000])
    sizes = parser.parse_args().trials
    show([found for size in sizes for found in measure(size, last=size == max(sizes))])


def measure(trials: int, last: bool) -> Iterator[Figure]:
    """The figures for a plan of this many trials."""
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
        goal, took = f"ours <= {8 if trials > 1_000 else 3}", nothing(space, folder)
        yield figure(f"nothing to do among {trials} trials", took, unit="s", goal=goal)


def open_driver(plan: Plan, root: Path) -> Driver:
    """A driver of the plan, its study written to disk."""
    folder = StudyFolder.of(root, plan.name)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.save_plan(plan)
    folder.note("planned", trials=len(plan.specs), frozen=plan.frozen)
    ledger = Ledger(f"sqlite:///{root}/ledger.db", plan.name)
    return Driver(plan, root, ledger, folder, View(plan, root, None), Console(quiet=True))


def record(driver: Driver) -> float:
    """Median seconds of the driver's own work for one trial, its MLflow thread running."""
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
    """Leave folders as if every trial had been run and told to MLflow."""
    folder = StudyFolder.of(root, plan.name)
    view = View(plan, root, None)
    (root / "mlflow.db").touch()
    lines = []
    for digest, spec in plan.specs.items():
        if not TrialFolder.of(root, digest).is_committed:
            write_trial(root, spec)
        lines.append(json.dumps({"at": view.place, "trial": digest, "state": "complete"}))
    (folder.path / "tracked.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_trial(root: Place, spec: Spec) -> None:
    """Commit a trial with numbers that nobody measured: only their place on disk matters."""
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


def nothing(space: Path, root: Path) -> float:
    """Seconds until the finished study says so, from a cold start of Python."""
    words = ["study/run.py", "--space", str(space), "--root", str(root), "--name", "large"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Nothing to do" in done.stdout, done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & HEAVY, imported & HEAVY
    began = time.monotonic()
    subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
