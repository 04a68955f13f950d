"""Input of a report, read once: answer, committed results, environments, ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from study.analysis.answer import Answer
from study.analysis.results import COLUMNS, CellResult, answering, arm_label, by_cell, metric_of
from study.analysis.scores import read_ranks
from study.report.document import Spread, finite
from study.state.committed import each_committed
from study.state.plan import Cell, Plan
from trainables.evaluation.metric_names import lower_is_better
from trainables.evaluation.ranks import Ranks, ranks_file
from trainables.storage.paths import AnyPath
from trainables.trial.trial_folder import NotCommittedError, TrialFolder, read_json

T = TypeVar("T")
Pairs = Mapping[tuple[str, str], float]

MOST_READ = 1000
"""Maximum number of trials whose environments and ranks are read; a report on more has neither."""

MOST_LANGUAGES = 12
"""Maximum number of languages in a drawing; of more, those with lowest and highest values."""


@dataclass(frozen=True)
class Material:
    """Input of a report.

    Attributes:
        plan: Plan of the study.
        root: Root of the trials, as typed after `--root`.
        answer: Answer of the study.
        cells: All cells with their results.
        arms: Trained cells that represent themselves or their arm.
        results: `result.json` by digest.
        environments: `environment.json` by digest; empty for more than `MOST_READ` trials.
        ranks: Mean rank in the pool of all languages by query and corpus language, by digest.
        failures: Why trials have no result, by digest.
    """

    plan: Plan
    root: str
    answer: Answer
    cells: tuple[CellResult, ...]
    arms: tuple[CellResult, ...]
    results: Mapping[str, Mapping[str, Any]]
    environments: Mapping[str, Mapping[str, Any]]
    ranks: Mapping[str, Pairs]
    failures: Mapping[str, str]

    def name(self, cell: Cell) -> str:
        """Return the label of a cell without its tuned parameters."""
        return arm_label(self.plan, cell)

    def metrics(self) -> list[str]:
        """List the macro means that trials have, in the order of the comparison table."""
        return [name for name in COLUMNS if any(cell.values(name) for cell in self.cells)]

    @cached_property
    def languages(self) -> list[str]:
        """Languages of the test benchmark, from the names of the metrics."""
        names = {
            name.split("/")[2]
            for result in self.results.values()
            for name in result["metrics"]
            if name.startswith(("map/mono/", "map/multi/", "map/pool_same_language/"))
        }
        return sorted(names)

    def mean(self, cell: CellResult, metric: str) -> float | None:
        """Return the mean of a metric over a cell's seeds; None if no trial has it."""
        summary = cell.summary(metric)
        return finite(summary[0]) if summary else None

    def spread(self, cell: CellResult, metric: str) -> Spread | None:
        """Return mean and standard deviation over seeds; None if no trial has the metric."""
        summary = cell.summary(metric)
        return Spread(*summary, len(cell.values(metric))) if summary else None

    def by_seed(self, cell: CellResult, metric: str) -> dict[int, float]:
        """Return a cell's values of the metric by seed."""
        values = {}
        for trial in cell.cell.trials:
            if trial.seed is not None and trial.digest in self.results:
                metrics = self.results[trial.digest]["metrics"]
                if (value := metric_of(metrics, metric, cell.groups)) is not None:
                    values[trial.seed] = value
        return values

    def pairs(self, cell: CellResult) -> dict[tuple[str, str], float]:
        """Return MAP by query and corpus language: map/mono for equal languages, else map/cross."""
        by_pair = {}
        for query in self.languages:
            for corpus in self.languages:
                kind = f"mono/{query}" if query == corpus else f"cross/{query}-{corpus}"
                if (value := self.mean(cell, f"map/{kind}")) is not None:
                    by_pair[query, corpus] = value
        return by_pair

    def mean_ranks(self, cell: CellResult) -> dict[tuple[str, str], float]:
        """Return the mean rank by query and corpus language, over a cell's seeds."""
        ranks = [self.ranks[t.digest] for t in cell.cell.trials if self.ranks.get(t.digest)]
        return {
            pair: float(np.mean([by_pair[pair] for by_pair in ranks]))
            for pair in (ranks or [{}])[0]
        }


def gather(
    plan: Plan,
    root: AnyPath,
    answer: Answer,
    results: dict[str, dict[str, Any]],
    failures: Mapping[str, str],
) -> Material:
    """Read a report's input beyond the answer and the results.

    Args:
        plan: Plan of the study.
        root: Root of the trial folders.
        answer: Answer of the study.
        results: Results by digest.
        failures: Why other trials have none, by digest.
    """
    cells = by_cell(plan, results)
    labels = {cell.label for cell in answering(plan, cells) if cell.is_arm}
    arms = tuple(cell for cell in cells if cell.cell.label in labels)
    read = list(results) if len(results) <= MOST_READ else []
    arm_digests = {t.digest for arm in arms for t in arm.cell.trials}
    return Material(
        plan,
        str(root),
        answer,
        tuple(cells),
        arms,
        results,
        _read_each(root, read, environment_of),
        _read_each(root, [d for d in read if d in arm_digests], mean_ranks_of),
        {digest: why for digest, why in failures.items() if digest not in results},
    )


def environment_of(folder: AnyPath) -> dict[str, Any]:
    """Read the environment in which a committed trial ran.

    Raises:
        NotCommittedError: The content is not what trials write.
    """
    environment = read_json(folder / "environment.json")
    seconds = environment.get("seconds", 0.0)
    if not isinstance(environment.get("versions"), dict) or type(seconds) not in (int, float):
        raise NotCommittedError(f"{folder}/environment.json says nothing of a trial")
    return environment


def mean_ranks_of(folder: AnyPath) -> Pairs:
    """Read a committed trial's mean ranks of relevant candidates; tied candidates share ranks."""
    ranks = read_ranks(folder / ranks_file("test"))
    return {} if ranks is None else mean_ranks(ranks)


def mean_ranks(ranks: Ranks) -> Pairs:
    """Average ranks in the pool by query and corpus language; empty if that would mislead.

    It would for retrieval between text and images, judgements in some languages only, and a pool of
    one corpus.
    """
    if ranks.direction or not ranks.judged_in_all_languages or not ranks.pool_is_several:
        return {}
    query = ranks.query_language[ranks.pair_query]
    by_pair = {}
    for q, query_language in enumerate(ranks.query_languages):
        for c, language in enumerate(ranks.corpus_languages):
            if (midranks := ranks.pool_midrank[(query == q) & (ranks.language == c)]).size:
                by_pair[query_language, language] = float(midranks.mean())
    return by_pair


def _read_each(root: AnyPath, digests: Sequence[str], read: Callable[[AnyPath], T]) -> dict[str, T]:
    """Apply `read` to the committed folder of each trial."""
    return each_committed(
        root, digests, lambda digest: read(TrialFolder.of(root, digest).committed())
    )


def some_languages(values: Iterable[tuple[str, float]]) -> list[str]:
    """Choose the languages to draw, sorted; of many, those with the lowest and highest values."""
    ordered = [language for language, _ in sorted(values, key=lambda pair: pair[1])]
    half = MOST_LANGUAGES // 2
    chosen = ordered if len(ordered) <= MOST_LANGUAGES else ordered[:half] + ordered[-half:]
    return sorted(chosen)


def better_is(metric: str) -> str:
    """Return the `Column.best` of a metric."""
    return "least" if lower_is_better(metric) else "greatest"
