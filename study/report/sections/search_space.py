"""Effects of a search's settings: importance, slices, parallel coordinates, the Pareto front."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from study.report.charts.bars import bars
from study.report.charts.parallel import Axis, parallel
from study.report.charts.scatter import Spot, scatter
from study.report.charts.slices import Dot, sliced
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
from study.report.sections.searched import Searched, digits_of
from study.search.importance import FOREST, REST, Importance, importance
from study.search.summary import CellSummary, ahead, best_of, tried
from study.spaces.optimize import SearchPlan
from study.spaces.ranges import Choice, fits
from study.state.plan import label_of

SHOWN_SPOTS = 40
"""Maximum number of numbered cells in a drawing."""

SHOWN_STRANDS = 300
"""Maximum number of lines in parallel coordinates; the latest cells are drawn."""


def settings(searched: Searched) -> Section:
    """Compose importance of each setting, slices, and parallel coordinates."""
    search = searched.search
    cells = [cell for cell in searched.cells if fits(search.ranges, cell.params)]
    blocks: list[Block] = []
    if outside := len(searched.cells) - len(cells):
        blocks.append(
            Text(f"{outside} cells lie outside of the space as it is now: left out here.")
        )
    for number in range(len(search.objectives)):
        blocks.append(_importance(importance(search, tried(cells), number)))
    if len(cells) > 1:
        blocks += [_slices(search, cells), _parallel(search, cells)]
    return Section("What the settings did", tuple(blocks))


def _importance(importance: Importance) -> Block:
    if not importance.shares:
        return Text(f"Importance for {importance.metric}: not taken apart: {importance.note}.")
    title = f"Importance for {importance.metric}"
    caution = f" {importance.note[:1].upper()}{importance.note[1:]}." if importance.note else ""
    joint = (
        f"What only several settings explain is in {REST}. " if importance.method == FOREST else ""
    )
    text = (
        f"Shares of the variance over {importance.cells} complete cells, by "
        f"{importance.method}. {joint}"
        "A search gathers its cells where they are good: shares say what mattered among the cells "
        f"that were tried.{caution}"
    )
    description = ", ".join(f"{name} {share:.0%}" for name, share in importance.shares)
    columns = (Column("setting"), Column("share", 3))
    table = Table(f"importance/{importance.metric}", title, columns, importance.shares)
    return Figure(title, text, bars(title, description, importance.shares), table)


def _slices(search: SearchPlan, cells: Sequence[CellSummary]) -> Gallery:
    """Draw the first objective against each setting that varies."""
    best = best_of(search, cells)
    figures = [_slice(search, cells, best, key) for key in search.ranges]
    text = (
        "Each dot is a cell, its mean over seeds on the validation benchmark; a diamond is the "
        "best. The other settings differ too: a slope here is no effect of the setting alone."
    )
    if not all(cell.feasible for cell in cells):
        text += " Cells that miss a constraint are triangles."
    return Gallery(text, tuple(figure for figure in figures if figure is not None))


def _slice(
    search: SearchPlan, cells: Sequence[CellSummary], best: CellSummary | None, key: str
) -> Figure | None:
    objective, searched = search.objectives[0], search.ranges[key]
    cells_with_setting = [cell for cell in cells if key in cell.params]
    if len({repr(cell.params[key]) for cell in cells_with_setting}) < 2:
        return None
    title = f"{objective.metric} against {key}"
    best_index = next(
        (index for index, cell in enumerate(cells_with_setting) if cell is best), None
    )
    description = f"{len(cells_with_setting)} cells" + (
        "" if best_index is None else f"; best at {cells_with_setting[best_index].params[key]}"
    )
    drawing = sliced(
        title,
        description,
        [Dot(cell.params[key], cell.means[0], not cell.feasible) for cell in cells_with_setting],
        best_index,
        (key, objective.metric),
        log=_log(search, key),
        levels=list(searched.values()) if isinstance(searched, Choice) else (),
    )
    columns = (Column("cell"), Column(key), Column(objective.metric, digits_of(objective)))
    rows = tuple(
        (f"cell {cell.number}", _plain(cell.params[key]), cell.means[0])
        for cell in cells_with_setting
    )
    missing = len(cells) - len(cells_with_setting)
    text = f"{missing} cells in which it has no effect are left out." if missing else ""
    return Figure(title, text, drawing, Table(f"slice/{key}", title, columns, rows))


def _parallel(search: SearchPlan, cells: Sequence[CellSummary]) -> Figure:
    """Draw parallel coordinates of settings and objectives."""
    shown = cells[-SHOWN_STRANDS:]
    axes = [
        Axis(
            f"log {key}" if _log(search, key) else key,
            tuple(_axis_value(search, key, cell.params.get(key)) for cell in shown),
            searched=isinstance(search.ranges[key], Choice),
        )
        for key in search.ranges
    ]
    axes += [
        Axis(objective.metric, tuple(cell.means[number] for cell in shown))
        for number, objective in enumerate(search.objectives)
    ]
    first = [search.objectives[0].sign * cell.means[0] for cell in shown]
    low, high = min(first), max(first)
    shade = [(value - low) / (high - low) if high > low else 0.5 for value in first]
    title = "Parallel coordinates of the search"
    text = (
        f"One line a cell; the thicker and lighter, the better by {search.objectives[0].metric}. "
        "A line leaves out what has no effect in its cell; log is to the base of 10."
    )
    if len(shown) < len(cells):
        text += f" The latest {len(shown)} of {len(cells)} cells are drawn."
    columns = (Column("cell"), *(Column(axis.title) for axis in axes))
    rows = tuple(
        (label_of(cell.params), *(axis.values[number] for axis in axes))
        for number, cell in enumerate(shown)
    )
    drawing = parallel(title, f"{len(shown)} cells over {len(axes)} axes", axes, shade)
    return Figure(title, text, drawing, Table("parallel", title, columns, rows), wide=True)


def pareto(searched: Searched) -> Section | None:
    """Compose the Pareto front of the objectives; None for a single one."""
    search, cells = searched.search, searched.cells
    if len(search.objectives) < 2:
        return None
    best = ahead(search, cells)
    title = "Pareto front"
    if not best:
        return Section(title, (Text("No cell keeps to every constraint: there is no front."),))
    names = [f"{o.metric} ({o.direction})" for o in search.objectives]
    columns = (
        Column("cell"),
        *(Column(n, digits_of(o)) for n, o in zip(names, search.objectives, strict=True)),
        *(Column("seeds", 0), Column("on the front")),
    )
    front = {cell.number for cell in best}
    shown = [*best, *(cell for cell in cells if cell.feasible and cell.number not in front)]
    shown = shown[:SHOWN_SPOTS]
    rows = tuple(
        (
            f"{number} {label_of(cell.params)}",
            *(
                Spread(mean, deviation, cell.seeds)
                for mean, deviation in zip(cell.means, cell.deviations, strict=True)
            ),
            *(cell.seeds, "yes" if cell.number in front else "no"),
        )
        for number, cell in enumerate(shown, 1)
    )
    infeasible = len(cells) - sum(cell.feasible for cell in cells)
    text = (
        f"{len(best)} of {len(cells)} cells are beaten by no other in every objective, by their "
        "means over seeds on the validation benchmark, given here with the standard deviation over "
        "seeds. Where spreads overlap, which cells are on the front is partly chance."
    )
    if infeasible:
        text += f" {infeasible} cells that miss a constraint are left out."
    table = Table("front", "Cells of the front first", columns, rows)
    drawings = _pairs(search, shown)
    listed = Bullets(tuple(label_of(cell.params) for cell in shown), numbered=True)
    return Section(title, (Gallery(text, drawings), listed, table))


def _pairs(search: SearchPlan, shown: Sequence[CellSummary]) -> tuple[Figure, ...]:
    """Draw each pair of objectives against each other."""
    figures = []
    for across, up in itertools.combinations(range(len(search.objectives)), 2):
        pair = search.objectives[across], search.objectives[up]
        title = f"{pair[1].metric} against {pair[0].metric}"
        spots = [Spot(n, cell.means[across], cell.means[up]) for n, cell in enumerate(shown, 1)]
        description = f"{len(spots)} cells; filled and joined: no other is better in both"
        less = (pair[0].sign < 0, pair[1].sign < 0)
        drawing = scatter(title, description, spots, (pair[0].metric, pair[1].metric), less)
        columns = (Column("cell"), *(Column(o.metric, digits_of(o)) for o in pair))
        rows = tuple((label_of(c.params), c.means[across], c.means[up]) for c in shown)
        table = Table(f"front/{pair[0].metric}/{pair[1].metric}", title, columns, rows)
        figures.append(Figure(title, "", drawing, table))
    return tuple(figures)


def _log(search: SearchPlan, key: str) -> bool:
    searched = search.ranges[key]
    return not isinstance(searched, Choice) and searched.log


def _axis_value(search: SearchPlan, key: str, value: Any) -> float | str | None:
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and _log(search, key):
        return math.log10(value)
    return float(value) if number else str(value)


def _plain(value: Any) -> Value:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if number else str(value)
