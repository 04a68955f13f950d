"""What came of a search, in words; figures of the test only where they did not choose."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from study.plan import Cell, Plan, label_of
from study.search.budget import more
from study.search.history import Tried, front
from study.search.seen import history_of
from study.spaces.optimize import SearchPlan

SHOWN = 5
"""Cells of a front that are named; the report has all."""


def outcome(
    plan: Plan,
    history: Sequence[Tried],
    results: Mapping[str, Mapping[str, Any]],
    reason: str,
) -> Iterator[str]:
    """Why a search ended, what it found, and what more would buy.

    Args:
        plan: With all that was asked for.
        history: Cells as the search sees them.
        results: Committed ones, by digest.
        reason: Why it ended; empty where it was interrupted.
    """
    search = plan.search
    assert search is not None
    states = [cell.state for cell in history]
    counts = [f"{states.count(s)} {s}" for s in ("complete", "pruned", "failed") if s in states]
    yield (
        f"Search by {search.sampler}: {len(history)} cells ({', '.join(counts) or 'none run'})"
        f"{'; ' + reason if reason else ''}."
    )
    yield from _found(plan, search, history, results)
    if text := more(search, history):
        yield text


def _found(
    plan: Plan,
    search: SearchPlan,
    history: Sequence[Tried],
    results: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    names = ", ".join(objective.metric for objective in search.objectives)
    complete = [cell for cell in history if cell.state == "complete"]
    if not complete:
        if history:
            yield f"No cell has {names} as finite numbers on the validation benchmark: no best one."
        return
    best = front(search, history)
    if not best:
        nearest = min(complete, key=lambda cell: cell.missed)
        limits = " and ".join(map(str, search.constraints))
        yield (
            f"No cell keeps to {limits}; {label_of(nearest.params)} misses it least, by "
            f"{nearest.missed:.4g}. There is no best one, and nothing was confirmed."
        )
        return
    if len(complete) > 1 and len({cell.values for cell in complete}) == 1:
        yield (
            f"All {len(complete)} cells have the same {names}: the search could not tell them "
            "apart, and the first of them stands for the best."
        )
    what = "Best cell" if len(search.objectives) == 1 else "Front"
    for cell in best[: 1 if what == "Best cell" else SHOWN]:
        shown = ", ".join(
            f"{objective.metric} {value:.4g}"
            for objective, value in zip(search.objectives, cell.values, strict=True)
        )
        seeds = f"{cell.seeds} seed{'s' if cell.seeds > 1 else ''}"
        yield f"{what}, by the validation benchmark: {label_of(cell.params)} ({shown}; {seeds})."
    if len(search.objectives) > 1 and len(best) > SHOWN:
        yield f"{len(best) - SHOWN} more cells are on the front."
    for planned in plan.cells:
        yield from _confirmed(plan, planned, results)


def _confirmed(plan: Plan, cell: Cell, results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    trials = [t for t in cell.trials if t.phase == "confirm" and t.digest in results]
    values = [results[trial.digest]["metrics"].get(plan.primary) for trial in trials]
    known = [value for value in values if value is not None]
    if known:
        spread = f" ± {statistics.stdev(known):.4f}" if len(known) > 1 else ""
        yield (
            f"Confirmed on {len(known)} fresh seeds, which did not choose it: {cell.label}, "
            f"{plan.primary} {statistics.fmean(known):.4f}{spread} on the test benchmark."
        )


def best_found(
    plan: Plan, results: Mapping[str, Mapping[str, Any]], pruned: Iterable[str]
) -> dict[str, Any] | None:
    """The best cell that keeps to the constraints; of several objectives, by the first of them.

    A cell with a pruned trial is passed over, as by `best_cell`.

    Args:
        plan: With all that was asked for.
        results: Committed ones, by digest.
        pruned: Digests of trials that were stopped early.
    """
    search = plan.search
    assert search is not None
    best = front(search, history_of(plan, results, dict.fromkeys(pruned, "pruned")))
    if not best:
        return None
    metric = f"validation/{search.objectives[0].metric}"
    return {"params": best[0].params, "metric": metric, "value": best[0].values[0]}
