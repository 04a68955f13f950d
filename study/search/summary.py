"""Summarize a search by trial and by cell, for its report.

Values are of the validation benchmark (law 5). Pruned and failed trials are listed as such and
enter no mean; confirmations on fresh seeds are not part of the search either.
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
"""Most cells of a front that are named; the report lists all."""


@dataclass(frozen=True)
class TrialOutcome:
    """Outcome of one trial of a search.

    Attributes:
        digest: Digest of its spec.
        params: Parameters of its cell.
        seed: Seed of the trial.
        state: What became of it.
        values: Value of each objective, if it is complete and has all metrics.
        limited: Value of each constraint's metric, likewise.
        examples: Examples trained on in this study, up to where it was stopped; 0 where unknown
            (failed) or not yet known, and for warm starts.
        phase: Why it was proposed; `confirm` marks a winner's fresh seeds.
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
        """Whether it confirms a winner, so that it must not influence the choice."""
        return self.phase == "confirm"


def outcomes_of(
    search: SearchPlan,
    proposals: Iterable[ProposedTrial],
    results: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
    pruned: Mapping[str, Rung],
) -> tuple[TrialOutcome, ...]:
    """List the outcomes of the trials that a search has proposed, in order.

    Args:
        search: The search.
        proposals: Proposed trials from the study folder.
        results: Committed results by digest.
        failures: Reasons of failed trials by digest.
        pruned: Last rungs of pruned trials by digest.
    """
    return tuple(_outcome_of(search, trial, results, failures, pruned) for trial in proposals)


def _outcome_of(
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
        examples = 0.0  # trained by another study, at no cost to this one
    return TrialOutcome(
        digest, trial.params, trial.seed, state, values, limited, examples, trial.phase, reason
    )


@dataclass(frozen=True)
class Best:
    """Best cell at a point of the search.

    Attributes:
        trials: Number of search trials that have ended.
        examples: Examples trained on by all of them.
        value: Mean over seeds of the best cell's first objective; None before any feasible cell.
    """

    trials: int
    examples: float
    value: float | None


@dataclass(frozen=True)
class CellSummary:
    """A cell with complete trials of the search.

    Attributes:
        number: Number of the cell, from 1, in order of proposal.
        params: Its parameters.
        means: Mean of each objective over seeds.
        deviations: Standard deviation of each; None below two seeds.
        seeds: Number of seeds.
        violations: Amount by which the mean misses each constraint; at most 0 if it is kept.
    """

    number: int
    params: Point
    means: tuple[float, ...]
    deviations: tuple[float | None, ...]
    seeds: int
    violations: tuple[float, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether it keeps every constraint."""
        return all(by <= 0 for by in self.violations)


def cells_of(search: SearchPlan, outcomes: Iterable[TrialOutcome]) -> list[CellSummary]:
    """Summarize every cell that has a complete search trial and no pruned one."""
    gathered = _Cells(search)
    for trial in outcomes:
        gathered.add(trial)
    return sorted(gathered.cells.values(), key=lambda cell: cell.number)


class _Cells:
    """Cell summaries, updated as outcomes are added."""

    def __init__(self, search: SearchPlan) -> None:
        self.search = search
        self.cells: dict[str, CellSummary] = {}
        self.trials: dict[str, list[TrialOutcome]] = {}
        self.pruned: set[str] = set()

    def add(self, trial: TrialOutcome) -> None:
        if trial.confirms:
            return
        name = named(trial.params)
        trials = self.trials.setdefault(name, [])
        if trial.state == "pruned":
            self.pruned.add(name)
            self.cells.pop(name, None)
        elif trial.state == "complete" and trial.values and name not in self.pruned:
            trials.append(trial)
            number = list(self.trials).index(name) + 1
            self.cells[name] = _cell(self.search, number, trials)


def _cell(search: SearchPlan, number: int, trials: Sequence[TrialOutcome]) -> CellSummary:
    columns = list(zip(*(trial.values for trial in trials), strict=True))
    limited = [
        statistics.fmean(column) for column in zip(*(t.limited for t in trials), strict=True)
    ]
    several = len(trials) > 1
    return CellSummary(
        number=number,
        params=trials[0].params,
        means=tuple(statistics.fmean(column) for column in columns),
        deviations=tuple(statistics.stdev(column) if several else None for column in columns),
        seeds=len(trials),
        violations=tuple(
            limit.violation(value)
            for limit, value in zip(search.constraints, limited, strict=False)
        ),
    )


def tried(cells: Iterable[CellSummary]) -> list[EvaluatedCell]:
    """Convert summaries to cells as a sampler sees them."""
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
    """Return the feasible cell with the best mean of the first objective; None without one."""
    known = [cell for cell in cells if cell.feasible]
    sign = search.objectives[0].sign
    return max(known, key=lambda cell: sign * cell.means[0], default=None)


def ahead(search: SearchPlan, cells: Sequence[CellSummary]) -> list[CellSummary]:
    """Return the Pareto front of the feasible cells, best first."""
    by_name = {named(cell.params): cell for cell in cells}
    return [by_name[named(cell.params)] for cell in front(search, tried(cells))]


def course(search: SearchPlan, outcomes: Sequence[TrialOutcome]) -> list[Best]:
    """Trace the best so far over the ended trials of the search, in order of proposal.

    It can become worse, because another seed may lower the mean of the best cell.
    """
    points: list[Best] = []
    gathered, examples = _Cells(search), 0.0
    for trial in outcomes:
        if trial.confirms or trial.state in ("planned", "running"):
            continue
        examples += trial.examples
        gathered.add(trial)
        best = best_of(search, list(gathered.cells.values()))
        points.append(Best(len(points) + 1, examples, best.means[0] if best else None))
    return points


def outcome(
    plan: Plan,
    history: Sequence[EvaluatedCell],
    results: Mapping[str, Mapping[str, Any]],
    reason: str,
) -> Iterator[str]:
    """Yield lines on why a search ended, what it found, and what more would buy.

    Args:
        plan: Plan with all proposals.
        history: Cells as the sampler sees them.
        results: Committed results by digest.
        reason: Why it ended; empty if it was interrupted.
    """
    search = plan.search
    assert search is not None
    states = [cell.state for cell in history]
    counts = [f"{states.count(s)} {s}" for s in ("complete", "pruned", "failed") if s in states]
    yield (
        f"Search by {search.sampler}: {len(history)} cells ({', '.join(counts) or 'none run'})"
        f"{'; ' + reason if reason else ''}."
    )
    yield from _winner_lines(plan, search, history, results)
    if text := more(search, history):
        yield text


def _winner_lines(
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
    title = "Best cell" if len(search.objectives) == 1 else "Front"
    for cell in best[: 1 if title == "Best cell" else SHOWN]:
        values = ", ".join(
            f"{objective.metric} {value:.4g}"
            for objective, value in zip(search.objectives, cell.values, strict=True)
        )
        seeds = f"{cell.seeds} seed{'s' if cell.seeds > 1 else ''}"
        yield f"{title}, by the validation benchmark: {label_of(cell.params)} ({values}; {seeds})."
    if len(search.objectives) > 1 and len(best) > SHOWN:
        yield f"{len(best) - SHOWN} more cells are on the front."
    for planned in plan.cells:
        yield from _confirmation_lines(plan, planned, results)


def _confirmation_lines(
    plan: Plan, cell: Cell, results: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
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
    """Return the feasible cell with the best first objective; None without one.

    Like `best_cell`, it ignores cells with a pruned trial.

    Args:
        plan: Plan with all proposals.
        results: Committed results by digest.
        pruned: Digests of trials that were stopped early.
    """
    search = plan.search
    assert search is not None
    best = front(search, history_of(plan, results, dict.fromkeys(pruned, "pruned")))
    if not best:
        return None
    metric = f"validation/{search.objectives[0].metric}"
    return {"params": best[0].params, "metric": metric, "value": best[0].values[0]}
