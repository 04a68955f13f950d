"""The next proposal of a search: warm starts, seeds, new cells, confirmation."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from study.search.budget import Spent, over
from study.search.history import (
    STARTUP,
    EvaluatedCell,
    Reached,
    front,
    history_of,
    losses,
    named,
    searching,
)
from study.search.points import Points, asks_cost
from study.search.suggest import suggest
from study.search.warm_start import warm_trials
from study.spaces.optimize import SearchPlan
from study.spaces.ranges import Point
from study.spaces.resolve import Resolver, trained_on
from study.state.plan import Cell, Plan
from study.state.proposals import Phase, Proposal, ProposedTrial
from trainables.errors import UserError
from trainables.spec import Execution
from trainables.storage.paths import AnyPath

BLIND = 3
"""Complete trials without the objective after which a search is pointless."""

PREVIEWED = 100
"""Cells of a preview; a search of more is said to cost as much a trial."""

NARROW = 1.0
"""Standard errors that a cell's mean is granted when it is asked whether it may be the best."""


@dataclass(frozen=True)
class Observations:
    """What became of the trials so far.

    Attributes:
        results: Committed ones, by digest.
        ended: Digest to `failed` or `pruned`, of trials that ended without a result.
        reached: Of pruned trials, value by examples seen.
        spent: Over all launches.
    """

    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)
    reached: Reached = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)


@dataclass(frozen=True)
class Waiting:
    """What comes next depends on trials that are running."""


@dataclass(frozen=True)
class Over:
    """Nothing comes next, and why."""

    reason: str


class Search:
    """Asks for one trial at a time; keeps nothing that the plan and the results do not say.

    Attributes:
        search: What is searched, and how.
        points: Makes specs of points.
        warm: Gives trials of other studies that are this one's own, as point and seed.
    """

    def __init__(
        self,
        search: SearchPlan,
        points: Points,
        warm: Callable[[], Sequence[tuple[Point, int]]] = tuple,
    ) -> None:
        """Keep what cells are made with."""
        self.search = search
        self.points = points
        self.warm = warm

    def next(self, plan: Plan, observed: Observations) -> ProposedTrial | Waiting | Over:
        """The next trial.

        Args:
            plan: With all trials asked for so far.
            observed: What became of them.
        """
        history = history_of(plan, observed.results, observed.ended, observed.reached)
        if (trial := self._warm(plan)) is not None:
            return trial
        running = [
            trial
            for cell in plan.cells
            if cell.proposal
            for trial in searching(cell)
            if trial.digest not in observed.results and trial.digest not in observed.ended
        ]
        proposed = sum(t.phase == "search" for cell in plan.cells for t in cell.trials)
        reason = self._blind(plan, observed) or over(
            self.search, proposed, history, observed.spent, len(running)
        )
        if not reason:
            trial = self._further(plan, history)
            if trial is not None:
                return trial
            reason = self._exhausted(history)
        if running:
            return Waiting()
        return self._confirming(plan, history) or Over(reason)

    def _warm(self, plan: Plan) -> ProposedTrial | None:
        """The next trial that another study has run; only before anything is searched."""
        phases = Counter(t.phase for cell in plan.cells for t in cell.trials)
        if phases["search"] or phases["confirm"]:
            return None
        for point, seed in self.warm():
            spec = self.points.spec(point, seed)
            if spec.digest not in plan.specs:
                return self._trial(plan, "warm", point, seed, None)
        return None

    def _further(self, plan: Plan, history: Sequence[EvaluatedCell]) -> ProposedTrial | None:
        """Another seed of a cell, or the first one of a new cell; None where there is no more."""
        counts = {
            named(cell.params): _looks(cell, self.search.seeds.most)
            for cell in plan.cells
            if cell.proposal is not None
        }
        again = next_seed(self.search, history, counts)
        if again is not None:
            used = _seeds(plan, again.params)
            seed = next(s for s in range(self.search.seeds.most) if s not in used)
            return self._trial(plan, "search", again.params, seed, again.generation)
        held = plan.specs.keys()

        def taken(point: Point) -> bool:
            return bool(self.points.why_not(point)) or self.points.spec(point, 0).digest in held

        suggestion = suggest(self.search, history, _cells(plan), taken)
        if suggestion is None:
            return None
        return self._trial(plan, "search", suggestion.params, 0, suggestion.generation)

    def _confirming(self, plan: Plan, history: Sequence[EvaluatedCell]) -> ProposedTrial | None:
        """The next fresh seed of a winner; None once all of them have theirs."""
        most, confirm = self.search.seeds.most, self.search.confirm
        for winner in front(self.search, history)[: confirm.top]:
            used = _seeds(plan, winner.params)
            for seed in range(most, most + confirm.seeds):
                if seed not in used:
                    return self._trial(plan, "confirm", winner.params, seed, winner.generation)
        return None

    def _trial(
        self, plan: Plan, phase: Phase, point: Point, seed: int, generation: int | None
    ) -> ProposedTrial:
        spec = self.points.spec(point, seed)
        mine = (c.proposal for c in plan.cells if c.proposal is not None and c.params == point)
        proposal = next(mine, None) or Proposal(
            number=_cells(plan), generation=generation, known=self.points.known(point)
        )
        number = sum(len(cell.trials) for cell in plan.cells if cell.proposal is not None)
        return ProposedTrial(
            number=number,
            phase=phase,
            params=point,
            proposal=proposal,
            seed=spec.seed,
            digest=spec.digest,
            spec=spec,
        )

    def _blind(self, plan: Plan, observed: Observations) -> str:
        """Why nothing can be learnt from this study's results; empty where something can."""
        metrics = {o.metric for o in self.search.objectives}
        metrics |= {c.metric for c in self.search.constraints}
        metrics = {metric for metric in metrics if not metric.startswith("cost/")}
        known = [
            observed.results[trial.digest]["validation"]
            for cell in plan.cells
            if cell.proposal is not None
            for trial in searching(cell)
            if trial.digest in observed.results
        ]
        lacking = sorted(m for m in metrics if not any(m in validation for validation in known))
        if len(known) < BLIND or not lacking:
            return ""
        has = ", ".join(sorted(known[0])[:12]) or "nothing"
        return (
            f"{', '.join(lacking)} is in none of {len(known)} results on the validation benchmark, "
            f"which has {has}; name one of those in optimize.objectives and constraints"
        )

    def _exhausted(self, history: Sequence[EvaluatedCell]) -> str:
        refused = self.points.refused
        if refused:
            reasons = Counter(refused.values())
            why, count = reasons.most_common(1)[0]
            return (
                f"every point that may be run has been tried ({len(history)}); {len(refused)} "
                f"were refused, {count} of them because: {why}"
            )
        return f"every point of the space has been tried ({len(history)})"


def _cells(plan: Plan) -> int:
    """Cells that were asked for so far."""
    return sum(cell.proposal is not None for cell in plan.cells)


def _looks(cell: Cell, most: int) -> int:
    """Trials of a cell that count as its seeds.

    Seeds that confirmed it before the search was given more of them are no longer free.
    """
    taken = {trial.seed for trial in cell.trials if trial.seed in range(most)}
    return max(len(searching(cell)), len(taken))


def _seeds(plan: Plan, params: Mapping[str, Any]) -> set[int | None]:
    """Seeds that a cell has been asked for with."""
    cells = (cell for cell in plan.cells if cell.proposal is not None and cell.params == params)
    return {trial.seed for cell in cells for trial in cell.trials}


def refuse_impossible(points: Points) -> None:
    """Refuse a search that none of whose points may be run.

    Raises:
        UserError: With the reason of the first one.
    """
    if suggest(points.search, [], 0, lambda point: bool(points.why_not(point))) is None:
        why = next(iter(points.refused.values()), "there is none")
        raise UserError(f"optimize: no point of the space may be run; the first one {why}")


def points_of(
    search: SearchPlan,
    primary: str,
    data_dir: Path | None,
    places: dict[str, str],
    execution: Execution,
    *,
    tolerant: bool = False,
) -> Points:
    """What makes specs of a search's points.

    Args:
        search: What is searched.
        primary: The study's primary metric.
        data_dir: Folder of the source's own files.
        places: Digest to folder; what specs name is added.
        execution: Of every trial.
        tolerant: As of `Resolver`.
    """
    estimator = None
    if asks_cost(search):
        from study.cost.trial import Estimator  # imports transformers

        estimator = Estimator(places, execution, None)
    names = trained_on(search.base["train"], search.ranges)
    return Points(search, Resolver(data_dir, primary, tolerant, names, places), estimator)


def start(points: Points, root: AnyPath) -> Search:
    """A search that warms up on other studies of the root."""
    return Search(points.search, points, lru_cache(maxsize=1)(lambda: warm_trials(points, root)))


def preview(plan: Plan, points: Points) -> Plan:
    """The plan with trials like those that the search will ask for, to estimate what they take."""
    assert plan.search is not None
    search = plan.search.model_copy(update={"sampler": "qmc"})
    seeds, confirm = search.seeds, search.confirm
    cells = min(PREVIEWED, max(1, search.trials // seeds.first))
    trials: list[ProposedTrial] = []
    for number in range(cells):
        suggestion = suggest(search, [], number, lambda point: bool(points.why_not(point)))
        if suggestion is None:
            break
        fresh = range(seeds.most, seeds.most + confirm.seeds) if number < confirm.top else ()
        for seed in (*range(seeds.first), *fresh):
            spec = points.spec(suggestion.params, seed)
            trials.append(
                ProposedTrial(
                    number=len(trials),
                    phase="search",
                    params=suggestion.params,
                    proposal=Proposal(number=number),
                    seed=spec.seed,
                    digest=spec.digest,
                    spec=spec,
                )
            )
    return plan.joined(trials)


def next_seed(
    search: SearchPlan, history: Sequence[EvaluatedCell], counts: Mapping[str, int]
) -> EvaluatedCell | None:
    """The cell that gets another seed before a new one is tried; None for a new cell.

    A cell that has fewer than `first` gets the others at once. Then, with a third of the trials at
    most, a contender gets one more, up to `most`: of one objective the cell that may be the best
    by the seeds' spread, with the fewest seeds; of several, a cell of the front.

    Args:
        search: How many seeds cells get.
        history: Cells so far.
        counts: Trials of the search asked for so far, by the cell's name.
    """
    healthy = [cell for cell in history if cell.state in ("complete", "running")]
    for cell in healthy:
        if counts[named(cell.params)] < search.seeds.first:
            return cell
    further = sum(max(0, n - search.seeds.first) for n in counts.values())
    complete = [cell for cell in history if cell.state == "complete"]
    if len(complete) < STARTUP or 2 * further >= len(complete):
        return None
    may = _contenders(search, complete)
    waiting = [cell for cell in may if counts[named(cell.params)] < search.seeds.most]
    return min(waiting, key=lambda cell: counts[named(cell.params)], default=None)


def _contenders(search: SearchPlan, complete: Sequence[EvaluatedCell]) -> list[EvaluatedCell]:
    """Cells that may be the best, those ahead first."""
    eligible = [cell for cell in complete if cell.feasible]
    if len(search.objectives) > 1 or not eligible:
        return front(search, eligible)
    spreads = [cell.spread for cell in eligible if cell.spread is not None]
    by_loss = sorted(
        zip(losses(search, eligible)[:, 0].tolist(), range(len(eligible)), strict=True)
    )
    if not spreads:
        return [eligible[by_loss[0][1]]]
    spread = math.sqrt(statistics.fmean(x * x for x in spreads))
    least, best = by_loss[0]
    allowed = NARROW * spread / math.sqrt(eligible[best].seeds)
    return [
        eligible[i] for loss, i in by_loss if loss - least <= allowed + _error(spread, eligible[i])
    ]


def _error(spread: float, cell: EvaluatedCell) -> float:
    return NARROW * spread / math.sqrt(cell.seeds)
