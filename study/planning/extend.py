"""Extend a plan by cells and seeds, and mark the claims that were changed after results (law 6)."""

from __future__ import annotations

from study.state.plan import Cell, Plan, PlannedTrial
from trainables.errors import UserError

POST_HOC = "post hoc"
INTERIM_LOOK = "interim look"


def extended(before: Plan, requested: Plan) -> Plan:
    """The plan `before` with all cells and seeds of `requested`; nothing is taken away.

    Raises:
        UserError: A trial of both would be another experiment, not an addition.
    """
    ours = {cell.label: cell for cell in before.cells}
    new = {cell.label: cell for cell in requested.cells}
    cells = {
        label: _merged(cell, new[label], before, requested) if label in new else cell
        for label, cell in ours.items()
    }
    cells |= {label: cell for label, cell in new.items() if label not in ours}
    specs = before.specs | requested.specs
    plan = requested.model_copy(update={"cells": tuple(cells.values()), "specs": specs})
    if plan.search is None or before.search is None:
        return plan
    if plan.search.warm_start != before.search.warm_start:
        return plan
    first = {"transferred": before.search.transferred}
    return plan.model_copy(update={"search": plan.search.model_copy(update=first)})


def mark(before: Plan | None, frozen: str | None, after: Plan, results: bool) -> str:
    """Mark of a changed plan; empty where no result was known when it changed.

    Args:
        before: The plan so far, if it can be read.
        frozen: The hash noted when the study was last planned.
        after: The plan from now on.
        results: Whether any trial of the study has a result.
    """
    if not results or frozen in (None, after.frozen):
        return ""
    if before is None:
        return f"{POST_HOC}: hypotheses, primary metric or seeds are not those first planned"
    marks = []
    if (before.hypotheses, before.primary) != (after.hypotheses, after.primary):
        marks.append(f"{POST_HOC}: {_redeclared(before, after)} changed after results")
    if before.search and after.search and before.search.lasting != after.search.lasting:
        marks.append(f"{POST_HOC}: what is searched, or how, was changed after results")
    ours = {cell.label: cell.trials for cell in before.cells}
    if any(ours.get(cell.label, cell.trials) != cell.trials for cell in after.cells):
        marks.append(f"{INTERIM_LOOK}: seeds were added after results")
    if any(cell.label not in ours for cell in after.cells):
        marks.append(f"{POST_HOC}: cells were added after results")
    return "; ".join(marks)


def declared_late(before: Plan | None, after: Plan) -> list[str]:
    """Names of hypotheses that were not planned before, word for word.

    Where the plan so far cannot be read, none can be shown to be.
    """
    known = before.hypotheses if before else ()
    return [hypothesis["name"] for hypothesis in after.hypotheses if hypothesis not in known]


def _redeclared(before: Plan, after: Plan) -> str:
    """Differences between the declarations of two plans, in words."""
    parts = []
    if late := declared_late(before, after):
        parts.append(f"declared or changed: {', '.join(late)}")
    names = {hypothesis["name"] for hypothesis in after.hypotheses}
    if gone := [h["name"] for h in before.hypotheses if h["name"] not in names]:
        parts.append(f"no longer declared: {', '.join(gone)}")
    if before.primary != after.primary:
        parts.append(f"primary metric: {before.primary}, now {after.primary}")
    return f"hypotheses, margins or the primary metric ({'; '.join(parts) or 'their order'})"


def _merged(cell: Cell, other: Cell, before: Plan, requested: Plan) -> Cell:
    """One cell with the trials of both."""
    trials: dict[int | None, PlannedTrial] = {trial.seed: trial for trial in cell.trials}
    for trial in other.trials:
        if trials.setdefault(trial.seed, trial).digest != trial.digest:
            changes = "\n  ".join(before.differences(requested)[:20])
            raise UserError(
                f"--extend adds cells and seeds, but cell {cell.label} is another experiment now:"
                f"\n  {changes}\nstart another study with --name"
            )
    ordered = sorted(trials.values(), key=lambda trial: -1 if trial.seed is None else trial.seed)
    return cell.model_copy(update={"trials": tuple(ordered)})
