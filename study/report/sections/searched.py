"""Sections of a search: its winner on fresh seeds, its course, its budgets, its pruned trials.

All values are of the validation benchmark, which selects; test results are shown only for trials
that confirm a winner (law 5).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from study.report.charts.staircase import staircase
from study.report.document import (
    Block,
    Bullets,
    Column,
    Figure,
    Gallery,
    Section,
    Spread,
    Table,
    Text,
    Value,
)
from study.report.material import Material, better_is
from study.search.budget import HOUR, Spent
from study.search.history import named
from study.search.summary import CellSummary, TrialOutcome, best_of, cells_of, course
from study.spaces.optimize import Objective, SearchPlan
from study.state.plan import label_of
from trainables.evaluation import metric_names as names

SHOWN = 100
"""Maximum number of rows of a table; report.csv has all trials."""

NAMES = {
    "grid": "all combinations, one after the other",
    "random": "random draws",
    "qmc": "quasi-random draws (Sobol)",
    "tpe": "TPE, after random draws",
    "gp": "a Gaussian process, after quasi-random draws",
    "nsga2": "NSGA-II",
    "nsga3": "NSGA-III",
}
"""Samplers in words."""


@dataclass(frozen=True)
class Spending:
    """One budget: its name, what was spent, and the limit, if any."""

    name: str
    spent: float
    allowed: float | None = None


@dataclass(frozen=True)
class Searched:
    """Input for the report of a search.

    Attributes:
        search: Plan of the search.
        visits: Trials of the search in the order of their proposals.
        over: Why the search ended, in words; empty while it goes on.
        spending: Budgets.
        more: Expected gain from larger budgets, in words.
    """

    search: SearchPlan
    visits: tuple[TrialOutcome, ...]
    over: str = ""
    spending: tuple[Spending, ...] = ()
    more: tuple[str, ...] = ()

    @property
    def cells(self) -> list[CellSummary]:
        """Cells with complete trials."""
        return cells_of(self.search, self.visits)

    def state(self, *states: str) -> list[TrialOutcome]:
        """Return the trials in these states, without those of the confirmation."""
        return [v for v in self.visits if v.state in states and not v.confirms]


def spending(
    search: SearchPlan, visits: Sequence[TrialOutcome], spent: Spent
) -> tuple[Spending, ...]:
    """Compare what a search was allowed with what it spent."""
    trials = [v for v in visits if v.state in ("complete", "pruned", "failed")]
    searching = [visit for visit in trials if visit.phase == "search"]
    confirming = [visit for visit in trials if visit.confirms]
    return (
        Spending("trials of the search", len(searching), float(search.trials)),
        Spending("trials that confirm", len(confirming)),
        Spending("training examples of the search", sum(v.examples for v in searching)),
        Spending("hours of the driver", spent.wall / HOUR, search.hours),
        Spending("hours of all trials together", spent.busy / HOUR, search.accelerator_hours),
    )


def search_result(material: Material, searched: Searched) -> Section:
    """Compose what was searched, how its trials ended, and the winner on fresh seeds."""
    search, cells = searched.search, searched.cells
    aims = "; ".join(f"{o.direction} {o.metric}" for o in search.objectives)
    limits = "; ".join(str(limit) for limit in search.constraints)
    lines = [
        f"Searched with {NAMES[search.sampler]}: {aims}{f', with {limits}' if limits else ''}.",
        _counted(searched, cells),
    ]
    blocks: list[Block] = [Text(line) for line in (*lines, searched.over) if line]
    blocks += [*_winners(material, searched, cells), *_spent(searched)]
    return Section("Search", tuple(blocks))


def _counted(searched: Searched, cells: Sequence[CellSummary]) -> str:
    """Count cells and trials by outcome."""
    counts = {s: len(searched.state(s)) for s in ("complete", "pruned", "failed")}
    waiting = len(searched.state("planned", "running"))
    text = (
        f"{len(cells)} cells have a value, of {counts['complete']} complete trials; "
        f"{counts['pruned']} trials were pruned and {counts['failed']} failed."
    )
    if infeasible := [cell for cell in cells if not cell.feasible]:
        text += f" {len(infeasible)} cells miss a constraint and cannot win."
        if len(infeasible) == len(cells):
            text += " No cell keeps to every constraint: there is no winner."
    return text + (f" {waiting} trials have not ended." if waiting else "")


def _winners(material: Material, searched: Searched, cells: Sequence[CellSummary]) -> list[Block]:
    """Tabulate the cells confirmed on fresh seeds, with test results of those trials."""
    search = searched.search
    fresh: dict[str, list[TrialOutcome]] = {}
    for visit in searched.visits:
        if visit.confirms and visit.state == "complete" and visit.values:
            fresh.setdefault(named(visit.params), []).append(visit)
    if not fresh:
        best = best_of(search, cells)
        if best is None:
            return []
        text = (
            f"Ahead on the validation benchmark: {label_of(best.params)}. It has not been run on "
            "seeds that did not choose it, so the test is not shown, and its value here is too "
            "good: the best of many is lucky too."
        )
        return [Text(text)]
    known = {named(cell.params): cell for cell in cells}
    digests = {v.digest for trials in fresh.values() for v in trials}
    metrics = [
        name
        for name in material.metrics()
        if any(name in material.results[d]["metrics"] for d in digests & material.results.keys())
    ]
    rows = [
        _winner(material, search, known.get(name), trials, metrics)
        for name, trials in fresh.items()
    ]
    columns = [Column("cell"), Column("fresh seeds", 0)]
    for objective in search.objectives:
        digits = digits_of(objective)
        columns.append(Column(f"{objective.metric}, when chosen", digits))
        columns.append(Column(f"{objective.metric}, fresh seeds", digits))
    columns += [Column(f"test {name}", 4, better_is(name)) for name in metrics]
    text = (
        "The winner was run again on seeds that did not choose it. When chosen: mean ± standard "
        "deviation of the validation benchmark on the seeds of the search, which is too good, "
        "since the best of many is lucky too. The test is shown of the fresh seeds alone."
    )
    caption = "Winners, confirmed on fresh seeds"
    return [Text(text), Table("winners", caption, tuple(columns), tuple(rows))]


def _winner(
    material: Material,
    search: SearchPlan,
    chosen: CellSummary | None,
    trials: Sequence[TrialOutcome],
    metrics: Sequence[str],
) -> tuple[Value, ...]:
    row: list[Value] = [label_of(trials[0].params), len(trials)]
    for number in range(len(search.objectives)):
        row.append(
            Spread(chosen.means[number], chosen.deviations[number], chosen.seeds)
            if chosen
            else None
        )
        row.append(_spread([trial.values[number] for trial in trials]))
    for name in metrics:
        results = [material.results.get(trial.digest, {}) for trial in trials]
        row.append(_spread([r["metrics"][name] for r in results if name in r.get("metrics", {})]))
    return tuple(row)


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, len(values))


def _spent(searched: Searched) -> list[Block]:
    """Tabulate the budgets, and say what larger ones would gain."""
    blocks: list[Block] = []
    if searched.spending:
        rows = tuple(
            (
                budget.name,
                budget.spent,
                budget.allowed if budget.allowed is not None else "no limit",
            )
            for budget in searched.spending
        )
        columns = (Column("budget"), Column("spent", 2), Column("allowed", 2))
        blocks.append(Table("budget", "What the search was given and took", columns, rows))
    if searched.more:
        blocks.append(Bullets(searched.more))
    return blocks


def history(searched: Searched) -> Section:
    """Draw the best value so far against trials and against examples, and list pruned trials."""
    title = "Course of the search"
    points = course(searched.search, searched.visits)
    valued = [point for point in points if point.value is not None]
    if not valued:
        text = "No trial of the search has a value that counts, so there is no course to draw."
        return Section(title, (Text(text), *_pruned(searched)))
    objective = searched.search.objectives[0]
    ended = searched.state("complete", "pruned", "failed")
    dots = [
        (point, visit.values[0])
        for point, visit in zip(points, ended, strict=True)
        if visit.state == "complete" and visit.values
    ]
    rows = tuple(
        (
            label_of(visit.params),
            point.trials,
            point.examples,
            visit.state,
            visit.values[0] if visit.values and visit.state == "complete" else None,
            point.value,
        )
        for point, visit in zip(points, ended, strict=True)
    )
    digits = digits_of(objective)
    columns = (
        *(Column("cell"), Column("trials", 0), Column("examples", 0), Column("state")),
        *(Column("value", digits), Column("best so far", digits)),
    )
    figures = []
    for across, name in (("trials", "trials"), ("examples", "training examples of all trials")):
        heading = f"Best so far against {name}"
        description = f"{len(points)} trials; at the end {valued[-1].value:.4g}"
        drawing = staircase(
            heading,
            description,
            [(float(getattr(p, across)), p.value) for p in valued if p.value is not None],
            [(float(getattr(p, across)), value) for p, value in dots],
            (name, objective.metric),
        )
        figures.append(
            Figure(heading, "", drawing, Table(f"course/{across}", heading, columns, rows))
        )
    text = (
        f"{objective.metric} on the validation benchmark ({objective.direction}). A cell that gets "
        "another seed may fall behind, so the best so far can become worse. Pruned trials count as "
        "spent and have no dot."
    )
    return Section(title, (Gallery(text, tuple(figures)), *_pruned(searched)))


def _pruned(searched: Searched) -> list[Block]:
    """List pruned trials separately, since their values are not comparable with complete ones."""
    stopped = searched.state("pruned")
    if not stopped:
        return []
    rows = tuple(
        (label_of(v.params), str(v.seed), v.digest, v.examples, v.reason) for v in stopped[:SHOWN]
    )
    columns = (
        *(Column("cell"), Column("seed"), Column("digest")),
        *(Column("examples seen", 0), Column("why")),
    )
    omitted = len(stopped) - len(rows)
    note = (
        "Values at fewer examples are not compared with complete ones anywhere in this report."
        + (f" {omitted} more are in the study's journal." if omitted else "")
    )
    return [Table("pruned", "Trials that were stopped early", columns, rows, note)]


def digits_of(objective: Objective) -> int:
    """Return the decimal places of an objective."""
    return 1 if objective.metric.startswith("cost/") else names.digits_of(objective.metric)
