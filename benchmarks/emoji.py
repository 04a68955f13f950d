"""Hybrid against freely mixed batches on emoji and their names, a tiny CLIP from scratch.

`python benchmarks/emoji.py --data-dir ../shared/data/emoji-cldr` trains on the families of the
training part and searches the images of the test part, whose families are all unseen. It prints
each arm's text-to-image recall@10 in every language, with 95 % intervals over families (and over
seeds, if there are several), and shuffled captions as a baseline. Finding images that share no name
with the training part is hard for a model of this size: the figure shows that it works at all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402

from study.analysis.inference import bootstrap, percentile_interval  # noqa: E402
from study.analysis.scores import Scores, scores  # noqa: E402
from study.planning.build import make_plan  # noqa: E402
from study.spaces.schema import Space  # noqa: E402
from tests.emoji_clip import make_emoji_clip  # noqa: E402
from trainables.data.catalog import load_training  # noqa: E402
from trainables.evaluation.ranks import load_ranks, ranks_file  # noqa: E402
from trainables.finetune import finetune  # noqa: E402
from trainables.storage.cache import Cache  # noqa: E402
from trainables.trial.trial_folder import TrialFolder  # noqa: E402

METRIC = "recall_at_10/t2i"
DEPTH = 10
STEPS = 900
GOAL = 3.0
"""Multiple of chance that the lower bound of every language must exceed."""

SETTINGS: dict[str, Any] = {
    "benchmark": "emoji",
    "train": "own",
    "validation": None,
    "symmetric": True,
    "image_tower": "live",
    "batch_size": 128,
    "reference_batch_size": 128,
    "steps": STEPS,
    "learning_rate": 1e-3,
    "temperature": 0.07,
    "weight_decay": 0.1,
}
ARMS: dict[str, dict[str, Any]] = {
    "hybrid": {"sampling": "hybrid"},
    "mixed": {"sampling": "X-Y"},
    "shuffled": {"sampling": "X-Y", "shuffle_pairs": True},
}
Interval = tuple[float, float, float]
"""Mean, lower and upper bound."""


def main() -> None:
    """Train every arm, print a table, then one JSON object a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = {
            arm: trained(arguments.data_dir, Path(name), arm, arguments.seeds, arguments.steps)
            for arm in ARMS
        }
    gallery = len(found["mixed"][0].clusters), int(found["mixed"][0].counts[:, 0].sum())
    chance = DEPTH / gallery[1]
    print(f"{gallery[1]} pictures of {gallery[0]} families; chance {chance:.4f}")
    for arm, each in found.items():
        for language, (mean, low, high) in by_language(each).items():
            print(f"{arm:9} {language:4} {mean:.3f} [{low:.3f}, {high:.3f}]")
    mean, low, high = interval(found["hybrid"], found["mixed"])
    print(f"hybrid minus mixed, all languages: {mean:+.4f} [{low:+.4f}, {high:+.4f}]")
    for arm, each in found.items():
        bounds = by_language(each).values()
        lowest = min(low for _, low, _ in bounds)
        figure = {
            "figure": f"emoji, {arm}: lowest lower bound of recall@10 over languages",
            "ours": round(lowest, 4),
            "peer": round(chance, 4),
            "ratio": round(lowest / chance, 2),
            "unit": "share",
            "goal": GOAL if arm != "shuffled" else None,
            "holds": lowest > GOAL * chance if arm != "shuffled" else lowest <= chance,
        }
        print(json.dumps(figure))


def trained(folder: Path, work: Path, arm: str, seeds: int, steps: int) -> list[Scores]:
    """Train the arm's trials, one per seed, and return their scores on the test part."""
    rows = load_training("emoji", folder)
    names = [text for column in rows.queries.values() for text in column if text]
    encoder = work / "tiny-clip"
    if not encoder.exists():
        make_emoji_clip(encoder, sorted(set(names)))
    settings = SETTINGS | ARMS[arm] | {"encoder": str(encoder), "steps": steps}
    space = Space.model_validate(
        {"question": "?", "primary": "map/t2i", "tiers": {"demo": {}, "full": {}}}
    )
    plan, places = make_plan(space, "emoji", "demo", settings, data_dir=folder, seeds=seeds)
    cell = next(cell for cell in plan.cells if cell.is_arm)
    found = []
    for trial in cell.trials:
        place = TrialFolder.of(work / "trials", trial.digest)
        cache = Cache(work / "cache")
        for _ in finetune(plan.specs[trial.digest], place, places=places, cache=cache):
            pass
        ranks = load_ranks(Path(str(place.committed() / ranks_file("test"))))
        found.append(scores(ranks, METRIC))
    return found


def by_language(trials: list[Scores]) -> dict[str, Interval]:
    """Compute mean and 95 % interval in each language."""
    found = {}
    for column, setting in enumerate(trials[0].settings):
        one = [
            Scores(s.metric, (setting,), s.clusters, s.sums[:, [column]], s.counts[:, [column]])
            for s in trials
        ]
        found[setting.rpartition("/")[2]] = interval(one)
    return found


def interval(trials: list[Scores], than: list[Scores] | None = None) -> Interval:
    """Compute the mean (or its difference to `than`), with a 95 % interval over families."""
    sums = np.stack([s.sums for s in trials])
    sums = sums if than is None else sums - np.stack([s.sums for s in than])
    counts = trials[0].counts
    low, high = percentile_interval(bootstrap(sums, counts))
    return float((sums.sum(1) / counts.sum(0)).mean()), low, high


if __name__ == "__main__":
    main()
