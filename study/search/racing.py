"""Which cell gets another seed: contenders are looked at more closely, others are not."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from study.search.history import STARTUP, Tried, front, losses, named
from study.spaces.optimize import SearchPlan

NARROW = 1.0
"""Standard errors that a cell's mean is granted when it is asked whether it may be the best."""


def next_seed(
    search: SearchPlan, history: Sequence[Tried], asked: Mapping[str, int]
) -> Tried | None:
    """The cell that gets another seed before a new one is tried; None for a new cell.

    A cell that has fewer than `first` gets the others at once. Then, with a third of the trials at
    most, a contender gets one more, up to `most`: of one objective the cell that may be the best
    by the seeds' spread, with the fewest seeds; of several, a cell of the front.

    Args:
        search: How many seeds cells get.
        history: Cells so far.
        asked: Trials of the search asked for so far, by the cell's name.
    """
    healthy = [cell for cell in history if cell.state in ("complete", "running")]
    for cell in healthy:
        if asked[named(cell.params)] < search.seeds.first:
            return cell
    further = sum(max(0, n - search.seeds.first) for n in asked.values())
    complete = [cell for cell in history if cell.state == "complete"]
    if len(complete) < STARTUP or 2 * further >= len(complete):
        return None
    may = _contenders(search, complete)
    waiting = [cell for cell in may if asked[named(cell.params)] < search.seeds.most]
    return min(waiting, key=lambda cell: asked[named(cell.params)], default=None)


def _contenders(search: SearchPlan, complete: Sequence[Tried]) -> list[Tried]:
    """Cells that may be the best, those ahead first."""
    kept = [cell for cell in complete if cell.feasible]
    if len(search.objectives) > 1 or not kept:
        return front(search, kept)
    spreads = [cell.spread for cell in kept if cell.spread is not None]
    by_loss = sorted(zip(losses(search, kept)[:, 0].tolist(), range(len(kept)), strict=True))
    if not spreads:
        return [kept[by_loss[0][1]]]
    spread = math.sqrt(statistics.fmean(x * x for x in spreads))
    least, best = by_loss[0]
    allowed = NARROW * spread / math.sqrt(kept[best].seeds)
    return [kept[i] for loss, i in by_loss if loss - least <= allowed + _error(spread, kept[i])]


def _error(spread: float, cell: Tried) -> float:
    return NARROW * spread / math.sqrt(cell.seeds)
