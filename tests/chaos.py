"""`make chaos`: real studies on Ray, killed at every named point and at random moments.

Prints what was killed and what was left, and exits with 1 if anything differs from a study that
nobody disturbed. `--random N`, `--seed S` and `--parts ...` choose less of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from study.state.journal import Reading
from tests.study.inline import SPACE, assert_whole, mlflow_trials, results, write_space
from trainables import faults
from trainables.trial.checkpoint import SHORTEST_INTERVAL

ROOT = Path(__file__).resolve().parents[1]
LONG_STEPS = 6_000
"""Of a trial that takes longer than the interval between two checkpoints."""

LONG_KILLS = 4

LOADING_SECONDS = 15.0
"""From the claim of an attempt to its first step, and one save, on a busy machine."""


class Chaos:
    """One space, one undisturbed study to compare with, and what was done to others."""

    def __init__(self, folder: Path, seeds: int) -> None:
        """Run the undisturbed study."""
        self.folder, self.seeds = folder, seeds
        self.space = write_space(folder, SPACE.replace("[0, 0.5]", "[0, 0.5, 1]"))
        self.whole = folder / "whole"
        began = time.monotonic()
        assert self.run(self.whole) == 0
        self.seconds = time.monotonic() - began
        self.expected = results(self.whole)
        self.table = self.output(self.whole)
        print(f"undisturbed: {len(self.expected)} trials in {self.seconds:.0f} s")

    def words(self, root: Path, *more: str, name: str = "s") -> list[str]:
        return [
            sys.executable,
            "study/run.py",
            "--space",
            str(self.space),
            "--root",
            str(root),
            "--name",
            name,
            "--seeds",
            str(self.seeds),
            "--workers",
            "2",
            *more,
        ]

    def start(
        self, root: Path, *more: str, fault: str = "", name: str = "s"
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.words(root, *more, name=name),
            cwd=ROOT,
            text=True,
            env=os.environ | {faults.VARIABLE: fault},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, root: Path, *more: str, fault: str = "", name: str = "s") -> int:
        process = self.start(root, *more, fault=fault, name=name)
        said, _ = process.communicate()
        if process.returncode not in (0, 1, -9):
            print(said)
        return process.returncode

    def output(self, root: Path) -> str:
        """What a finished study says, but for its place; the same for the same study."""
        return self.start(root).communicate()[0].replace(str(root), "ROOT")

    def check(self, root: Path) -> None:
        assert self.run(root) == 0
        assert_whole(root, self.expected)
        assert self.output(root) == self.table, "the table is another one"

    def driver_points(self) -> str:
        """Kill the driver once at every point of its own; a study that ends makes room for one."""
        root, missed, studies = self.folder / "driver", [], 1
        # it is passed only where a trial was committed and the journal does not know
        late = "reconcile.completed"
        points = [point for point in faults.DRIVER_POINTS if point != late]
        points.insert(points.index("trial.ended") + 1, late)
        for point in points:
            for _ in range(2):
                code = self.run(root, fault=f"save point=step; kill point={point}")
                if code == -9:
                    break
                self.check(root)
                shutil.rmtree(root)
                studies += 1
            else:
                missed.append(point)
        self.check(root)
        assert not missed, f"never passed: {', '.join(missed)}"
        return f"{len(points)} driver points killed in {studies} studies, each whole at its end"

    def worker_points(self) -> str:
        """Kill a worker at every point of a trial; it is started again from its checkpoint."""
        root = self.folder / "worker"
        digests = sorted(self.expected)
        planted = [
            f"kill point={point} attempt=1 digest={digests[number % len(digests)]}"
            for number, point in enumerate(p for p in faults.WORKER_POINTS if p != "spec.written")
        ]
        assert self.run(root, fault=";".join(["save point=step", *planted])) == 0
        self.check(root)
        lost = sum(line["event"] == "lost" for line in Reading(root / "studies/s"))
        return f"{lost} workers killed, each trial complete once"

    def moments(self, count: int, seed: int) -> str:
        """Kill the driver at random moments, start-up included, as often as asked for."""
        root, draw, hit, studies = self.folder / "random", random.Random(seed), 0, 0
        steps: Counter[int] = Counter()
        while hit < count:
            process = self.start(root, fault="save point=step")
            try:
                process.wait(draw.uniform(0, self.seconds))
            except subprocess.TimeoutExpired:
                hit += 1
                process.send_signal(signal.SIGKILL)
            process.communicate()
            if process.returncode == 0 or hit == count:
                self.check(root)
                steps.update(resumed(root))
                shutil.rmtree(root)
                studies += 1
        went = ", ".join(f"{steps[step]} from step {step}" for step in sorted(steps))
        return f"{hit} random kills in {studies} studies, each whole at its end; trials: {went}"

    def lost(self, seed: int) -> str:
        """Kill trials longer than a checkpoint's interval: how much work is gone each time?"""
        root, draw, worst, reached = self.folder / "lost", random.Random(seed), 0.0, []
        words = ("--set", f"steps={LONG_STEPS}", "--seeds", "1")
        for _ in range(LONG_KILLS):
            process, began = self.start(root, *words), time.time()
            while not any(p.stat().st_mtime > began for p in claims(root)):
                time.sleep(0.1)
            try:
                process.wait(draw.uniform(5, 1.5 * SHORTEST_INTERVAL))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            now = time.time()
            process.communicate()
            for attempts in root.glob("trials/*/attempts"):
                live = max(attempts.iterdir())
                claimed = (live / "claim.json").stat().st_mtime
                if claimed > began and not (live / "history.json").exists():
                    saved = max(p.stat().st_mtime for p in saves(attempts, live))
                    worst = max(worst, now - saved)
                    reached += [int(p.stem[5:]) for p in attempts.glob("*/checkpoint/*.pt")]
        assert self.run(root, *words) == 0
        went = sorted(step for step in resumed(root) if step)
        assert reached, "no trial was killed"
        assert worst <= SHORTEST_INTERVAL + LOADING_SECONDS, f"{worst:.0f} s of work lost"
        return (
            f"{LONG_KILLS} kills: at most {worst:.0f} s lost since the last save or the claim "
            f"(interval {SHORTEST_INTERVAL:.0f} s, loading and save before the first of them "
            f"{LOADING_SECONDS:.0f} s); checkpoints left at steps {sorted(set(reached))} of "
            f"{LONG_STEPS}, gone on from {went}"
        )

    def together(self) -> str:
        """Two studies that share all cells, at once."""
        root = self.folder / "together"
        both = [self.start(root, name=name) for name in ("s", "t")]
        said = [process.communicate()[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], "\n".join(said)
        assert results(root) == self.expected
        for folder in root.glob("trials/*"):
            assert len(list(folder.glob("attempts/*"))) == 1
        return f"two studies, {len(self.expected)} shared trials, each committed once"

    def raylet(self) -> str:
        """Kill one of two raylets while trials run on both."""
        root = self.folder / "raylet"
        script = ROOT / "tests/two_raylets.py"
        words = [sys.executable, str(script), json.dumps({"words": self.words(root)[1:]})]
        done = subprocess.run(
            words,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {faults.VARIABLE: "save point=step"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.check(root)
        return done.stdout.splitlines()[-1]


def resumed(root: Path) -> list[int]:
    """The step from which each committed attempt went on."""
    files = root.glob("trials/*/*/*/environment.json")
    return [json.loads(path.read_bytes())["resumed_at"] for path in files]


def claims(root: Path) -> list[Path]:
    """The claims of all attempts."""
    return list(root.glob("trials/*/attempts/*/claim.json"))


def saves(attempts: Path, live: Path) -> list[Path]:
    """Files that tell since when work could be lost: the claim, or a later checkpoint."""
    return [live / "claim.json", *attempts.glob("*/checkpoint/manifest.json")]


def main() -> int:
    """Run the parts, print their figures."""
    parts = ["driver", "worker", "random", "lost", "together", "raylet"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--random", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=4)
    chosen = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        chaos = Chaos(Path(name), chosen.seeds)
        jobs: dict[str, Callable[[], str]] = {
            "driver": chaos.driver_points,
            "worker": chaos.worker_points,
            "random": lambda: chaos.moments(chosen.random, chosen.seed),
            "lost": lambda: chaos.lost(chosen.seed),
            "together": chaos.together,
            "raylet": chaos.raylet,
        }
        for part in chosen.parts:
            began = time.monotonic()
            try:
                said = jobs[part]()
            except AssertionError as error:
                failed, said = failed + 1, f"FAILED: {error}"
            print(f"{part}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
        whole = mlflow_trials(chaos.whole)
        print(f"compared with {len(whole)} trials; {failed} parts failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
