"""What the samplers of a search find, on functions with a known optimum; no training.

`python benchmarks/search.py` asks this project's own `suggest`, cell by cell, as a study does. Its
peers, in the same run: as many random draws, four times as many, and plain Optuna (one sampler as
it comes, asked and told in a loop) at equal trials. Quality is the distance from the best that
there is (of two objectives: of the hypervolume), without noise, of what the search takes for best;
figures are medians over seeds. A p is of a one-sided Mann-Whitney test that ours is worse.

The functions are in `surrogates.py`; those held out served to choose no setting of a sampler.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# so that `statistics` is the standard module, not this folder's
from scipy import stats  # noqa: E402

from benchmarks.figures import Figure, figure, show  # noqa: E402
from benchmarks.surrogates import DOUBLE, SINGLE, Surrogate, value  # noqa: E402
from study.search.history import EvaluatedCell, named  # noqa: E402
from study.search.importance import importance  # noqa: E402
from study.search.samplers import _asked, decoded, distribution, encoded  # noqa: E402
from study.search.suggest import suggest  # noqa: E402
from study.spaces.optimize import GENERATIONS, SearchPlan  # noqa: E402
from study.spaces.ranges import Point, active, strip  # noqa: E402

SEEDS = {"tpe": 60, "nsga2": 20}
"""Number of seeds per sampler; figures are medians. TPE has more, as its results vary most."""

TIMES = 4
TPE_AT = (30, 60, 100)
GENETIC_AT = 200
POPULATION = 20
LEVEL = 0.05
"""Level of p below which ours is worse beyond noise."""

SURROGATES = (*SINGLE, *DOUBLE)

Qualities = list[float]
"""Quality after each trial."""


def main() -> None:
    """Measure, print a table, then one JSON object a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, help="Instead of 60 of TPE and 20 of NSGA-II.")
    parser.add_argument("--samplers", nargs="+", choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--only", default="", help="Names of functions, with commas between.")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    quiet()
    wanted = [name for name in asked.only.split(",") if name]
    chosen = [s.name for s in SURROGATES if not wanted or s.name in wanted]
    found: list[Figure] = []
    with ProcessPoolExecutor(asked.jobs, initializer=quiet) as pool:
        seeds = SEEDS if asked.seeds is None else dict.fromkeys(SEEDS, asked.seeds)
        wanted_seeds = {name: seeds[name] for name in asked.samplers}
        for part in pool.map(measured, chosen, [wanted_seeds] * len(chosen)):
            found += part
            print(*map(json.dumps, part), sep="\n", file=sys.stderr, flush=True)
    show([*found, *duplicates(), *importances()])


def quiet() -> None:
    """Silence Optuna's experimental warnings and logs."""
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def measured(name: str, seeds: Mapping[str, int]) -> list[Figure]:
    """Measure all samplers on one function, seed by seed."""
    surrogate = next(one for one in SURROGATES if one.name == name)
    single = surrogate.reference is None
    found: list[Figure] = []
    if single and "tpe" in seeds:
        found += figures(surrogate, "tpe", seeds["tpe"])
    if "nsga2" in seeds:
        found += figures(surrogate, "nsga2", seeds["nsga2"])
        found += () if single else threshold(surrogate, seeds["nsga2"])
    return found


def figures(surrogate: Surrogate, sampler: str, seeds: int) -> Iterator[Figure]:
    """Compare ours with random draws and plain Optuna, at each number of trials."""
    at = TPE_AT if sampler == "tpe" else (GENETIC_AT,)
    began = time.process_time()
    ours = [searched(surrogate, sampler, seed, at[-1]) for seed in range(seeds)]
    took = time.process_time() - began
    plain = [peer(surrogate, sampler, seed, at[-1]) for seed in range(seeds)]
    chance = [drawn(surrogate, seed, TIMES * at[-1]) for seed in range(seeds)]
    kind = " (held out)" if surrogate.held_out else ""
    for trials in at:
        name = f"{sampler} on {surrogate.name}{kind}, {trials} trials"
        mine = [one[trials - 1] for one in ours]
        more = [one[TIMES * trials - 1] for one in chance]
        theirs = [one[trials - 1] for one in plain]
        yield compared(f"{name}, against {TIMES * trials} random", mine, more, "ratio >= 1")
        yield compared(f"{name}, against plain Optuna", mine, theirs, "none")
        worse = float(stats.mannwhitneyu(mine, theirs, alternative="greater").pvalue)
        label = f"{name}, p that plain Optuna is better"
        yield figure(label, worse, LEVEL, worse / LEVEL, unit="", goal="ratio >= 1")
    name = f"{sampler} on {surrogate.name}: one suggestion, mean of {at[-1]}"
    yield figure(name, took / (seeds * at[-1]), unit="s CPU")


def compared(name: str, mine: Sequence[float], theirs: Sequence[float], goal: str) -> Figure:
    """Compare medians of the distance from the optimum."""
    ours, peers = statistics.median(mine), statistics.median(theirs)
    ratio = peers / ours if ours > 0 else float("inf")
    return figure(name, ours, peers, min(ratio, 1e6), unit="from best", goal=goal)


def threshold(surrogate: Surrogate, seeds: int) -> Iterator[Figure]:
    """Measure whether a genetic search of under three generations beats random draws."""
    trials = GENERATIONS * POPULATION - 1
    mine = [searched(surrogate, "nsga2", seed, trials)[-1] for seed in range(seeds)]
    even = [searched(surrogate, "qmc", seed, trials)[-1] for seed in range(seeds)]
    name = f"nsga2 on {surrogate.name} below {GENERATIONS} generations ({trials}), against qmc"
    yield compared(name, mine, even, "none")


def duplicates() -> Iterator[Figure]:
    """Count the cells repeated in 500 trials over 512 combinations; goal: none."""
    ranges = {name: list(range(8)) for name in ("one", "two", "three")}
    search = SearchPlan.model_validate({"ranges": ranges, "objectives": ["m"], "sampler": "tpe"})
    history: list[EvaluatedCell] = []
    for number in range(500):
        asked = suggest(search, history, number)
        assert asked is not None
        loss = -sum((v - 3) ** 2 for v in asked.params.values())
        history.append(EvaluatedCell(asked.params, "complete", (float(loss),)))
    twice = len(history) - len({named(cell.params) for cell in history})
    name = "duplicates in 500 trials over 512 points of choices"
    yield figure(name, twice, unit="", goal="ours <= 0")


def importances() -> Iterator[Figure]:
    """Compare the largest error of importances with that of Optuna's default, variances known."""
    ranges = {
        "rate": {"low": 1e-5, "high": 1e-1, "log": True},
        "alpha": {"low": 0.0, "high": 1.0},
        "sampling": ["X-X", "X-Y", "hybrid"],
        "nothing": {"low": 0.0, "high": 1.0},
    }
    # variances of the three uniform settings below
    parts = np.array([0.75**2 * 16 / 12, 2**2 / 12, 0.5**2 * 2 / 3, 0.0])
    truth = dict(zip(ranges, parts / parts.sum(), strict=True))
    search = SearchPlan.model_validate({"ranges": ranges, "objectives": ["m"]})
    rng = np.random.default_rng(0)
    cells = []
    study = optuna.create_study()
    shown = {key: distribution(one) for key, one in search.ranges.items()}
    for _ in range(150):
        point: Point = {key: one.at(float(rng.random())) for key, one in search.ranges.items()}
        level = ("X-X", "X-Y", "hybrid").index(point["sampling"]) - 1
        loss = 0.75 * float(np.log10(point["rate"])) + 2 * point["alpha"] + 0.5 * level
        cells.append(EvaluatedCell(point, "complete", (loss,)))
        params = {key: encoded(search.ranges[key], point[key]) for key in point}
        study.add_trial(optuna.trial.create_trial(value=loss, params=params, distributions=shown))
    ours = dict(importance(search, cells).shares)
    theirs = optuna.importance.get_param_importances(study)
    mine, peers = (
        max(float(abs(found.get(k, 0) - truth[k])) for k in truth) for found in (ours, theirs)
    )
    name = "importance: largest error of a share, 150 cells, against Optuna's default"
    yield figure(name, mine, peers, peers / mine, unit="share", goal="ours <= 0.1")


def searched(surrogate: Surrogate, sampler: str, seed: int, trials: int) -> Qualities:
    """Return the quality after each trial of this project's search."""
    search = SearchPlan.model_validate(
        {
            "ranges": dict(surrogate.ranges),
            "objectives": [
                {"metric": f"loss {n}", "direction": "minimize"}
                for n in range(1 if surrogate.reference is None else 2)
            ],
            "sampler": sampler,
            "population": POPULATION,
            "seed": seed,
        }
    )
    rng = np.random.default_rng([seed, 1])
    history: list[EvaluatedCell] = []
    for number in range(trials):
        asked = suggest(search, history, number)
        assert asked is not None
        values = surrogate.seen(asked.params, rng)
        cell = EvaluatedCell(asked.params, "complete", values, generation=asked.generation)
        history.append(cell)
    return qualities(surrogate, [(cell.params, cell.values) for cell in history])


def peer(surrogate: Surrogate, sampler: str, seed: int, trials: int) -> Qualities:
    """Return the quality after each trial of plain Optuna, at defaults but for the population."""
    chosen: Any = optuna.samplers.TPESampler(seed=seed)
    if sampler == "nsga2":
        chosen = optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
    single = surrogate.reference is None
    directions = [optuna.study.StudyDirection.MINIMIZE] * (1 if single else 2)
    study = optuna.create_study(directions=directions, sampler=chosen)
    rng = np.random.default_rng([seed, 2])
    seen = []
    for _ in range(trials):
        trial = study.ask()
        point: Point = {}
        for key, searched in surrogate.ranges.items():
            if active(surrogate.ranges, point, key):
                point[key] = decoded(searched, _asked(trial, key, distribution(searched)))
        values = surrogate.seen(point, rng)
        study.tell(trial, values)
        seen.append((point, values))
    return qualities(surrogate, seen)


def drawn(surrogate: Surrogate, seed: int, trials: int) -> Qualities:
    """Return the quality after each trial of random draws."""
    rng = np.random.default_rng([seed, 3])
    seen = []
    for _ in range(trials):
        shares = rng.random(len(surrogate.ranges))
        pairs = zip(surrogate.ranges.items(), shares, strict=True)
        point = strip(surrogate.ranges, {k: r.at(float(share)) for (k, r), share in pairs})
        seen.append((point, surrogate.seen(point, rng)))
    return qualities(surrogate, seen)


def qualities(surrogate: Surrogate, seen: Sequence[tuple[Point, tuple[float, ...]]]) -> Qualities:
    """Return, after each trial, the true distance from the optimum of the trial seen as best."""
    if surrogate.reference is None:
        found, ahead, true = [], np.inf, np.inf
        for point, (loss, *_) in seen:
            if loss < ahead:
                ahead, true = loss, surrogate.losses(point)[0]
            found.append(float(true) - surrogate.best)
        return found
    losses = np.array([surrogate.losses(point) for point, _ in seen])
    marks = {n for n in (59, *(TIMES * GENETIC_AT,), GENETIC_AT, len(seen))}
    at, found = 0.0, []
    for count in range(1, len(seen) + 1):
        at = value(surrogate, losses[:count]) if count in marks else at
        found.append(at)
    return found


if __name__ == "__main__":
    main()
