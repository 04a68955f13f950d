"""Worlds whose effects are known: the answer finds their sign and size, and none where none is.

An effect's true size is its mean over twelve further seeds, which the answer does not see.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

from study.analysis.answer import Finding, answer, stored
from study.planning.build import make_plan
from study.spaces.schema import Space, load_space
from study.state.plan import Plan
from trainables.finetune import finetune
from trainables.spec import Execution
from trainables.storage.cache import Cache
from trainables.trial.trial_folder import TrialFolder

SEEDS, FURTHER = 5, 12
SHORT: dict[str, Any] = {"steps": 60, "batch_size": 32, "reference_batch_size": 32}
LANGUAGES = SHORT | {
    "volume": "equal_per_language",
    # two languages are qaa and its relative; four have one related to those never trained on
    "subset_seed": 1,
    "anchor_languages": ["qaa"],
    "unseen_languages": ["qad", "qaf"],
    "max_examples": None,
}
BATCHES: dict[str, Any] = {"steps": 60, "reference_batch_size": 32, "control": "equal_steps"}


def space_of(name: str, factor: str, low: int, high: int, metric: str, margin: float) -> Space:
    """The space with two levels of its factor and one hypothesis."""
    space = load_space(name)
    hypothesis = {
        "name": f"more {factor}",
        "metric": metric,
        "better": {factor: high},
        "than": {factor: low},
        "margin": margin,
        "why": "planted",
    }
    values = space.model_dump() | {
        "search": {factor: [low, high]},
        "hypotheses": [hypothesis],
        "fixed": space.fixed | {"learning_rate": 5e-3},
    }
    values["tiers"]["demo"]["search"] = {}
    return Space.model_validate(values)


def run(root: Path, space: Space, settings: dict[str, Any], seeds: int) -> Plan:
    """The plan, all of whose trials have a result."""
    plan, _ = make_plan(space, "planted", "demo", settings, seeds=seeds)
    cache = Cache(root / "cache")
    for digest, spec in plan.specs.items():
        folder = TrialFolder.of(root, digest)
        for _ in finetune(spec, folder, places={}, execution=Execution(threads=1), cache=cache):
            pass
    return plan


def found(plan: Plan, root: Path, first: int, last: int) -> Finding:
    """What the trials of some of the seeds say."""
    cells = tuple(
        cell.model_copy(update={"trials": cell.trials[first:last]})
        if cell.params.get("steps") != 0
        else cell
        for cell in plan.cells
    )
    part = plan.model_copy(update={"cells": cells})
    [finding] = answer(part, stored(part, root)).findings
    return finding


def check_size(plan: Plan, root: Path) -> None:
    """The interval of the first seeds holds what the further ones say."""
    finding = found(plan, root, 0, SEEDS)
    assert finding.verdict == "supported", finding
    truth = found(plan, root, SEEDS, SEEDS + FURTHER).decisive
    error = statistics.stdev(truth.by_seed.values()) / len(truth.by_seed) ** 0.5
    one = finding.decisive
    assert one.interval is not None
    assert one.effect is not None
    assert truth.effect is not None
    low, high = one.interval
    assert 0 < low < one.effect < high
    # both halves see the same articles, so the further seeds are known but for their own error
    assert low - 2 * error <= truth.effect <= high + 2 * error


@pytest.mark.slow
def test_more_languages_help_those_never_trained_on_as_much_as_is_said(tmp_path: Path) -> None:
    metric = "map/cross/trained-in-none"
    space = space_of("language_count", "language_count", 2, 4, metric, 0.003)
    check_size(run(tmp_path, space, LANGUAGES, SEEDS + FURTHER), tmp_path)


@pytest.mark.slow
def test_larger_batches_help_at_equal_steps_as_much_as_is_said(tmp_path: Path) -> None:
    space = space_of("batch_size", "batch_size", 16, 64, "map/multi", 0.003)
    check_size(run(tmp_path, space, BATCHES, SEEDS + FURTHER), tmp_path)


@pytest.mark.slow
def test_in_the_null_world_more_languages_do_nothing(tmp_path: Path) -> None:
    """All languages are the same strings, so what is trained on is the same text."""
    space = space_of("language_count", "language_count", 2, 4, "map/multi", 0.003)
    settings = LANGUAGES | {"benchmark": "synthetic:null"}
    finding = found(run(tmp_path, space, settings, SEEDS), tmp_path, 0, SEEDS)
    assert finding.verdict in ("undecided", "equivalent"), finding
    assert finding.decisive.effect == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_larger_batches_of_shuffled_pairs_do_nothing(tmp_path: Path) -> None:
    """There is nothing to learn, so there is no effect of the batch size either."""
    space = space_of("batch_size", "batch_size", 16, 64, "map/multi", 0.003)
    settings = BATCHES | {"shuffle_pairs": True}
    finding = found(run(tmp_path, space, settings, SEEDS), tmp_path, 0, SEEDS)
    assert finding.verdict in ("undecided", "equivalent"), finding
