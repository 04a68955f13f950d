"""Warm-start a search from earlier studies under the same root."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from study.search.history import named, values_of
from study.search.points import Points
from study.spaces.optimize import SearchPlan
from study.spaces.ranges import Point, fits, strip
from study.state.committed import committed_results
from study.state.plan import Cell, Plan
from study.state.study_folder import StudyFolder, study_names
from trainables.errors import UserError
from trainables.storage.paths import AnyPath

TRANSFERRED = 3
"""Number of best cells of other experiments that are tried first."""


def warm_trials(points: Points, root: AnyPath) -> list[tuple[Point, int]]:
    """Find committed trials of the named studies that by digest are trials of this search too.

    Returns:
        Point and seed of each.

    Raises:
        UserError: A named study does not exist.
    """
    search, shared = points.search, {}
    for plan in _plans(search, root):
        for cell in plan.cells:
            point = point_of(search, plan, cell)
            if point is None or not cell.is_arm:
                continue
            for trial in cell.trials:
                if (
                    trial.seed is not None
                    and trial.seed < search.seeds.most
                    and _is_same_trial(points, point, trial.seed, trial.digest)
                ):
                    shared[trial.digest] = (point, trial.seed)
    known = committed_results(root, shared)
    return [shared[digest] for digest in shared if digest in known]


def transferred(search: SearchPlan, root: AnyPath) -> tuple[Point, ...]:
    """Return the best cells of the named studies that are points of this space, to be tried first.

    Only their settings are taken over: values measured on other data or steps do not apply here.

    Raises:
        UserError: A named study does not exist.
    """
    scored: dict[str, tuple[float, Point]] = {}
    first = search.objectives[0]
    for plan in _plans(search, root):
        results = committed_results(root, plan.specs)
        for cell in plan.cells:
            point = point_of(search, plan, cell)
            value = _mean(search, cell, results)
            if point is None or value is None or not cell.is_arm:
                continue
            score = first.sign * value
            if score > scored.get(named(point), (-float("inf"), point))[0]:
                scored[named(point)] = (score, point)
    ranked = sorted(scored.items(), key=lambda item: (-item[1][0], item[0]))
    return tuple(point for _, (_, point) in ranked[:TRANSFERRED])


def point_of(search: SearchPlan, plan: Plan, cell: Cell) -> Point | None:
    """Convert a cell of another study to a point of this space; None if it lies outside."""
    base = plan.search.base if plan.search is not None else {}
    first = plan.specs[cell.trials[0].digest] if cell.trials else None
    named_encoder = {"encoder": first.encoder.name} if first is not None else {}
    values = named_encoder | base | plan.settings | cell.params
    point = strip(search.ranges, values)
    return point if fits(search.ranges, point) else None


def _is_same_trial(points: Points, point: Point, seed: int, digest: str) -> bool:
    try:
        return points.spec(point, seed).digest == digest
    except UserError:
        return False


def _mean(search: SearchPlan, cell: Cell, results: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Average the first objective over a cell's seeds without confirmations; None if absent."""
    metric: Sequence[str] = [search.objectives[0].metric]
    known = cell.proposal.known if cell.proposal else {}
    rows = [
        values_of(metric, results[trial.digest]["validation"], known)
        for trial in cell.trials
        if trial.digest in results and trial.phase != "confirm"
    ]
    values = [row[0] for row in rows if row is not None]
    return statistics.fmean(values) if values else None


def _plans(search: SearchPlan, root: AnyPath) -> list[Plan]:
    plans = []
    for name in search.warm_start:
        plan = StudyFolder.of(root, name).plan()
        if plan is None:
            known = ", ".join(study_names(root)) or "none yet"
            raise UserError(
                f"optimize.warm_start: no study {name!r} under {root}; there is {known}"
            )
        plans.append(plan)
    return plans
