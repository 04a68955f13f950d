"""Compare two arms of one or two studies for `compare`: undeclared, so without a verdict."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from study.analysis.comparison import Interval, detectable_effect, why_unknown
from study.analysis.contrasts import (
    BySeed,
    ByTrial,
    Coefficients,
    Paired,
    Stored,
    by_trial,
    mean,
    paired,
)
from study.analysis.exploration import levels_of
from study.analysis.inference import (
    LEVEL,
    RESAMPLES,
    bootstrap,
    contributions,
    estimate,
    percentile_interval,
)
from study.analysis.results import arm_label
from study.analysis.scores import Scores
from study.analysis.verdicts import holm
from study.state.plan import Cell, Plan
from trainables.errors import UserError

OTHER_QUESTIONS = "not asked the same questions, so a difference would be of those as well"


@dataclass(frozen=True)
class Arm:
    """Cells of one study that are averaged.

    Attributes:
        name: Name of the arm for people.
        cells: Cells of one study.
        questions: Role (`test`, or the name of a further benchmark) to the identity of its data.
    """

    name: str
    cells: tuple[Cell, ...]
    questions: Mapping[str, str]


@dataclass(frozen=True)
class Measured:
    """One metric of two arms; None marks what is unknown.

    Attributes:
        arm: Name of the pair of arms.
        metric: Name of the metric.
        first: Mean over the compared trials of the first arm, in units of the metric.
        second: The same for the second arm.
        difference: `first` minus `second`.
        interval: 95 % interval for new seeds and new clusters.
        bootstrap: 95 % interval of the two-level percentile bootstrap.
        p: Two-sided, for no difference, uncorrected.
        corrected: `p` after Holm's correction over all rows.
        detectable: Difference found with 80 % probability at the strictest level of the rows.
        seeds: Number of pairs of trials.
        clusters: Number of articles, else paragraphs, else questions.
        note: How trials were paired if not by seed, or why something is unknown.
    """

    arm: str
    metric: str
    first: float | None
    second: float | None
    difference: float | None = None
    interval: Interval | None = None
    bootstrap: Interval | None = None
    p: float | None = None
    corrected: float | None = None
    detectable: float | None = None
    seeds: int = 0
    clusters: int = 0
    note: str = ""


def find_arm(plan: Plan, cells: Sequence[Cell], text: str) -> Arm:
    """Find the cells of a study that a text names; several are averaged.

    Args:
        plan: Plan of the study.
        cells: Cells that answer.
        text: A label, or some parameters as `KEY=VALUE` separated by commas or blanks; `untrained`
            for the encoder without training.

    Raises:
        UserError: No cell matches; names the nearest arms.
    """
    exact = [cell for cell in cells if arm_label(plan, cell) == text.strip()]
    typed = [word for word in re.split(r"[,\s]+", text.strip()) if word]
    matches = exact or [cell for cell in cells if _matches(cell, typed)]
    if not matches or not typed:
        known = [arm_label(plan, cell) for cell in cells]
        words = [f"{k}={v}" for k, levels in levels_of(trained(cells)).items() for v in levels]
        near = difflib.get_close_matches(text, list(dict.fromkeys([*known, *words])), 3)
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(
            f"{plan.name}:{text}: no such arm; {guess}arms are {', '.join(known) or 'none yet'}"
        )
    mean = f" (mean of {len(matches)} cells)" if len(matches) > 1 else ""
    return arm(plan, f"{plan.name}:{text.strip()}{mean}", matches)


def arm(plan: Plan, name: str, cells: Sequence[Cell]) -> Arm:
    """Make an arm of cells of a study."""
    spec = plan.specs[cells[0].trials[0].digest]
    further = {ref.name: repr(ref) for ref in spec.also or ()}
    return Arm(name, tuple(cells), {"test": repr(spec.test)} | further)


def trained(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells with training steps."""
    return [cell for cell in cells if cell.params.get("steps") != 0]


def common_arms(
    first: tuple[Plan, Sequence[Cell]], second: tuple[Plan, Sequence[Cell]]
) -> list[tuple[str, Arm, Arm]]:
    """Pair the trained arms that two studies share by label, and add their mean.

    If they share none but have one arm each, these are paired.

    Raises:
        UserError: There is no pair.
    """
    sides = (first, second)
    by_label = [{arm_label(plan, cell): cell for cell in trained(cells)} for plan, cells in sides]
    names = [(name, name) for name in by_label[0] if name in by_label[1]]
    if not names and len(by_label[0]) == len(by_label[1]) == 1:
        names = list(zip(*by_label, strict=True))
    if not names:
        known = (f"{p.name} has {', '.join(h)}" for (p, _), h in zip(sides, by_label, strict=True))
        raise UserError(
            f"no arm in common: {'; '.join(known)}. Name one of each: compare STUDY:ARM STUDY:ARM"
        )
    a, b = first[0].name, second[0].name
    pairs = [
        (
            " against ".join(dict.fromkeys((left, right))),
            arm(first[0], f"{a}:{left}", [by_label[0][left]]),
            arm(second[0], f"{b}:{right}", [by_label[1][right]]),
        )
        for left, right in names
    ]
    if len(pairs) > 1:
        first_mean = arm(first[0], a, [by_label[0][name] for name, _ in names])
        second_mean = arm(second[0], b, [by_label[1][name] for _, name in names])
        pairs.append((f"mean of these {len(names)}", first_mean, second_mean))
    return pairs


def _matches(cell: Cell, typed: Sequence[str]) -> bool:
    """Return whether a cell has all these parameters; an untrained cell must be named as such."""
    params = {key: str(value) for key, value in cell.params.items()}
    untrained = params.get("steps") == "0"
    conditions = [word for word in typed if word not in ("untrained", "steps=0")]
    if untrained != (len(conditions) < len(typed)):
        return False
    return all(
        _same(params.get(key), value) for key, _, value in (w.partition("=") for w in conditions)
    )


def _same(value: str | None, word: str) -> bool:
    """Return whether a value and a word are equal as text or as numbers: `1` equals `1.0`."""
    if value is None:
        return False
    try:
        return float(value) == float(word)
    except ValueError:
        return value == word


def side_by_side(
    arms: Sequence[tuple[str, Arm, Arm]], metrics: Sequence[str], scores: Stored
) -> list[Measured]:
    """Compare every pair of arms in every metric, with Holm's correction over all of them.

    Args:
        arms: Name of each pair, and its two arms.
        metrics: Names of the metrics.
        scores: Scores of the arms' trials that have a result.
    """
    level = LEVEL / (len(arms) * len(metrics))
    rows = [
        _row(name, metric, first, second, scores, level)
        for name, first, second in arms
        for metric in metrics
    ]
    known = [row.p for row in rows if row.p is not None]
    corrected = iter(holm(known))
    return [row if row.p is None else replace(row, corrected=next(corrected)) for row in rows]


def _row(name: str, metric: str, first: Arm, second: Arm, scores: Stored, level: float) -> Measured:
    sides = [by_trial(arm.cells, scores, metric) for arm in (first, second)]
    empty = Measured(name, metric, _mean(sides[0]), _mean(sides[1]))
    lacking = "; ".join(filter(None, map(_lacking, (first, second), sides)))
    if not all(trials for side in sides for trials in side.values()):
        return replace(empty, note=lacking)
    sides, unshared = _matched(sides)
    note = "; ".join(filter(None, [unshared, lacking]))
    role = metric.rpartition(":")[0] or "test"
    if first.questions.get(role) != second.questions.get(role):
        return replace(empty, note=OTHER_QUESTIONS)
    weights: Coefficients = {}
    for sign, side_name, arm in ((1.0, "A", first), (-1.0, "B", second)):
        weights |= {f"{side_name} {label}": sign * w for label, w in mean(arm.cells).items()}
    trials: ByTrial = {
        f"{side_name} {label}": by_seed
        for side_name, side in zip("AB", sides, strict=True)
        for label, by_seed in side.items()
    }
    try:
        pairs = paired(trials, weights)
    except UserError:
        return replace(empty, note=OTHER_QUESTIONS)
    if pairs is None:
        return replace(empty, note="no seed has a result in every cell")
    means = [_mean({k: _only(v, pairs.seeds) for k, v in side.items()}) for side in sides]
    return _tested(replace(empty, first=means[0], second=means[1], note=note), pairs, level)


def _tested(row: Measured, pairs: Paired, level: float) -> Measured:
    table = contributions(pairs.sums, pairs.counts)
    sizes = len(pairs.seeds), len(pairs.counts)
    row = replace(row, difference=float(table.mean()), seeds=sizes[0], clusters=sizes[1])
    estimated = estimate(table)
    if estimated is None:
        return replace(row, note="; ".join(filter(None, [row.note, why_unknown(*sizes)])))
    low, high = estimated.interval()
    return replace(
        row,
        interval=(float(low), float(high)),
        bootstrap=percentile_interval(bootstrap(pairs.sums, pairs.counts, RESAMPLES)),
        p=float(estimated.p()),
        detectable=detectable_effect(estimated, level),
    )


def _lacking(arm: Arm, side: dict[str, BySeed]) -> str:
    """Describe which trials of an arm lack the metric; empty if none do."""
    notes = []
    for cell in arm.cells:
        absent = [t.seed for t in cell.trials if t.seed not in side[cell.label]]
        if absent and len(absent) == len(cell.trials):
            notes.append(f"{arm.name} has no trial with this metric in {cell.label}")
        elif absent:
            seeds = ", ".join(map(str, absent))
            notes.append(f"{arm.name} lacks seed{'s' if len(absent) > 1 else ''} {seeds}")
    return "; ".join(dict.fromkeys(notes))


def _matched(sides: Sequence[dict[str, BySeed]]) -> tuple[list[dict[str, BySeed]], str]:
    """Return the sides unchanged if they share a seed, else with seeds renumbered in order.

    Seeds are independent draws, so without common seeds any pairing that ignores the results is
    valid. It gains no precision, and drops the surplus seeds of one side.
    """
    seeds_of = [_common(side) for side in sides]
    if not all(seeds_of) or set(seeds_of[0]) & set(seeds_of[1]):
        return list(sides), ""
    renumbered: list[dict[str, BySeed]] = [
        {
            label: {number: trials[seed] for number, seed in enumerate(seeds)}
            for label, trials in side.items()
        }
        for side, seeds in zip(sides, seeds_of, strict=True)
    ]
    return renumbered, "no seed in common, so trials were paired in the order of their seeds"


def _common(side: dict[str, BySeed]) -> list[int]:
    """Return the seeds that all trained cells of a side have, sorted."""
    trained = [set(trials) for trials in side.values() if None not in trials]
    common = set.intersection(*trained) if trained else set()
    return sorted(seed for seed in common if seed is not None)


def _only(trials: Mapping[int | None, Scores], seeds: Sequence[int]) -> dict[int | None, Scores]:
    return {seed: trial for seed, trial in trials.items() if seed is None or seed in seeds}


def _mean(side: dict[str, BySeed]) -> float | None:
    """Average over cells the mean over their trials; None if a cell has none."""
    values = [[trial.value for trial in trials.values()] for trials in side.values()]
    return float(np.mean([np.mean(v) for v in values])) if values and all(values) else None
