"""Propose the next trial of a search: warm starts, seeds, new cells, confirmation."""

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
"""Complete trials after which a search ends if all lack the same objective or constraint."""

PREVIEWED = 100
"""Most cells of a preview; further ones are assumed to cost as much per trial."""

NARROW = 1.0
"""Standard errors of both means by which a cell may trail the best and still be a contender."""


@dataclass(frozen=True)
class Observations:
    """Outcomes of the trials so far.

    Attributes:
        results: Committed results by digest.
        ended: Digest to `failed` or `pruned`, for trials that ended without a result.
        reached: Values of pruned trials by examples seen.
        spent: What all launches have spent.
    """

    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)
    reached: Reached = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)


@dataclass(frozen=True)
class Waiting:
    """State in which the next proposal depends on trials that are still running."""


@dataclass(frozen=True)
class Over:
    """End of a search.

    Attributes:
        reason: Why it ended, as a message.
    """

    reason: str


class Search:
    """Search that proposes one trial at a time; its only state is the plan and the results.

    Attributes:
        search: The search's ranges and options.
        points: Makes specs of points.
        warm: Returns points and seeds of other studies' trials that are also trials of this search.
    """

    def __init__(
        self,
        search: SearchPlan,
        points: Points,
        warm: Callable[[], Sequence[tuple[Point, int]]] = tuple,
    ) -> None:
        """Keep what proposals are made from."""
        self.search = search
        self.points = points
        self.warm = warm

    def next(self, plan: Plan, observed: Observations) -> ProposedTrial | Waiting | Over:
        """Return the next proposal.

        Args:
            plan: Plan with all proposals so far.
            observed: Outcomes of its trials.
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
        """Return the next trial that another study has run; None once anything was searched."""
        phases = Counter(t.phase for cell in plan.cells for t in cell.trials)
        if phases["search"] or phases["confirm"]:
            return None
        for point, seed in self.warm():
            spec = self.points.spec(point, seed)
            if spec.digest not in plan.specs:
                return self._trial(plan, "warm", point, seed, None)
        return None

    def _further(self, plan: Plan, history: Sequence[EvaluatedCell]) -> ProposedTrial | None:
        """Propose another seed of a cell, or a new cell; None if nothing is left to try."""
        counts = {
            named(cell.params): _used_seeds(cell, self.search.seeds.most)
            for cell in plan.cells
            if cell.proposal is not None
        }
        again = next_seed(self.search, history, counts)
        if again is not None:
            used = _seeds(plan, again.params)
            seed = next(s for s in range(self.search.seeds.most) if s not in used)
            return self._trial(plan, "search", again.params, seed, again.generation)
        planned = plan.specs.keys()

        def taken(point: Point) -> bool:
            return bool(self.points.why_not(point)) or self.points.spec(point, 0).digest in planned

        suggestion = suggest(self.search, history, _cell_count(plan), taken)
        if suggestion is None:
            return None
        return self._trial(plan, "search", suggestion.params, 0, suggestion.generation)

    def _confirming(self, plan: Plan, history: Sequence[EvaluatedCell]) -> ProposedTrial | None:
        """Propose a winner's next fresh seed; None once all winners have theirs."""
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
        proposals = (c.proposal for c in plan.cells if c.proposal is not None and c.params == point)
        proposal = next(proposals, None) or Proposal(
            number=_cell_count(plan), generation=generation, known=self.points.known(point)
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
        """Explain why this study's results cannot guide the search; empty if they can."""
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


def _cell_count(plan: Plan) -> int:
    """Count the cells proposed so far."""
    return sum(cell.proposal is not None for cell in plan.cells)


def _used_seeds(cell: Cell, most: int) -> int:
    """Count a cell's seeds that are used up for the search.

    These include seeds that confirmed the cell before the search was allowed more seeds.
    """
    taken = {trial.seed for trial in cell.trials if trial.seed in range(most)}
    return max(len(searching(cell)), len(taken))


def _seeds(plan: Plan, params: Mapping[str, Any]) -> set[int | None]:
    """Return the seeds of a cell that were proposed."""
    cells = (cell for cell in plan.cells if cell.proposal is not None and cell.params == params)
    return {trial.seed for cell in cells for trial in cell.trials}


def refuse_impossible(points: Points) -> None:
    """Refuse a search none of whose points can be run.

    Raises:
        UserError: No point can be run; tells why the first one cannot.
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
    """Create the source of specs for a search.

    Args:
        search: The search.
        primary: The study's primary metric.
        data_dir: Folder of the source's own files.
        places: Digest to folder; entries for the specs are added.
        execution: Execution of every trial.
        tolerant: As for `Resolver`.
    """
    estimator = None
    if asks_cost(search):
        from study.cost.trial import Estimator  # imports transformers

        estimator = Estimator(places, execution, None)
    names = trained_on(search.base["train"], search.ranges)
    return Points(search, Resolver(data_dir, primary, tolerant, names, places), estimator)


def start(points: Points, root: AnyPath) -> Search:
    """Create a search that warm-starts from other studies under the root."""
    return Search(points.search, points, lru_cache(maxsize=1)(lambda: warm_trials(points, root)))


def preview(plan: Plan, points: Points) -> Plan:
    """Add trials like those that the search will propose, to estimate their cost."""
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
    """Choose the cell that gets another seed; None if a new cell is to be tried.

    A cell with fewer than `first` seeds gets the others at once. Further seeds, up to `most`, are
    at most a third of the trials. They go to the contender with the fewest seeds: with one
    objective any cell that may be the best given the spread over seeds, with several the front.

    Args:
        search: The search, with the numbers of seeds.
        history: Cells so far.
        counts: Seeds used so far, by the cell's key.
    """
    healthy = [cell for cell in history if cell.state in ("complete", "running")]
    for cell in healthy:
        if counts[named(cell.params)] < search.seeds.first:
            return cell
    further = sum(max(0, n - search.seeds.first) for n in counts.values())
    complete = [cell for cell in history if cell.state == "complete"]
    if len(complete) < STARTUP or 2 * further >= len(complete):
        return None
    contenders = _contenders(search, complete)
    waiting = [cell for cell in contenders if counts[named(cell.params)] < search.seeds.most]
    return min(waiting, key=lambda cell: counts[named(cell.params)], default=None)


def _contenders(search: SearchPlan, complete: Sequence[EvaluatedCell]) -> list[EvaluatedCell]:
    """Return cells that may be the best, best first."""
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
