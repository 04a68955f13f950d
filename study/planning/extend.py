"""Extend a plan by cells and seeds, and mark what was changed after results existed (law 6)."""

from __future__ import annotations

from study.state.plan import Cell, Plan, PlannedTrial
from trainables.errors import UserError

POST_HOC = "post hoc"
INTERIM_LOOK = "interim look"


def extended(before: Plan, requested: Plan) -> Plan:
    """Add the cells and seeds of `requested` to the plan `before`; remove none.

    Raises:
        UserError: A cell and seed of both plans have different specs.
    """
    known = {cell.label: cell for cell in before.cells}
    new = {cell.label: cell for cell in requested.cells}
    cells = {
        label: _merged(cell, new[label], before, requested) if label in new else cell
        for label, cell in known.items()
    }
    cells |= {label: cell for label, cell in new.items() if label not in known}
    specs = before.specs | requested.specs
    plan = requested.model_copy(update={"cells": tuple(cells.values()), "specs": specs})
    if plan.search is None or before.search is None:
        return plan
    if plan.search.warm_start != before.search.warm_start:
        return plan
    first = {"transferred": before.search.transferred}
    return plan.model_copy(update={"search": plan.search.model_copy(update=first)})


def mark(before: Plan | None, frozen: str | None, after: Plan, results: bool) -> str:
    """Describe what a plan changed after results existed; empty if nothing.

    Args:
        before: The plan so far; None if it cannot be read.
        frozen: Hash noted when the study was last planned; None if it never was.
        after: The new plan.
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
    planned = {cell.label: cell.trials for cell in before.cells}
    if any(planned.get(cell.label, cell.trials) != cell.trials for cell in after.cells):
        marks.append(f"{INTERIM_LOOK}: seeds were added after results")
    if any(cell.label not in planned for cell in after.cells):
        marks.append(f"{POST_HOC}: cells were added after results")
    return "; ".join(marks)


def declared_late(before: Plan | None, after: Plan) -> list[str]:
    """List the hypotheses of `after` that `before` does not declare word for word, by name.

    If `before` cannot be read, all of them count as late.
    """
    known = before.hypotheses if before else ()
    return [hypothesis["name"] for hypothesis in after.hypotheses if hypothesis not in known]


def _redeclared(before: Plan, after: Plan) -> str:
    """Describe how the declarations of two plans differ."""
    parts = []
    if late := declared_late(before, after):
        parts.append(f"declared or changed: {', '.join(late)}")
    names = {hypothesis["name"] for hypothesis in after.hypotheses}
    if gone := [h["name"] for h in before.hypotheses if h["name"] not in names]:
        parts.append(f"no longer declared: {', '.join(gone)}")
    if before.primary != after.primary:
        parts.append(f"primary metric: {before.primary}, now {after.primary}")
    return f"hypotheses, margins or the primary metric ({'; '.join(parts) or 'their order'})"


def _merged(cell: Cell, addition: Cell, before: Plan, requested: Plan) -> Cell:
    """Merge the trials of a cell of both plans, ordered by seed."""
    trials: dict[int | None, PlannedTrial] = {trial.seed: trial for trial in cell.trials}
    for trial in addition.trials:
        if trials.setdefault(trial.seed, trial).digest != trial.digest:
            changes = "\n  ".join(before.differences(requested)[:20])
            raise UserError(
                f"--extend adds cells and seeds, but cell {cell.label} is another experiment now:"
                f"\n  {changes}\nstart another study with --name"
            )
    ordered = sorted(trials.values(), key=lambda trial: -1 if trial.seed is None else trial.seed)
    return cell.model_copy(update={"trials": tuple(ordered)})
