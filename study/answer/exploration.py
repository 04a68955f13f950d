"""What a study shows beside its hypotheses: never declared, never tested, never a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.answer.best_level import (
    MOST_TRIALS,
    RESAMPLES,
    BestLevel,
    best_levels,
    validation_metric,
)
from study.answer.groups import language_groups
from study.answer.scores import Scores, stored_scores
from study.answer.variance import Decomposition, Part, decompose
from study.answer.verdicts import LEAST_SEEDS
from study.answer.words import counted
from study.committed import each_committed
from study.plan import Cell, Plan
from trainables.places import Place

SHOWN = 0.01
"""Smallest share of the variance that is named; `answer.json` has the others."""

ONE_SEED = "; of one seed, so that what chance has of it is not known"
"""What is said of a variance without a residual."""


@dataclass(frozen=True)
class Exploration:
    """What was looked at without having been declared.

    Attributes:
        best: The best level of each factor, on the validation benchmark.
        note: Why there is none, else empty.
        variance: Of the primary metric on the test benchmark, by factor.
    """

    best: tuple[BestLevel, ...]
    note: str
    variance: Decomposition


def explore(
    plan: Plan, cells: Sequence[Cell], root: Place, results: Mapping[str, Mapping[str, Any]]
) -> Exploration:
    """Best levels and variance of a study.

    Args:
        plan: Of the study.
        cells: Those that answer.
        root: Of the trial folders.
        results: `result.json` by digest, of the trials that have one.

    Raises:
        UserError: A committed file of ranks that cannot be read.
    """
    if plan.search is not None:
        why = (
            "the cells of a search were chosen by their results; its importances are in the report"
        )
        return Exploration((), why, Decomposition(plan.primary, (), 0, 0, 0, why))
    trained = [cell for cell in cells if cell.is_arm]
    digests = [t.digest for cell in trained for t in cell.trials if t.digest in results]
    variance = decompose(plan, cells, results)
    if not any(results[digest]["validation"] for digest in digests):
        why = "without a validation benchmark nothing is selected; the test must not be read"
        return Exploration((), why, variance)
    if len(digests) > MOST_TRIALS:
        return Exploration((), f"more than {MOST_TRIALS} trials were not read again", variance)
    scores = _validation(plan, root, digests)
    return Exploration(tuple(best_levels(plan, cells, scores)), "", variance)


def _validation(plan: Plan, root: Place, digests: Sequence[str]) -> dict[str, Scores]:
    """Scores of the primary metric on the validation benchmark."""
    metric, groups = validation_metric(plan), language_groups(plan)

    def read(digest: str) -> Scores | None:
        return stored_scores(root, digest, [metric], groups).get(metric)

    return each_committed(root, digests, read)


def exploratory_words(found: Exploration) -> list[str]:
    """The exploration in sentences, each of which says what it rests on."""
    lines = ["Exploratory, neither declared nor tested:"]
    if found.note:
        lines.append(f"  Best levels: {found.note}.")
    lines += [f"  {_best(one)}" for one in found.best]
    return [*lines, f"  {_variance(found.variance)}"]


def _best(one: BestLevel) -> str:
    what = f"Best {one.factor} by {one.metric} on the validation benchmark"
    if one.averaged:
        what += f", averaged over {', '.join(one.averaged)}"
    if not one.levels:
        return f"{what}: not known: {one.note}."
    shares = ", ".join(f"{level.level} in {100 * level.share:.0f} %" for level in one.likely)
    few = ", too few for the shares to be trusted" if one.seeds < LEAST_SEEDS else ""
    text = f"{what}: {shares} of {RESAMPLES} resamples"
    text = f"{text} ({one.seeds} seeds{few}; {one.clusters} clusters)"
    return f"{text}; {one.note}." if one.note else f"{text}."


def _variance(found: Decomposition) -> str:
    what = f"Variance of {found.metric} on the test benchmark"
    if not found.parts:
        return f"{what}: not taken apart: {found.note}."
    shown = [_part(part) for part in found.parts if part.share >= SHOWN]
    rest = sum(part.share for part in found.parts if part.share < SHOWN)
    filled = f", {found.filled} of them filled in" if found.filled else ""
    parts = ", ".join([*shown, *([f"all else {100 * rest:.1f} %"] if rest >= 0.0005 else [])])
    trials = counted(found.trials, found.distinct)
    alone = "" if any(part.by_chance is not None for part in found.parts) else ONE_SEED
    return f"{what}, {trials}{filled}: {parts}{alone}."


def _part(part: Part) -> str:
    text = f"{part.of} {100 * part.share:.1f} %"
    chance = part.by_chance or 0.0
    told = chance >= SHOWN / 10 and part.of != "residual"
    return f"{text} (by chance {100 * chance:.1f} %)" if told else text
