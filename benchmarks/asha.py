"""Stopping early on a whole grid that was really trained: what ASHA costs, and what it misses.

The grid is a part of the demo's joint space (batch size, mixing ratio, learning rate; one small
encoder, two languages of the embedded world, equal examples). First the whole grid is trained on
several seeds without pruning, and its values at rungs are kept: means over seeds are the truth, and
their pooled standard deviation is the noise. Then ASHA runs for each seed with Ray and two workers,
in other folders and another order of the arms; all seeds share one launch, each with its own
scheduler. Random search at equal cost needs no run: its regret is an expectation over the grid's
measured values. All rules are also replayed on the measured rungs with one worker, in many orders
of the arms; such figures are labelled as replayed.

    python benchmarks/asha.py --root FOLDER

The same command resumes: committed trials are not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.figures import Figure, figure, show
from study.launch import launch as launcher
from study.launch.config import PRUNED, Job, LaunchConfig, Progress
from study.planning.build import make_plan
from study.search.pruning import Judge, Pruning
from study.search.stopping_rules import stopping_rule
from study.spaces.fidelity import Fidelity, Kind
from study.spaces.schema import Space
from study.state.committed import committed_results
from study.state.plan import Plan
from study.state.rungs import Rung
from trainables.spec import Execution
from trainables.trial.trial_folder import TrialFolder, read_json

GRID = """
question: Which training is best, and how early does it show?
primary: map/multi
fixed:
  sampling: hybrid
  control: equal_examples
  languages: [qaa, qad]
  eval_languages: [qaa, qad]
  reference_batch_size: 32
search:
  batch_size: [32, 64]
  alpha: [0, 0.5, 1]
  learning_rate: [0.001, 0.0025, 0.006, 0.015]
tiers:
  demo: {fixed: {benchmark: synthetic, encoder: embedded/small, steps: 54}}
  full: {}
"""
METRIC = "map/multi"
FIRST, FACTOR = 192, 3
"""First rung and reduction factor: rungs at 1/9 and 1/3 of each trial's 1,728 examples."""

SHARE = 0.35
"""Budget of a search, as a share of the grid's examples."""

ORDERS = 200
"""Number of orders of the arms per seed in which a rule is replayed."""


@dataclass
class Heard:
    """Observer that keeps the pruning decisions of a launch.

    Attributes:
        kept: File of the decisions.
        rungs: Decisions in order.
    """

    kept: Path
    rungs: list[Rung]

    def started(self, digest: str) -> None:
        """Ignore the event."""

    def running(self, digest: str) -> None:
        """Ignore the event."""

    def progressed(self, progress: Progress) -> None:
        """Ignore the event."""

    def reached(self, rung: Rung) -> None:
        """Append a decision to the file."""
        self.rungs.append(rung)
        with self.kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rung.to_json()) + "\n")

    def lost(self, digest: str, reason: str, detail: str, launch: str) -> None:
        """Ignore the event."""

    def finished(self, digest: str, reason: str, detail: str) -> None:
        """Print how a trial failed; no trial should."""
        if reason not in ("", PRUNED):
            print(f"{digest}: {reason}: {detail}", flush=True)


@dataclass(frozen=True)
class Grid:
    """Measurements of the whole grid.

    Attributes:
        plan: Plan of its cells and seeds.
        values: (cells, seeds) final metric on the validation benchmark.
        rungs: Metric at a rung, by digest and number of examples.
    """

    plan: Plan
    values: np.ndarray
    rungs: Mapping[tuple[str, int], Rung]

    @property
    def truth(self) -> np.ndarray:
        """(cells,) means over seeds."""
        return np.asarray(self.values.mean(1))

    @property
    def noise(self) -> float:
        """Standard deviation between seeds, pooled over cells."""
        return float(np.sqrt(self.values.var(1, ddof=1).mean()))

    def regret(self, cell: int) -> float:
        """Return the difference between the best cell's mean and that of another cell."""
        return float(self.truth.max() - self.truth[cell])

    def random(self, seed: int, count: int) -> float:
        """Return the expected regret of the best of `count` randomly drawn cells, at one seed."""
        cells = len(self.truth)
        ranked = np.argsort(-self.values[:, seed], kind="stable")
        chances = [math.comb(cells - 1 - place, count - 1) for place in range(cells)]
        total = math.comb(cells, count)
        regrets = [self.regret(int(cell)) for cell in ranked]
        return sum(r * chance for r, chance in zip(regrets, chances, strict=True)) / total


def grid_plan(seeds: int) -> Plan:
    """Plan the grid's cells and seeds, without the untrained encoder."""
    space = Space.model_validate(yaml.safe_load(GRID))
    plan, _ = make_plan(space, "grid", "demo", {}, seeds=seeds)
    return plan.model_copy(update={"cells": tuple(cell for cell in plan.cells if cell.is_arm)})


def examples(plan: Plan, digest: str) -> int:
    """Return the number of examples of a complete trial."""
    spec = plan.specs[digest]
    return spec.steps * (spec.batch_size or 0)


class EachSeed:
    """Scheduler with one rule per seed, so that one launch runs several searches."""

    def __init__(self, plan: Plan, pruning: Pruning, root: Path) -> None:
        """Create the rule of each seed."""
        self.specs = plan.specs
        seeds = {spec.seed for spec in plan.specs.values()}
        self.rules = {seed: stopping_rule(pruning, root) for seed in seeds}

    def reached(self, rung: Rung, score: float) -> str:
        """Ask the rule of the trial's seed."""
        return self.rules[self.specs[rung.trial].seed].reached(rung, score)


def run(
    plan: Plan, digests: Sequence[str], root: Path, kind: Kind, workers: int
) -> tuple[list[Rung], dict[str, float]]:
    """Launch trials with the rule `kind`; return decisions and the values of complete trials."""
    state, kept = root / "state", root / "rungs.jsonl"
    state.mkdir(parents=True, exist_ok=True)
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    read = [Rung.read(json.loads(line)) for line in lines]
    heard = Heard(kept, [rung for rung in read if rung is not None])
    fidelity = Fidelity(kind=kind, first=FIRST, factor=FACTOR)
    pruning = Pruning(fidelity, METRIC, recorded=tuple(heard.rungs))
    orders = LaunchConfig(root, state, {}, Execution(), workers, pruning=pruning)
    over = committed_results(root, digests).keys() | {
        rung.trial for rung in heard.rungs if rung.stop
    }
    if jobs := [Job(digest, plan.specs[digest]) for digest in digests if digest not in over]:
        launcher.judge_of = lambda *_: Judge(EachSeed(plan, pruning, root), pruning, heard.reached)
        launcher.launch(jobs, heard, orders)
    results = committed_results(root, digests)
    values = {digest: result["validation"][METRIC] for digest, result in results.items()}
    return heard.rungs, values


def measure_grid(plan: Plan, root: Path, workers: int) -> Grid:
    """Train the whole grid, seed by seed."""
    by_seed = list(zip(*(cell.trials for cell in plan.cells), strict=True))
    digests = [trial.digest for trials in by_seed for trial in trials]
    _, values = run(plan, digests, root, "look", workers)
    table = [[values[trial.digest] for trial in cell.trials] for cell in plan.cells]
    return Grid(plan, np.array(table), recorded(plan, root, digests))


def recorded(plan: Plan, root: Path, digests: Sequence[str]) -> dict[tuple[str, int], Rung]:
    """Read the metric at each rung from the committed trials."""
    found = {}
    for digest in digests:
        folder = TrialFolder.of(root, digest).committed()
        for path in folder.glob("rung-*.json"):
            said = read_json(path)
            value = said["metrics"][METRIC]
            found[digest, said["examples"]] = Rung(digest, said["examples"], said["step"], value)
    return found


@dataclass(frozen=True)
class Outcome:
    """Cost (share of the grid's examples) and regret of a search."""

    cost: float
    regret: float


def asha(grid: Grid, root: Path, workers: int) -> tuple[list[Outcome], int]:
    """Run ASHA on each seed of the grid with Ray; count the values that differ from the grid's.

    A search ends when the next arm would exceed its budget: arms not begun by then do not count.
    """
    plan, seeds = grid.plan, grid.values.shape[1]
    searches: list[dict[str, int]] = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(plan.cells))
        searches.append({plan.cells[cell].trials[seed].digest: int(cell) for cell in order})
    digests = [digest for cells in searches for digest in cells]
    rungs, values = run(plan, digests, root, "asha", workers)
    stopped = {rung.trial: rung for rung in rungs if rung.stop}
    outcomes, different = [], 0
    for seed, cells in enumerate(searches):
        taken = {digest: examples(plan, digest) for digest in cells}
        whole = sum(taken.values())
        for digest in cells.keys() & stopped.keys():
            taken[digest] = stopped[digest].step * (plan.specs[digest].batch_size or 0)
        different += sum(
            bool(values[d] != grid.values[cells[d], seed]) for d in cells if d in values
        )
        costs = np.cumsum([taken[digest] for digest in cells]) / whole
        within = [d for d, cost in zip(cells, costs, strict=True) if cost <= SHARE]
        best = max((d for d in within if d in values), key=lambda digest: values[digest])
        outcomes.append(Outcome(float(costs[len(within) - 1]), grid.regret(cells[best])))
    return outcomes, different


def replay(grid: Grid, kind: Kind, root: Path, seed: int, order: np.ndarray) -> Outcome:
    """Replay a rule with one worker on the measured rungs."""
    plan = grid.plan
    pruning = Pruning(Fidelity(kind=kind, first=FIRST, factor=FACTOR), METRIC)
    judge = Judge(stopping_rule(pruning, root), pruning, lambda rung: None)
    cost = whole = 0
    complete: dict[int, float] = {}
    for cell in map(int, order):
        digest = plan.cells[cell].trials[seed].digest
        taken = examples(plan, digest)
        whole += taken
        for rung in pruning.fidelity.rungs_of(plan.specs[digest]):
            at = grid.rungs[digest, rung]
            decided = judge.decide(digest, rung, at.step, at.value)
            if decided is not None and decided.stop:
                taken = at.step * (plan.specs[digest].batch_size or 0)
                break
        else:
            complete[cell] = float(grid.values[cell, seed])
        cost += taken
    best = max(complete, key=lambda cell: complete[cell])
    return Outcome(cost / whole, grid.regret(best))


def replays(grid: Grid, kind: Kind, root: Path, times: int) -> Outcome:
    """Average replays over seeds and orders of the arms."""
    rng = np.random.default_rng(7)
    found = [
        replay(grid, kind, root, seed, rng.permutation(len(grid.truth)))
        for seed in range(grid.values.shape[1])
        for _ in range(times)
    ]
    return Outcome(*np.mean([(each.cost, each.regret) for each in found], axis=0).tolist())


def figures(root: Path, seeds: int, workers: int) -> list[Figure]:
    """Compute all figures."""
    plan = grid_plan(seeds)
    grid = measure_grid(plan, root / "grid", workers)
    runs, different = asha(grid, root / "asha", workers)
    # rounded up: random search gets the whole budget, whatever ASHA used
    random = [grid.random(seed, math.ceil(SHARE * len(grid.truth))) for seed in range(seeds)]
    mean = float(np.mean([each.regret for each in runs]))
    chance = float(np.mean(random))
    highest = max(each.cost for each in runs)
    found = [
        figure("grid: cells", len(grid.truth), unit="cells"),
        figure("grid: standard deviation of a seed", grid.noise, unit="mAP"),
        figure("grid: best mean less median mean", float(np.ptp(_half(grid))), unit="mAP"),
        figure(
            "ASHA: share of examples, highest (arms past the budget left out)",
            highest,
            unit="",
            goal=f"ours <= {SHARE}",
        ),
        figure("ASHA: mean regret", mean, unit="mAP", goal=f"ours <= {grid.noise:.6g}"),
        figure(
            "ASHA: mean regret against random search at equal cost",
            mean,
            chance,
            _times(chance, mean),
            unit="mAP",
            goal="ratio >= 1",
        ),
        figure(
            "ASHA: complete trials that differ from the grid's",
            different,
            unit="trials",
            goal="ours <= 0",
        ),
    ]
    for kind in KINDS:
        times = ORDERS if kind != "bootstrap" else 1
        outcome = replays(grid, kind, root / "grid", times)
        count = max(1, math.ceil(outcome.cost * len(grid.truth)))
        chance = float(np.mean([grid.random(seed, count) for seed in range(seeds)]))
        found += [
            figure(f"{kind}, replayed: share of examples", outcome.cost, unit=""),
            figure(
                f"{kind}, replayed: mean regret, random at equal cost",
                outcome.regret,
                chance,
                _times(chance, outcome.regret),
                unit="mAP",
            ),
        ]
    return found


KINDS: tuple[Kind, ...] = ("asha", "hyperband", "median", "bootstrap")


def _times(chance: float, regret: float) -> float:
    """Return the ratio of a regret to ours; 1e9 if ours is 0."""
    return chance / regret if regret > 0 else 1e9


def _half(grid: Grid) -> np.ndarray:
    return np.array([grid.truth.max(), np.median(grid.truth)])


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, help="keeps what was trained")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    if chosen.root is not None:
        show(figures(chosen.root.resolve(), chosen.seeds, chosen.workers))
        return
    with tempfile.TemporaryDirectory(prefix="asha-") as folder:
        show(figures(Path(folder), chosen.seeds, chosen.workers))


if __name__ == "__main__":
    main()
