"""`compare`: two studies or arms side by side, with intervals, p-values and Holm's correction."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from study.analysis.caveats import executions, mixed
from study.analysis.results import COLUMNS, answering, by_cell, language_groups, metric_of
from study.analysis.words import mixture_words
from study.cli.workspace import ROOT, Root, State, Workspace
from study.console import PlainConsole, typed
from study.state.committed import committed_results, each_committed
from study.state.plan import Cell, Plan
from trainables.errors import UserError
from trainables.evaluation.metric_names import digits_of, lower_is_better

if TYPE_CHECKING:
    from study.analysis.scores import Scores
    from study.analysis.side_by_side import Arm, Measured

METRICS = (*COLUMNS, "recall_at_10/mono", "recall_at_10/cross", "recall_at_10/multi")
"""Metrics compared without --metric, if both sides have them."""

CHANGES = 12
"""Maximum number of differing settings that are listed."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        plan: Plan of its study.
        arm: Arm as typed; empty for the whole study.
        cells: Cells that stand for the arms of the study.
        results: Content of `result.json` by digest.
    """

    plan: Plan
    arm: str
    cells: tuple[Cell, ...]
    results: Mapping[str, Mapping[str, Any]]

    def has(self, metric: str) -> bool:
        """Whether any trial has the metric."""
        groups = language_groups(self.plan)
        values = (metric_of(x["metrics"], metric, groups) for x in self.results.values())
        return any(value is not None for value in values)


def compare(
    first: Annotated[str, typer.Argument(help="A study, or an arm as STUDY:alpha=0.5.")],
    second: Annotated[str, typer.Argument(help="What it is compared with.")],
    metric: Annotated[list[str] | None, typer.Option(help="Instead of the usual ones.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
    root: Root = ROOT,
    state: State = None,
) -> int:
    """Compare two studies, or two arms of one or two, in every metric that both have.

    Trials of equal seed make pairs. Nothing here was declared, so nothing is decided.
    """
    from study.analysis.side_by_side import side_by_side

    home = Workspace.open(root, state)
    sides = [_side(home, text) for text in (first, second)]
    arms = _arms(*sides)
    metrics = _metrics(sides, metric or [])
    rows = side_by_side(arms, metrics, _scores(home, sides, arms, metrics))
    compared = {t.digest for _, *two in arms for arm in two for c in arm.cells for t in c.trials}
    results = {d: r for side in sides for d, r in side.results.items() if d in compared}
    differ = [*_differences(sides, arms), *mixture_words(mixed(executions(results)))]
    if as_json:
        comparison = {"first": first, "second": second, "differ": differ}
        typer.echo(json.dumps(comparison | {"rows": [asdict(row) for row in rows]}, indent=1))
        return 0
    console = PlainConsole()
    console.print(Text.assemble("A is ", (first, "bold"), ", B is ", (second, "bold")))
    for line in differ:
        console.print(f"  {line}")
    console.print(_table(rows))
    for line in _remarks(rows):
        console.print(line)
    return 0


def _side(home: Workspace, text: str) -> Side:
    name, _, arm = text.partition(":")
    plan = home.plan(name)
    results = committed_results(home.root, plan.specs)
    if not results:
        raise UserError(
            f"{name}: no trial has a result yet; python -m study status {typed([name])}"
        )
    return Side(plan, arm, tuple(answering(plan, by_cell(plan, dict(results)))), results)


def _arms(first: Side, second: Side) -> list[tuple[str, Arm, Arm]]:
    """Pair the arms to compare; an arm named on one side only is taken on both.

    Returns:
        Label and two arms of each pair; the label is empty if an arm was named.

    Raises:
        UserError: An arm does not exist, or an arm would be compared with itself.
    """
    from study.analysis.side_by_side import common_arms, find_arm

    sides = (first, second)
    arms = [side.arm or opposite.arm for side, opposite in (sides, sides[::-1])]
    if first.plan.name == second.plan.name and arms[0] == arms[1]:
        example = first.cells[-1].label.replace(" ", ",")
        raise UserError(
            f"{first.plan.name} with itself: name two arms, such as {first.plan.name}:{example}"
        )
    if not any(arms):
        return common_arms((first.plan, first.cells), (second.plan, second.cells))
    first_arm, second_arm = (
        find_arm(side.plan, side.cells, arm) for side, arm in zip(sides, arms, strict=True)
    )
    return [("", first_arm, second_arm)]


def _metrics(sides: Sequence[Side], named: Sequence[str]) -> list[str]:
    """Return the named metrics without repeats, or those of `METRICS` that both sides have.

    Raises:
        UserError: Neither side has a named metric (the nearest names are suggested), or none of
            `METRICS` is common.
    """
    for name in named:
        if not any(side.has(name) for side in sides):
            known = {name for side in sides for r in side.results.values() for name in r["metrics"]}
            near = difflib.get_close_matches(name, sorted(known), 3, 0.4) or ["map/mono"]
            raise UserError(f"--metric {name}: neither has it; did you mean {' or '.join(near)}?")
    metrics = [*named] or [name for name in METRICS if all(side.has(name) for side in sides)]
    if not metrics:
        raise UserError("the two have no usual metric in common; name one with --metric")
    return list(dict.fromkeys(metrics))


def _scores(
    home: Workspace,
    sides: Sequence[Side],
    arms: Sequence[tuple[str, Arm, Arm]],
    metrics: Sequence[str],
) -> dict[str, Mapping[str, Scores]]:
    """Read the scores of the arms' trials, by digest."""
    from study.analysis.scores import stored_scores

    by_digest: dict[str, Mapping[str, Scores]] = {}
    for index, side in enumerate(sides):
        groups = language_groups(side.plan)
        cells = {cell.label: cell for pair in arms for cell in (pair[1], pair[2])[index].cells}
        digests = [t.digest for cell in cells.values() for t in cell.trials]
        digests = [digest for digest in digests if digest in side.results]
        read = partial(stored_scores, home.root, metrics=metrics, groups=groups)
        by_digest |= each_committed(home.root, digests, read)
    return by_digest


def _differences(sides: Sequence[Side], arms: Sequence[tuple[str, Arm, Arm]]) -> list[str]:
    """List the spec fields in which the cells of the first pair of arms differ, one line each.

    The first trial of each cell represents it.
    """
    first, second = (
        [json.loads(side.plan.specs[cell.trials[0].digest].canonical()) for cell in arm.cells]
        for side, arm in zip(sides, arms[0][1:], strict=True)
    )
    if any(spec.get("sampling") == "hybrid" for spec in (*first, *second)):
        first, second = (list(map(_by_ratio, specs)) for specs in (first, second))
    lines = []
    for key in sorted({key for spec in (*first, *second) for key in spec} - {"seed"}):
        before, after = (
            ", ".join(dict.fromkeys(_brief(spec.get(key)) for spec in specs))
            for specs in (first, second)
        )
        if before != after:
            lines.append(f"{key}: {before} → {after}")
    if not lines:
        return ["The first trials of both are the same experiment."]
    more = [f"and {len(lines) - CHANGES} more"] if len(lines) > CHANGES else []
    if len(first) > 1 or len(second) > 1:
        more.append(f"A is the mean of {len(first)} cells, B of {len(second)}")
    return [*lines[:CHANGES], *more]


def _by_ratio(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write X-X and X-Y as hybrid with mixing ratio 1 and 0, comparable with other ratios."""
    ends = {"X-X": 1, "X-Y": 0}
    if spec.get("sampling") not in ends:
        return spec
    return {**spec, "sampling": "hybrid", "alpha": ends[spec["sampling"]]}


def _brief(value: Any) -> str:
    """Format a field of a spec in one line; data and encoders by name and 8 digits of digest."""
    if isinstance(value, list):
        return " ".join(map(_brief, value))
    if isinstance(value, dict):
        return " ".join(filter(None, [value.get("name"), str(value.get("digest", ""))[:8]]))
    return "none" if value is None else str(value)


def _table(rows: Sequence[Measured]) -> Table:
    table = Table(header_style="bold")
    several = len({row.arm for row in rows}) > 1
    for title in [*(["arm"] if several else []), "metric"]:
        table.add_column(title, overflow="fold")
    for title in ("A", "B", "A - B", "95 % interval", "p", "Holm", "n"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        arrow = "↓" if lower_is_better(row.metric) else "↑"
        digits = digits_of(row.metric)
        numbers = [_number(v, digits) for v in (row.first, row.second)]
        interval = "-"
        if row.interval is not None:
            interval = " to ".join(f"{bound:+.{digits}f}" for bound in row.interval)
        table.add_row(
            *([row.arm] if several else []),
            f"{row.metric} {arrow}",
            *numbers,
            _number(row.difference, digits, "+"),
            interval,
            *map(_p, (row.p, row.corrected)),
            str(row.seeds),
        )
    return table


def _p(p: float | None) -> str:
    if p is None:
        return "-"
    return f"{p:.3g}" if p >= 0.001 else "< 0.001"


def _number(value: float | None, digits: int, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.{digits}f}"


def _remarks(rows: Sequence[Measured]) -> list[str]:
    """Format the notes that explain the table, each once."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        if row.note:
            notes.setdefault(row.note, []).append(" ".join(filter(None, (row.arm, row.metric))))
    tested = sum(row.p is not None for row in rows)
    clusters = sorted({row.clusters for row in rows if row.clusters})
    lines = [f"{', '.join(names)}: {note}." for note, names in notes.items()]
    if tested:
        lines.append(
            f"n pairs of trials with the same seed; {' or '.join(map(str, clusters))} clusters of "
            f"questions. Holm corrects for the tests shown ({tested}), intervals are not corrected."
        )
    return [*lines, "Nothing here was declared before it was seen: exploratory, no verdict."]
