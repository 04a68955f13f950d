"""Two arms side by side, of one study or of two: nothing of it was declared, so no verdicts."""

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
        name: What to call them.
        cells: Of one study.
        questions: What each benchmark is, by its role: `test`, or the name of a further one.
    """

    name: str
    cells: tuple[Cell, ...]
    questions: Mapping[str, str]


@dataclass(frozen=True)
class Measured:
    """One metric of two arms; None is what cannot be known.

    Attributes:
        arm: What is compared, as a person named it.
        metric: Its name.
        first: Mean over the first arm's trials that are compared, in units of the metric.
        second: The same of the second.
        difference: `first` minus `second`.
        interval: 95 %, for new seeds and new clusters.
        bootstrap: 95 %, two-level percentile bootstrap.
        p: Two-sided, of no difference, uncorrected.
        corrected: Holm's, over all rows that are shown.
        detectable: Difference found with 80 % probability at the strictest level of them.
        seeds: Pairs of trials.
        clusters: Articles, else paragraphs, else questions.
        note: How trials were paired if not by seed, or why something is not known.
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
    """The cells of a study that a text names, averaged if they are several.

    Args:
        plan: Of the study.
        cells: Those that answer.
        text: A label, or some parameters as `KEY=VALUE` with commas or blanks between;
            `untrained` for the encoder as it was.

    Raises:
        UserError: No such arm, with the nearest ones.
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
    """Cells of a study as an arm."""
    spec = plan.specs[cells[0].trials[0].digest]
    further = {ref.name: repr(ref) for ref in spec.also or ()}
    return Arm(name, tuple(cells), {"test": repr(spec.test)} | further)


def trained(cells: Sequence[Cell]) -> list[Cell]:
    """Cells in which something is trained."""
    return [cell for cell in cells if cell.params.get("steps") != 0]


def common_arms(
    first: tuple[Plan, Sequence[Cell]], second: tuple[Plan, Sequence[Cell]]
) -> list[tuple[str, Arm, Arm]]:
    """The trained arms that two studies share by label, and their mean.

    Raises:
        UserError: They share none, and do not have a single one each.
    """
    sides = (first, second)
    held = [{arm_label(plan, cell): cell for cell in trained(cells)} for plan, cells in sides]
    names = [(name, name) for name in held[0] if name in held[1]]
    if not names and len(held[0]) == len(held[1]) == 1:
        names = list(zip(*held, strict=True))
    if not names:
        known = (f"{p.name} has {', '.join(h)}" for (p, _), h in zip(sides, held, strict=True))
        raise UserError(
            f"no arm in common: {'; '.join(known)}. Name one of each: compare STUDY:ARM STUDY:ARM"
        )
    a, b = first[0].name, second[0].name
    pairs = [
        (
            " against ".join(dict.fromkeys((one, other))),
            arm(first[0], f"{a}:{one}", [held[0][one]]),
            arm(second[0], f"{b}:{other}", [held[1][other]]),
        )
        for one, other in names
    ]
    if len(pairs) > 1:
        ours = arm(first[0], a, [held[0][name] for name, _ in names])
        theirs = arm(second[0], b, [held[1][name] for _, name in names])
        pairs.append((f"mean of these {len(names)}", ours, theirs))
    return pairs


def _matches(cell: Cell, typed: Sequence[str]) -> bool:
    """Whether a cell has all these parameters; an untrained one only if that is among them."""
    params = {key: str(value) for key, value in cell.params.items()}
    untrained = params.get("steps") == "0"
    conditions = [word for word in typed if word not in ("untrained", "steps=0")]
    if untrained != (len(conditions) < len(typed)):
        return False
    return all(
        _same(params.get(key), value) for key, _, value in (w.partition("=") for w in conditions)
    )


def _same(value: str | None, word: str) -> bool:
    """Equal as text or as numbers: `1` is `1.0`."""
    if value is None:
        return False
    try:
        return float(value) == float(word)
    except ValueError:
        return value == word


def side_by_side(
    arms: Sequence[tuple[str, Arm, Arm]], metrics: Sequence[str], scores: Stored
) -> list[Measured]:
    """Every pair of arms in every metric, corrected for their number.

    Args:
        arms: What each pair is called, and its two arms.
        metrics: Names.
        scores: Of all trials of the arms that have a result.
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
    for sign, place, arm in ((1.0, "A", first), (-1.0, "B", second)):
        weights |= {f"{place} {label}": sign * w for label, w in mean(arm.cells).items()}
    trials: ByTrial = {
        f"{place} {label}": held
        for place, side in zip("AB", sides, strict=True)
        for label, held in side.items()
    }
    try:
        pairs = paired(trials, weights)
    except UserError:
        return replace(empty, note=OTHER_QUESTIONS)
    if pairs is None:
        return replace(empty, note="no seed has a result in every cell")
    shown = [_mean({k: _only(v, pairs.seeds) for k, v in side.items()}) for side in sides]
    return _tested(replace(empty, first=shown[0], second=shown[1], note=note), pairs, level)


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
    """Which of an arm's trials could not be read, in words; empty for none."""
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
    """The sides as they are where a seed is in both, else with seeds numbered in their order.

    Seeds are independent draws: where none is shared, any pairing made without looking at the
    results is a fair one. It gains nothing from the pairing, and costs the seeds beyond the fewer.
    """
    held = [_common(side) for side in sides]
    if not all(held) or set(held[0]) & set(held[1]):
        return list(sides), ""
    renumbered: list[dict[str, BySeed]] = [
        {
            label: {number: trials[seed] for number, seed in enumerate(seeds)}
            for label, trials in side.items()
        }
        for side, seeds in zip(sides, held, strict=True)
    ]
    return renumbered, "no seed in common, so trials were paired in the order of their seeds"


def _common(side: dict[str, BySeed]) -> list[int]:
    """Seeds that all trained cells of a side have."""
    trained = [set(trials) for trials in side.values() if None not in trials]
    common = set.intersection(*trained) if trained else set()
    return sorted(seed for seed in common if seed is not None)


def _only(trials: Mapping[int | None, Scores], seeds: Sequence[int]) -> dict[int | None, Scores]:
    return {seed: one for seed, one in trials.items() if seed is None or seed in seeds}


def _mean(side: dict[str, BySeed]) -> float | None:
    """Mean over cells of the mean over their trials; None where a cell has none."""
    values = [[one.value for one in trials.values()] for trials in side.values()]
    return float(np.mean([np.mean(v) for v in values])) if values and all(values) else None
