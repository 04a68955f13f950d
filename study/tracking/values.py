"""The plain values from which a view of a study is filled, and the names it may use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Value = str | float | bool | None

MAX_NAME = 250
"""Characters in the name of a metric or parameter; MLflow's limit."""

MAX_PAIRS = 132
"""Ordered pairs of 12 languages; with more, numbers per pair go to `pairs.json`, not to metrics."""


@dataclass(frozen=True)
class StudyInfo:
    """What the parent run of a study says.

    Attributes:
        name: The study's name, unique in its store.
        space: The space's name; it names the MLflow experiment.
        tier: `demo` or `full`.
        question: The research question, in words.
        params: Few, flat values.
        tags: Copied to every child too.
        directions: `maximize` or `minimize`, of each of `TrialView.values`.
        artifacts: A local folder for artifacts where the store is a database that is no file;
            None leaves them to MLflow.
    """

    name: str
    space: str
    tier: str
    question: str
    params: Mapping[str, Value] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    directions: tuple[str, ...] = ("maximize",)
    artifacts: Path | None = None


@dataclass(frozen=True)
class TrialView:
    """What a view says of a trial.

    Attributes:
        digest: The trial.
        name: How a person recognises it.
        state: `running`, `complete`, `failed` or `pruned`.
        reason: Why it failed or was pruned, else empty.
        params: Few, flat values; None is left out.
        cell: What the study gave the trial.
        seed: Of the trial; None where nothing is random.
        metrics: Final numbers.
        values: Of the study's objectives, where it is complete; None for one that it has not.
        reached: Of a pruned trial, examples seen to the first objective.
        history: Numbers on the way, as (step, {name: value}).
        tags: Words about the trial.
        artifacts: Texts by file name.
        files: Files of this machine that become artifacts, under their own names.
        datasets: What was read, by what it was read for: (name, hash).
        started_ms: When it started, in ms since 1970; None for when it was recorded.
        ended_ms: When it ended.
    """

    digest: str
    name: str
    state: str
    reason: str
    params: Mapping[str, Value]
    seed: int | None
    metrics: Mapping[str, float]
    cell: Mapping[str, Value] = field(default_factory=dict)
    values: tuple[float | None, ...] = ()
    reached: Mapping[int, float] = field(default_factory=dict)
    history: Sequence[tuple[int, Mapping[str, float]]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Path] = ()
    datasets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    started_ms: int | None = None
    ended_ms: int | None = None


@dataclass(frozen=True)
class StudyRuns:
    """Where a study is in a store: its experiment, its parent run and its trials' runs."""

    name: str
    experiment_id: str
    parent_id: str
    run_ids: tuple[str, ...]


def metric_name(name: str) -> str:
    """Return `name` if MLflow takes it as the name of a metric or parameter.

    Raises:
        ValueError: It is empty, longer than 250, no plain path, or holds another character than
            ASCII letters, digits and `_-. :/`.
    """
    plain = re.fullmatch(r"[A-Za-z0-9_\-. :/]+", name) and len(name) <= MAX_NAME
    path = any(part in ("", ".", "..") for part in name.split("/")) or name.startswith("..")
    if not plain or path:
        raise ValueError(
            f"{name!r} cannot name a metric in MLflow: allowed are ASCII letters, digits and "
            f"'_-. :', in parts joined by single '/', {MAX_NAME} characters at most"
        )
    return name


def without_pairs(metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Split metrics into those to show and numbers per language pair that are too many."""
    per_kind = Counter(name.split("/cross/")[0] for name in metrics if "/cross/" in name)
    if max(per_kind.values(), default=0) <= MAX_PAIRS:
        return dict(metrics), {}
    shown = {name: value for name, value in metrics.items() if "/cross/" not in name}
    return shown, {name: value for name, value in metrics.items() if "/cross/" in name}


def points(trial: TrialView) -> Iterator[tuple[str, float, int]]:
    """Every (name, value, step) of a trial, no (name, step) twice.

    Final numbers come first, mean average precision and macro means before the rest: MLflow's
    comparison opens with the metric that was written first.
    """
    last = max((step for step, _ in trial.history), default=0)
    final = without_pairs(trial.metrics)[0]
    first = sorted(final, key=lambda name: (not name.startswith("map/"), name.count("/")))
    values_at = {(name, last): final[name] for name in first}
    for step, values in trial.history:
        values_at |= {
            (name, step): value for name, value in values.items() if (name, step) not in values_at
        }
    for (name, step), value in values_at.items():
        yield metric_name(name), float(value), step
