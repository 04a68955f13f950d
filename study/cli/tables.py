"""Tables of a study's cells as mean ± SD over seeds, without tests; and plain lists."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from study.analysis.results import COLUMNS, TRAINED_IN_NONE, CellResult, language_groups
from study.console import typed
from study.state.plan import Plan
from trainables.evaluation.metric_names import best_value, digits_of, lower_is_better

GROUPS_AT_ONCE = 4
"""Maximum number of language groups in a table, so that it fits a screen."""

SHOWN_CELLS = 100
"""Maximum number of rows; a caption says how many cells are left out and where to see them."""


def comparison(plan: Plan, cells: Sequence[CellResult]) -> Table:
    """Build the table of all cells on the test benchmark; the best mean of a column is bold."""
    return _table(
        plan,
        cells,
        {column: column for column in COLUMNS},
        f"{plan.name}: mean ± SD over seeds on the test benchmark — not tested",
    )


def tables(plan: Plan, cells: Sequence[CellResult]) -> list[Table]:
    """Build the comparison and the tables of further benchmarks and of language groups.

    Cells that a search proposed appear only if confirmed on fresh seeds, because the seeds that
    selected a cell overrate it.
    """
    cells = [cell for cell in cells if cell.cell.proposal is None or cell.fresh]
    further = [
        _table(
            plan,
            cells,
            {f"{name}:{column}": column for column in COLUMNS},
            f"the same on {name}, as {name}:{COLUMNS[0]}",
        )
        for name in plan.also
    ]
    return [comparison(plan, cells), *further, *by_group(plan, cells)]


def listing(rows: Iterable[Sequence[str]], columns: Sequence[str] = ()) -> Table:
    """Build a table without borders, with a header if `columns` are given."""
    table = Table(box=None, pad_edge=False, show_header=bool(columns))
    for number, row in enumerate(rows):
        if number == 0:
            for name in columns or [""] * len(row):
                table.add_column(name, overflow="fold")
        table.add_row(*row)
    return table


def by_group(plan: Plan, cells: Sequence[CellResult]) -> list[Table]:
    """Build tables by group of query languages, per metric; none if all languages are trained."""
    groups = language_groups(plan)
    if TRAINED_IN_NONE not in groups:
        return []
    named = list(groups.items())
    starts = range(0, len(named), GROUPS_AT_ONCE)
    parts = [dict(named[start : start + GROUPS_AT_ONCE]) for start in starts]
    return [
        _table(
            plan,
            cells,
            {f"{metric}/{group}": group for group in part},
            f"{metric} by the language of the query: "
            + "; ".join(f"{group} {' '.join(languages)}" for group, languages in part.items()),
        )
        for metric in dict.fromkeys((plan.primary, "map/mono", "map/t2i"))
        if any(cell.values(metric) for cell in cells)
        for part in parts
    ]


def _table(
    plan: Plan, cells: Sequence[CellResult], headers: Mapping[str, str], title: str
) -> Table:
    """Build a table of one row per cell and one column per metric that any cell has.

    `headers` gives the header of each metric.
    """
    columns = [column for column in headers if any(cell.values(column) for cell in cells)]
    best = {column: _best(column, cells) for column in columns}
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("cell", overflow="fold", min_width=30)
    table.add_column("n", justify="right")
    for column in columns:
        arrow = "↓" if lower_is_better(column) else "↑"
        table.add_column(f"{headers[column]} {arrow}", justify="right", no_wrap=True)
    if len(cells) > SHOWN_CELLS:
        command = f"python -m study status {typed([plan.name])} --json"
        table.caption = f"{len(cells) - SHOWN_CELLS} more cells: {command}"
    for cell in cells[:SHOWN_CELLS]:
        values = [_formatted(cell.summary(column), column, best[column]) for column in columns]
        count = len(cell.fresh if cell.cell.proposal else cell.results)
        pruned = f" ({cell.pruned} pruned)" if cell.pruned else ""
        table.add_row(cell.cell.label, f"{count}{pruned}", *values)
    return table


def _best(column: str, cells: Sequence[CellResult]) -> float | None:
    by_cell = [cell.values(column) for cell in cells if not cell.pruned]
    means = [statistics.fmean(values) for values in by_cell if values]
    if not means:
        return None
    return best_value(column, means)


def _formatted(summary: tuple[float, float | None] | None, column: str, best: float | None) -> Text:
    if summary is None:
        return Text("-")
    mean, deviation = summary
    digits = digits_of(column)
    text = Text().append(f"{mean:.{digits}f}", "bold" if mean == best else "")
    return text if deviation is None else text.append(f" ± {deviation:.{digits}f}")
