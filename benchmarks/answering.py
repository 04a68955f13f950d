"""Time and memory of an answer: 15 trials of XQuAD-R's shape, 10,000 bootstrap resamples each.

The ranks are random, in files as trials write them. Questions are the clusters: the largest number
that XQuAD-R can have (it has 48 articles).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, figure
from study.analysis.answer import answer
from study.analysis.inference import RESAMPLES
from study.analysis.scores import scores
from study.spaces.schema import load_space
from study.state.plan import Cell, Plan, PlannedTrial
from trainables.evaluation.ranks import Ranks, load_ranks, save_ranks

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = tuple(sorted(["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"]))
QUESTIONS = 1190
CORPUS = 1183
"""Candidates per language; the pool of all languages has 13,013."""

SEEDS = 3
ALPHAS = (0, 0.25, 0.5, 0.75, 1)


def figures() -> list[Figure]:
    """Measure an answer in a fresh process, whose peak memory is that of the answer alone."""
    with tempfile.TemporaryDirectory() as folder:
        for trial in range(SEEDS * len(ALPHAS)):
            save_ranks(random_ranks(trial), Path(folder) / f"{trial}.npz")
        command = [sys.executable, "-m", "benchmarks.answering", folder]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    measured = json.loads(done.stdout)
    what = f"answer: 15 trials, 11 x {QUESTIONS} questions, {RESAMPLES} resamples"
    return [
        figure(what, measured["answer"], unit="s", goal="ours <= 20"),
        figure("  of which reading ranks and scores", measured["read"], unit="s"),
        figure("  memory at its peak", measured["memory"], unit="GB", goal="ours <= 1"),
    ]


def random_ranks(seed: int) -> Ranks:
    """Draw ranks of a parallel benchmark: one relevant candidate in each language."""
    rng = np.random.default_rng(seed)
    count, languages = QUESTIONS * len(LANGUAGES), len(LANGUAGES)
    pairs = count * languages
    own = np.minimum(rng.geometric(0.3, pairs), CORPUS).astype(np.int32)
    pool = (own * languages - rng.integers(0, languages, pairs)).astype(np.int32)
    none = np.zeros(pairs, np.int32)
    questions = np.array([f"q{i}" for i in range(QUESTIONS)])
    language = np.arange(languages, dtype=np.int32)
    top = np.tile(np.arange(10, dtype=np.int32), (count, 1))
    share = np.ones((count, 2, languages), np.int32)
    return Ranks(
        name="random",
        judged_in_all_languages=True,
        query_languages=LANGUAGES,
        corpus_languages=LANGUAGES,
        corpus_sizes=np.full(languages, CORPUS, np.int32),
        query_ids=np.array([f"{la}:{q}" for la in LANGUAGES for q in questions]),
        questions=np.tile(questions, languages),
        clusters=np.tile(questions, languages),
        query_language=np.repeat(language, QUESTIONS),
        starts=np.arange(0, pairs + 1, languages, dtype=np.int32),
        candidate_ids=np.array([f"{la}_{i}" for la in LANGUAGES for i in range(CORPUS)]),
        candidate=rng.integers(0, languages * CORPUS, pairs).astype(np.int32),
        language=np.tile(language, count),
        gain=np.ones(pairs),
        own_rank=own,
        own_ties=none,
        own_before=none,
        pool_rank=pool,
        pool_ties=none,
        pool_before=none,
        top=top,
        above=share,
        tied=share,
        no_relevant=np.zeros(languages, np.int32),
    )


def planned() -> Plan:
    """Plan the hypotheses of `mixing_ratio` over random trials, whose digests are numbers."""
    space = load_space("mixing_ratio").for_tier("full")
    cells = tuple(
        Cell(
            params={"alpha": alpha},
            trials=tuple(PlannedTrial(digest=str(SEEDS * i + s), seed=s) for s in range(SEEDS)),
        )
        for i, alpha in enumerate(ALPHAS)
    )
    return Plan(
        name="random",
        space="mixing_ratio",
        tier="full",
        question=space.question,
        primary=space.primary,
        settings={},
        cells=cells,
        specs={},
        hypotheses=tuple(h.declared(space.factors) for h in space.hypotheses),
    )


def main(folder: Path) -> None:
    """Answer from the files in `folder`, and print seconds and memory as JSON."""
    plan = planned()
    metrics = dict.fromkeys(h["metric"] for h in plan.hypotheses)
    start = time.perf_counter()
    found = {}
    for path in sorted(folder.glob("*.npz")):
        ranks = load_ranks(path)
        found[path.stem] = {metric: scores(ranks, metric) for metric in metrics}
    middle = time.perf_counter()
    answer(plan, found)
    end = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"read": middle - start, "answer": end - start, "memory": memory}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
