"""Which cell answers for an arm that ran with several values of what is no question here."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from study.answer.results import CellResult
from study.plan import Cell, Plan, label_of
from trainables.evaluation.names import best_value


def arm_label(plan: Plan, cell: Cell) -> str:
    """The label of a cell's arm: without what was tuned for it."""
    return label_of({k: v for k, v in cell.params.items() if k not in plan.tuned})


def answering(plan: Plan, cells: Sequence[CellResult]) -> list[Cell]:
    """Of the cells that differ only in tuned parameters, the best on the validation benchmark.

    By the mean of the primary metric over seeds, of cells that have all of them; the first of
    equals. Every arm has the same number of candidates, and the test is not looked at (law 5). An
    arm with a candidate that lacks a trial has none yet: what is missing could be the best.
    """
    if not plan.tuned:
        return [cell.cell for cell in cells]
    found = []
    for candidates in _arms(plan, cells).values():
        values = [cell.values(plan.primary, "validation") for cell in candidates]
        if len(candidates) == 1:
            found.append(candidates[0].cell)
        elif all(len(v) == len(c.cell.trials) for v, c in zip(values, candidates, strict=True)):
            means = [statistics.fmean(v) for v in values]
            best = means.index(best_value(plan.primary, means))
            found.append(candidates[best].cell)
    return found


def waiting(plan: Plan, cells: Sequence[CellResult]) -> list[Cell]:
    """The first candidate of each arm for which no cell answers, in the plan's order.

    A comparison that the arm is meant in must not be made of the others alone.
    """
    answered = {arm_label(plan, cell) for cell in answering(plan, cells)}
    arms = _arms(plan, cells) if plan.tuned else {}
    return [held[0].cell for label, held in arms.items() if label not in answered]


def _arms(plan: Plan, cells: Sequence[CellResult]) -> dict[str, list[CellResult]]:
    """Cells that differ only in what was tuned, by the label of their arm."""
    found: dict[str, list[CellResult]] = {}
    for cell in cells:
        found.setdefault(arm_label(plan, cell.cell), []).append(cell)
    return found
