"""Plain values from which views of a study are written, and names that MLflow accepts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Value = str | float | bool | None

MAX_NAME = 250
"""Longest name of a metric or parameter in MLflow, in characters."""

MAX_PAIRS = 132
"""Language pairs above which metrics per pair go to `pairs.json`: ordered pairs of 12 languages."""


@dataclass(frozen=True)
class StudyInfo:
    """Content of a study's parent run.

    Attributes:
        name: Name of the study, unique in its store.
        space: Name of the space and of the MLflow experiment.
        tier: `demo` or `full`.
        question: Research question, in words.
        params: Few, flat values.
        tags: Tags, copied to every child run.
        directions: `maximize` or `minimize` for each of `TrialView.values`.
        artifacts: Local folder for artifacts if the store is a database other than SQLite; None
            leaves the location to MLflow.
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
    """Content of a trial in a view.

    Attributes:
        digest: Digest of the trial.
        name: Label for people.
        state: `running`, `complete`, `failed` or `pruned`.
        reason: Why it failed or was pruned; else empty.
        params: Few, flat values; None is left out.
        seed: Seed of the trial; None if nothing is random.
        metrics: Final metrics.
        cell: Parameters of the cell.
        values: Values of the study's objectives if complete; None for a missing one.
        reached: First objective by number of examples, of a pruned trial.
        history: Metrics during training, as (step, {name: value}).
        tags: Texts about the trial.
        artifacts: Texts by file name.
        files: Local files to store as artifacts under their own names.
        datasets: Name and hash of each data set, by its use.
        started_ms: Start in ms since 1970; None for the time of recording.
        ended_ms: End in ms since 1970; None for the time of recording.
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
    """IDs of a study in a store: its experiment, its parent run and its trials' runs."""

    name: str
    experiment_id: str
    parent_id: str
    run_ids: tuple[str, ...]


def metric_name(name: str) -> str:
    """Return `name` if MLflow accepts it as the name of a metric or parameter.

    Raises:
        ValueError: It is empty, longer than 250 characters, not a normalized relative path, or
            contains others than ASCII letters, digits and `_-. :/`.
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
    """Split off the metrics per language pair if a measure has more than `MAX_PAIRS` of them."""
    per_measure = Counter(name.split("/cross/")[0] for name in metrics if "/cross/" in name)
    if max(per_measure.values(), default=0) <= MAX_PAIRS:
        return dict(metrics), {}
    logged = {name: value for name, value in metrics.items() if "/cross/" not in name}
    return logged, {name: value for name, value in metrics.items() if "/cross/" in name}


def points(trial: TrialView) -> Iterator[tuple[str, float, int]]:
    """Yield every (name, value, step) of a trial, without repeating a (name, step).

    Final metrics come first, MAP and macro means before the rest, since MLflow's comparison opens
    with the metric that was logged first.
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
