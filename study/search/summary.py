"""What a search found, trial by trial and cell by cell: what its report is made from.

Values are of the validation benchmark (law 5). A pruned or failed trial is in its own list and in
nothing else; trials that confirm a winner on fresh seeds are no part of the search either.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from study.search.budget import more
from study.search.history import EvaluatedCell, front, history_of, named, values_of
from study.spaces.optimize import SearchPlan
from study.spaces.ranges import Point
from study.state.plan import Cell, Plan, label_of
from study.state.proposals import Phase, ProposedTrial
from study.state.rungs import Rung

State = Literal["planned", "running", "complete", "pruned", "failed"]

SHOWN = 5
"""Cells of a front that are named; the report has all."""


@dataclass(frozen=True)
class TrialOutcome:
    """A trial of a search.

    Attributes:
        digest: Its name.
        params: Settings of its cell.
        seed: Of the trial.
        state: What became of it.
        values: Each objective, where it is complete and has them all.
        limited: Each constraint's metric, likewise.
        examples: Trained on, up to where it was stopped; none of a failed trial are known.
        phase: Why it was asked for; `confirm` are a winner's fresh seeds.
        reason: Why it was pruned or failed.
    """

    digest: str
    params: Point
    seed: int | None
    state: State
    values: tuple[float, ...] = ()
    limited: tuple[float, ...] = ()
    examples: float = 0.0
    phase: Phase = "search"
    reason: str = ""

    @property
    def confirms(self) -> bool:
        """Whether it chose nothing."""
        return self.phase == "confirm"


def outcomes_of(
    search: SearchPlan,
    proposals: Iterable[ProposedTrial],
    results: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
    pruned: Mapping[str, Rung],
) -> tuple[TrialOutcome, ...]:
    """What became of the trials that a search asked for, in that order.

    Args:
        search: What it wanted.
        proposals: Trials, as the study folder has them.
        results: Committed ones, by digest.
        failures: Why others failed.
        pruned: Where others were stopped.
    """
    return tuple(_visit(search, trial, results, failures, pruned) for trial in proposals)


def _visit(
    search: SearchPlan,
    trial: ProposedTrial,
    results: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
    pruned: Mapping[str, Rung],
) -> TrialOutcome:
    digest, spec = trial.digest, trial.spec
    state: State = "planned"
    values: tuple[float, ...] = ()
    limited: tuple[float, ...] = ()
    examples, reason = float(spec.steps * (spec.batch_size or 0)), ""
    if digest in results:
        state, validation = "complete", results[digest]["validation"]
        targets = [o.metric for o in search.objectives]
        metrics = targets + [c.metric for c in search.constraints]
        numbers = values_of(metrics, validation, trial.proposal.known) or ()
        values, limited = numbers[: len(targets)], numbers[len(targets) :]
    elif digest in pruned:
        rung = pruned[digest]
        state, examples, reason = "pruned", float(rung.examples), rung.why
    elif digest in failures:
        state, examples, reason = "failed", 0.0, failures[digest]
    else:
        examples = 0.0
    if trial.phase == "warm":
        examples = 0.0  # another study's, which costs this one nothing
    return TrialOutcome(
        digest, trial.params, trial.seed, state, values, limited, examples, trial.phase, reason
    )


@dataclass(frozen=True)
class Best:
    """The best cell when so much had been spent.

    Attributes:
        trials: Trials of the search that had been asked for.
        examples: Trained on by all of them.
        value: Mean over seeds of the first objective of the best cell; None before the first
            cell that keeps to every constraint.
    """

    trials: int
    examples: float
    value: float | None


@dataclass(frozen=True)
class CellSummary:
    """A cell with complete trials of the search.

    Attributes:
        number: From 1, in the order in which cells were asked for.
        params: Its settings.
        means: Of each objective over its seeds.
        deviations: Likewise; None below two seeds.
        seeds: How many.
        violations: By how much the mean misses each constraint; at most 0 where it does not.
    """

    number: int
    params: Point
    means: tuple[float, ...]
    deviations: tuple[float | None, ...]
    seeds: int
    violations: tuple[float, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether it keeps to every constraint."""
        return all(by <= 0 for by in self.violations)


def cells_of(search: SearchPlan, visits: Iterable[TrialOutcome]) -> list[CellSummary]:
    """Every cell that has a complete trial of the search and no pruned one, by its seeds."""
    gathered = _Cells(search)
    for visit in visits:
        gathered.add(visit)
    return sorted(gathered.cells.values(), key=lambda cell: cell.number)


class _Cells:
    """Cells as their trials come in."""

    def __init__(self, search: SearchPlan) -> None:
        self.search = search
        self.cells: dict[str, CellSummary] = {}
        self.trials: dict[str, list[TrialOutcome]] = {}
        self.pruned: set[str] = set()

    def add(self, visit: TrialOutcome) -> None:
        if visit.confirms:
            return
        name = named(visit.params)
        trials = self.trials.setdefault(name, [])
        if visit.state == "pruned":
            self.pruned.add(name)
            self.cells.pop(name, None)
        elif visit.state == "complete" and visit.values and name not in self.pruned:
            trials.append(visit)
            number = list(self.trials).index(name) + 1
            self.cells[name] = _cell(self.search, number, trials)


def _cell(search: SearchPlan, number: int, trials: Sequence[TrialOutcome]) -> CellSummary:
    columns = list(zip(*(trial.values for trial in trials), strict=True))
    limited = [statistics.fmean(held) for held in zip(*(t.limited for t in trials), strict=True)]
    several = len(trials) > 1
    return CellSummary(
        number=number,
        params=trials[0].params,
        means=tuple(statistics.fmean(held) for held in columns),
        deviations=tuple(statistics.stdev(held) if several else None for held in columns),
        seeds=len(trials),
        violations=tuple(
            limit.violation(value)
            for limit, value in zip(search.constraints, limited, strict=False)
        ),
    )


def tried(cells: Iterable[CellSummary]) -> list[EvaluatedCell]:
    """The cells as a sampler sees them."""
    return [
        EvaluatedCell(
            params=cell.params,
            state="complete",
            values=cell.means,
            violations=cell.violations,
            spread=cell.deviations[0],
            seeds=cell.seeds,
        )
        for cell in cells
    ]


def best_of(search: SearchPlan, cells: Sequence[CellSummary]) -> CellSummary | None:
    """The cell with the best mean of the first objective that keeps to every constraint."""
    known = [cell for cell in cells if cell.feasible]
    sign = search.objectives[0].sign
    return max(known, key=lambda cell: sign * cell.means[0], default=None)


def ahead(search: SearchPlan, cells: Sequence[CellSummary]) -> list[CellSummary]:
    """The cells within all constraints that no other beats in every objective, best first."""
    by_name = {named(cell.params): cell for cell in cells}
    return [by_name[named(cell.params)] for cell in front(search, tried(cells))]


def course(search: SearchPlan, visits: Sequence[TrialOutcome]) -> list[Best]:
    """The best so far after each trial of the search, in the order in which they were asked for.

    A cell that got another seed may fall behind: the best so far can become worse.
    """
    points: list[Best] = []
    gathered, examples = _Cells(search), 0.0
    for visit in visits:
        if visit.confirms or visit.state in ("planned", "running"):
            continue
        examples += visit.examples
        gathered.add(visit)
        best = best_of(search, list(gathered.cells.values()))
        points.append(Best(len(points) + 1, examples, best.means[0] if best else None))
    return points


def outcome(
    plan: Plan,
    history: Sequence[EvaluatedCell],
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
    history: Sequence[EvaluatedCell],
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
