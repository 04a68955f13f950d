"""Budgets of a search: what it has spent, when it ends, and what more trials would buy."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from study.search.history import EvaluatedCell, front, losses
from study.spaces.optimize import GENERATIONS, GENETIC, SearchPlan
from study.state.record import Moment

HOUR = 3600.0

OPENED = "opened"
"""First event of a driver."""

ENDS = ("launch", "end", "planning", "resumed", OPENED)
"""Events that imply the end of the previous launch; `resumed` occurs in journals from before
generations."""

LEAST = 8
"""Fewest feasible cells from which `more` extrapolates."""


@dataclass(frozen=True)
class Spent:
    """What a study has spent so far, over all launches.

    Attributes:
        wall: Seconds during which a driver ran.
        busy: Seconds summed over all trials, including lost ones.
        ended: Number of trials that have ended.
        workers: Number of trials that run at once.
        finished: Seconds summed over the trials that have ended.
        running: Seconds so far of each running trial.
    """

    wall: float = 0.0
    busy: float = 0.0
    ended: int = 0
    workers: int = 1
    finished: float = 0.0
    running: tuple[float, ...] = ()

    @property
    def each(self) -> float | None:
        """Mean seconds of a trial; None while none has ended."""
        return self.finished / self.ended if self.ended else None


def spent(times: Sequence[Moment]) -> Spent:
    """Sum up what the finished launches of a journal have spent.

    A driver that died counts up to its last event. Older journals note the time of day instead of a
    monotonic clock; where it goes backwards, that step is ignored.
    """
    wall = busy = now = finished = 0.0
    ended = 0
    began = last = None
    running: dict[str, float] = {}
    for kind, trial, stamp in [*times, Moment(OPENED, "", None)]:
        if began is not None and (kind == "end" or kind not in ENDS):
            if stamp is not None and last is not None:
                now += max(0.0, stamp - last)
            last = last if stamp is None else stamp
        if kind in ENDS:
            wall += 0.0 if began is None else now - began
            busy += sum(now - start for start in running.values())
            began, running = None, {}
        if kind == "launch":
            began, last = now, stamp
        elif kind == "running":
            running.setdefault(trial, now)
        elif kind in ("complete", "failed", "pruned") and trial in running:
            took = now - running.pop(trial)
            busy, finished, ended = busy + took, finished + took, ended + 1
    return Spent(wall, busy, ended, finished=finished)


class Clock:
    """Running total of what is spent while a launch goes on."""

    def __init__(self, before: Spent) -> None:
        """Go on from what earlier launches spent."""
        self.before = before
        self.workers = 1
        self.began: float | None = None
        self.busy, self.done = 0.0, 0
        self.running: dict[str, float] = {}

    @classmethod
    def after(cls, times: Sequence[Moment]) -> Clock:
        """Continue from what the journal records."""
        return cls(spent(times))

    def begin(self, workers: int) -> None:
        """Start the clock of a launch."""
        self.began, self.workers = time.monotonic(), workers

    def started(self, trial: str) -> None:
        """Note that a trial has started, or has restarted after its worker was lost."""
        self.running.setdefault(trial, time.monotonic())

    def ended(self, trial: str) -> None:
        """Note that a trial has ended."""
        if trial in self.running:
            self.busy += time.monotonic() - self.running.pop(trial)
            self.done += 1

    def spent(self) -> Spent:
        """Return what is spent up to now."""
        now = time.monotonic()
        wall = 0.0 if self.began is None else now - self.began
        running = tuple(now - start for start in self.running.values())
        return Spent(
            self.before.wall + wall,
            self.before.busy + self.busy + sum(running),
            self.before.ended + self.done,
            self.workers,
            self.before.finished + self.busy,
            running,
        )


def over(
    search: SearchPlan, proposed: int, history: Sequence[EvaluatedCell], now: Spent, running: int
) -> str:
    """Return why no further trial of the search starts; empty if one may.

    Args:
        search: The search with its budget.
        proposed: Number of search trials proposed so far.
        history: Cells so far.
        now: What is spent so far.
        running: Number of unfinished trials, including those waiting for a worker.
    """
    if proposed >= search.trials:
        return f"the budget of {search.trials} trials is spent"
    best = front(search, history)
    if search.target is not None and best:
        first = search.objectives[0]
        if first.sign * (best[0].values[0] - search.target) >= 0:
            return f"the target {first.metric} {search.target:g} is reached"
    duration = now.each or 0.0
    confirming = search.confirm.top * search.confirm.seeds * duration
    if search.hours is not None:
        needed = now.wall + duration + confirming / now.workers
        if needed > search.hours * HOUR:
            return f"the budget of {_hours(search.hours)} is spent{_budget_note(proposed)}"
    if search.accelerator_hours is not None:
        left = sum(max(0.0, duration - so_far) for so_far in now.running)
        waiting = (running - len(now.running)) * duration
        needed = now.busy + left + waiting + duration + confirming
        if needed > search.accelerator_hours * HOUR:
            hours = _hours(search.accelerator_hours)
            return f"the budget of {hours} of trials is spent{_budget_note(proposed)}"
    return ""


def _hours(hours: float) -> str:
    return f"{hours:g} hours" if hours >= 0.1 else f"{hours * HOUR:.3g} seconds"


def _budget_note(proposed: int) -> str:
    """Complete a message about a spent budget: it reserves time, or is too small for any trial."""
    if proposed:
        return ", what the next trial and the confirmation would take kept free"
    return ": it is smaller than one trial; `--dry-run` says what one takes"


def advice(search: SearchPlan) -> str:
    """Suggest a better choice of sampler or budget; empty if there is nothing to say."""
    cells = search.trials // search.seeds.first
    if search.sampler in GENETIC and cells < GENERATIONS * search.population:
        return (
            f"sampler {search.sampler}: {cells} cells are fewer than {GENERATIONS} generations of "
            f"{search.population}, and until then it hardly selects; random or quasi-random draws "
            "do as well: choose --sampler qmc or random, or more --trials"
        )
    return ""


def more(search: SearchPlan, history: Sequence[EvaluatedCell]) -> str:
    """Describe what twice as many cells would buy; empty where that cannot be said.

    By order statistics: what the best of half and of a quarter of the cells would have been on
    average gives the gains of the last two doublings. The next gain is extrapolated at their ratio,
    but never above the last.
    """
    known = [cell for cell in history if cell.feasible]
    if len(search.objectives) != 1 or len(known) < LEAST:
        return ""
    values = sorted((-loss for loss in losses(search, known)[:, 0].tolist()), reverse=True)
    n = len(values)
    quarter, half, whole = (expected_best(values, k) for k in (n // 4, n // 2, n))
    last, before = whole - half, half - quarter
    gain = last * min(1.0, last / before) if before > 0 else 0.0
    sign = search.objectives[0].sign
    return (
        f"Half of these {n} cells would have reached {search.objectives[0].metric} "
        f"{sign * half:.4g} on average, all reached {sign * whole:.4g}; twice as many may be "
        f"expected to reach about {sign * (whole + gain):.4g} (by order statistics; more seeds of "
        "the best would say how much of that is chance)."
    )


def expected_best(values: Sequence[float], k: int) -> float:
    """Average the best of k over all ways to choose k of these values (sorted, best first)."""
    n = len(values)
    ways = math.comb(n, k)
    return sum(v * math.comb(n - 1 - i, k - 1) / ways for i, v in enumerate(values) if n - i >= k)
