"""Studies of two or more arms whose trials are committed folders, made from tables of scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.report.report import write_report
from study.state.committed import committed_results
from study.state.plan import Cell, Plan, PlannedTrial
from study.state.study_folder import StudyFolder
from tests.samples import DATA, values
from tests.study.analysis.planned import hypothesis
from tests.trainables.evaluation.toys import benchmark, parallel, vectors_for
from trainables.data.benchmark import Benchmark
from trainables.evaluation.evaluate import evaluate_embeddings
from trainables.evaluation.ranks import ranks_file, save_ranks
from trainables.spec import Execution, Spec, build_spec
from trainables.trial.trial_folder import TrialFolder

Scores = NDArray[np.float32] | None
"""All queries against the whole pool; None for a trial that failed."""

FILES = ("report.html", "report.md", "report.json", "report.csv")

PARALLEL = np.array([[4, 1, 3, 2], [4, 3, 2, 1], [2, 1, 3, 4], [1, 2, 3, 4]], dtype=np.float32)
"""Ranks in the pool of (own, other language's): 1 2 / 2 4 for de, 2 3 / 1 3 for en."""

PARTLY = np.array([[4, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1], [1, 3, 2, 4]], dtype=np.float32)
"""The same of three German questions, of which the first is English too: 1 4, 2, 3; 1 4."""


@dataclass(frozen=True)
class Study:
    """A planned study with what its trials left."""

    root: Path
    plan: Plan
    folder: StudyFolder

    def write(self) -> dict[str, str]:
        """The four files of the report."""
        results = committed_results(self.root, self.plan.specs)
        place = write_report(self.plan, self.folder.record(), self.root, results)
        return {name: (self.root / str(place) / name).read_text("utf-8") for name in FILES}

    def note(self, event: str, **facts: Any) -> None:
        """Add a line to the study's journal."""
        with self.folder.lease() as journal:
            journal.note(event, **facts)

    def table(self, name: str) -> list[list[Any]]:
        """Rows of a table of the report."""
        return list(json.loads(self.write()["report.json"])["tables"][name]["rows"])


def questions_in_two_languages() -> Benchmark:
    return parallel(["de", "en"], 2, 2)


def partly_parallel() -> Benchmark:
    qrels = {
        "de:q0": {"de_0": 1.0, "en_0": 1.0},
        "de:q1": {"de_1": 1.0},
        "de:q2": {"de_2": 1.0},
        "en:q0": {"de_0": 1.0, "en_0": 1.0},
    }
    return benchmark({"de": 3, "en": 1}, {"de": 3, "en": 1}, qrels)


def noisy(toy: Benchmark, seed: int, shift: float) -> NDArray[np.float32]:
    """Scores of which the relevant ones are better by `shift` standard deviations."""
    queries = [query for items in toy.queries.values() for query in items]
    candidates = [item.id for items in toy.corpus.values() for item in items]
    table = np.random.default_rng(seed).standard_normal((len(queries), len(candidates)))
    for row, query in enumerate(queries):
        for name in toy.qrels[query.id]:
            table[row, candidates.index(name)] += shift
    return table.astype(np.float32)


def study(
    root: Path,
    toy: Benchmark,
    arms: Mapping[Any, Sequence[Scores]],
    hypotheses: Sequence[Mapping[str, Any]] | None = None,
    factor: str = "alpha",
    **changes: Any,
) -> Study:
    """Plan and commit one cell for each level of the factor, one trial for each table of scores.

    Args:
        root: An empty folder.
        toy: What is evaluated.
        arms: Level to scores, by seed.
        hypotheses: By default that level 1 beats level 0.
        factor: A field of the spec.
        changes: Of the plan, such as its name.
    """
    specs: dict[str, Spec] = {}
    cells, failed = [], []
    test = DATA | {"name": changes.pop("test", "toy"), "part": "test"}
    for level, tables in arms.items():
        trials = []
        for seed, scores in enumerate(tables):
            spec = build_spec(values(seed=seed, test=test) | {factor: level})
            specs[spec.digest] = spec
            trials.append(PlannedTrial(digest=spec.digest, seed=seed))
            if scores is None:
                failed.append(spec.digest)
            else:
                commit(root, spec, toy, scores)
        cells.append(Cell(params={factor: level}, trials=tuple(trials)))
    usual = {"name": "by-hand", "space": "by-hand", "question": "Does it <work>?"}
    plan = Plan(
        **(usual | changes),
        tier="demo",
        primary="map/multi",
        settings={"benchmark": "toy", "steps": 10, "languages": None},
        cells=tuple(cells),
        specs=specs,
        hypotheses=tuple(dict(h) for h in ([hypothesis()] if hypotheses is None else hypotheses)),
    )
    folder = StudyFolder.of(root, plan.name)
    made = Study(root, plan, folder)
    made.note("planned", frozen=plan.frozen)
    folder.save_plan(plan)
    for digest in failed:
        made.note("failed", trial=digest, reason="nan", detail="the loss of step 3 is nan")
    return made


def commit(root: Path, spec: Spec, toy: Benchmark, scores: NDArray[np.float32]) -> None:
    """What a trial leaves that found these scores."""
    found = evaluate_embeddings(toy, *vectors_for(toy, scores))
    attempt = TrialFolder.of(root, spec.digest).claim(spec, {})
    save_ranks(found.ranks, Path(str(attempt.path)) / ranks_file("test"))
    claim = {"verdict": "not checkable", "findings": [], "blind": ["translations"]}
    training = {"examples": 320, "masked_fraction": 0.01, "steps": 10}
    attempt.write_json(
        "result.json",
        {
            "digest": spec.digest,
            "metrics": found.metrics,
            "validation": {},
            "counts": {"test": found.counts},
            "zero_shot": claim,
            "training": training,
            "execution": Execution().to_json(),
            "layout_changed": False,
        },
    )
    attempt.write_json(
        "environment.json",
        {"python": "3.11", "platform": "Linux", "versions": {"torch": "2"}, "seconds": 1.5},
    )
    attempt.commit([ranks_file("test"), "result.json", "environment.json"])
