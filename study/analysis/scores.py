"""Scores of one trial for one metric, by cluster and setting, from its stored ranks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.analysis.results import Groups, in_group
from trainables.errors import UserError
from trainables.evaluation.bias import rank_distances
from trainables.evaluation.metric_names import DISTANCES, MEANS
from trainables.evaluation.metrics import MEASURES, PICTURE_MEASURES, by_query
from trainables.evaluation.ranks import Ranks, load_ranks, ranks_file
from trainables.storage import atomic as storage
from trainables.storage.paths import AnyPath
from trainables.trial.trial_folder import TrialFolder

Floats = NDArray[np.float64]
Values = Mapping[str, tuple[NDArray[np.int64], Floats]]


@dataclass(frozen=True, eq=False)
class Scores:
    """Sums and counts of queries behind a metric, by cluster and setting.

    Every metric here is a macro mean: the mean over settings (languages, or ordered pairs of them)
    of the mean over the queries of the setting. Sums and counts by cluster suffice for its value,
    its variance over clusters and its bootstrap, even if settings have different questions.

    Attributes:
        metric: Name of the metric, such as `map/cross`.
        settings: (C,) names of what is averaged over, such as `cross/de-en`.
        clusters: (G,) highest units the benchmark knows: article, else paragraph, else question.
        sums: (G, C) sums of the queries' values.
        counts: (G, C) numbers of queries; no column is all zero.
    """

    metric: str
    settings: tuple[str, ...]
    clusters: tuple[str, ...]
    sums: Floats
    counts: Floats

    @property
    def value(self) -> float:
        """The metric, as the trial's result reports it."""
        return float((self.sums.sum(0) / self.counts.sum(0)).mean())

    def asks_the_same(self, other: Scores) -> bool:
        """Return whether clusters, settings and numbers of queries are the same in both."""
        return (
            self.settings == other.settings
            and self.clusters == other.clusters
            and np.array_equal(self.counts, other.counts)
        )


def scores(ranks: Ranks, metric: str, groups: Groups | None = None) -> Scores:
    """Compute the scores behind a metric.

    Args:
        ranks: Ranks of one evaluation.
        metric: A measure and a kind of setting (`map/multi`), one setting (`map/cross/de-en`), the
            micro mean `map/multi_micro`, or a rank distance (`rank_distance`, `rank_distance/de`).
        groups: As for `stored_scores`.

    Raises:
        UserError: The metric is unknown, or this evaluation does not have it.
    """
    values = _values(ranks, metric, groups or {})
    if not values:
        raise UserError(
            f"{metric}: not a mean over settings that {ranks.name} has; choose one of its kinds "
            f"such as map/mono, map/cross or map/multi (of pictures map/t2i, map/i2t or "
            f"map/i2t_multi), of {', '.join(MEASURES)}, "
            f"or {', '.join(DISTANCES)}"
        )
    names, unit = np.unique(ranks.clusters, return_inverse=True)
    sums, counts = np.zeros((2, len(names), len(values)))
    for column, (queries, value) in enumerate(values.values()):
        sums[:, column] = np.bincount(unit[queries], value, len(names))
        counts[:, column] = np.bincount(unit[queries], minlength=len(names))
    nonempty = counts.any(1)
    clusters = tuple(map(str, names[nonempty]))
    return Scores(metric, tuple(values), clusters, sums[nonempty], counts[nonempty])


def stored_scores(
    root: AnyPath, digest: str, metrics: Iterable[str], groups: Groups | None = None
) -> dict[str, Scores]:
    """Read the scores of a committed trial; metrics that its evaluation lacks are left out.

    Args:
        root: Root of the trial folders.
        digest: Digest of the trial.
        metrics: Names; `tydiqa:map/mono` belongs to a further benchmark.
        groups: Name to languages; a metric may end in a group's name instead of a language.

    Raises:
        NotCommittedError: The trial has no valid committed result.
        UserError: Its file of ranks cannot be read.
    """
    folder, by_role = TrialFolder.of(root, digest).committed(), {}
    read_scores = {}
    for metric in metrics:
        role, _, name = metric.rpartition(":")
        if role not in by_role:
            by_role[role] = both_directions(folder, role or "test")
        for ranks in by_role[role]:
            if _values(ranks, name, groups or {}):
                read_scores[metric] = scores(ranks, name, groups)
    return read_scores


def both_directions(folder: AnyPath, role: str) -> list[Ranks]:
    """Read the ranks of one benchmark, of pictures in both directions; empty if not evaluated."""
    first = read_ranks(folder / ranks_file(role))
    if first is None or first.direction != "t2i":
        return [] if first is None else [first]
    second = read_ranks(folder / ranks_file(role, "i2t"))
    return [first] if second is None else [first, second]


def read_ranks(path: AnyPath) -> Ranks | None:
    """Read the ranks of one benchmark from a local or remote path; None if there is no file."""
    if isinstance(path, Path):
        return load_ranks(path) if path.exists() else None
    return _load_remote(path) if path.exists() else None


def _load_remote(path: AnyPath) -> Ranks:
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        file.write(storage.read(path))
        file.flush()
        return load_ranks(Path(file.name))


def _values(ranks: Ranks, metric: str, groups: Groups) -> Values:
    """Map each setting of a metric to its queries and their values; empty if it has none."""
    base, _, group = metric.rpartition("/")
    if group in groups:
        all_values = _values(ranks, base, {})
        return {
            name: setting_values
            for name, setting_values in all_values.items()
            if in_group(name, groups[group])
        }
    measure, _, rest = metric.partition("/")
    if measure in DISTANCES:
        return _distances(ranks, measure, rest)
    if measure not in (PICTURE_MEASURES if ranks.direction else MEASURES) or not rest:
        return {}
    by_row = by_query(ranks, measure)
    if rest not in MEANS:
        return {rest: by_row[rest]} if rest in by_row else {}
    members = {name: by_row[name] for name in MEANS[rest].members(by_row)}
    if not members or not MEANS[rest].micro:
        return members
    queries, values = (np.concatenate(column) for column in zip(*members.values(), strict=True))
    return {rest: (queries, values)}


def _distances(ranks: Ranks, measure: str, language: str) -> Values:
    """Compute rank distances by query language, on the same condition as in `bias_metrics`."""
    if not len(ranks) or not ranks.judged_in_all_languages or not ranks.pool_is_several:
        return {}
    values = rank_distances(ranks)[measure]
    known = ~np.isnan(values)
    distances = {}
    for code, name in enumerate(ranks.query_languages):
        queries = np.flatnonzero(known & (ranks.query_language == code))
        if len(queries) and language in ("", name):
            distances[name] = (queries, values[queries])
    return distances
