"""Sections on all cells in a table, and on the metrics' response to the factors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from study.analysis.results import COLUMNS, TRAINED_IN_NONE, CellResult, language_groups
from study.report.charts.curves import Point, curves
from study.report.charts.forest import ForestRow, Mark, rows_chart
from study.report.charts.svg import SERIES
from study.report.document import Block, Column, Figure, Gallery, Section, Table, Text, Value
from study.report.material import Material, better_is
from study.spaces.settings import Settings
from trainables.evaluation.metric_names import digits_of, lower_is_better

SHOWN_CELLS = 100
"""Maximum number of rows of a table in the report; report.csv has all."""

SHOWN_ARMS = 40
"""Maximum number of rows of a dot plot."""

SHOWN_LEVELS = 60
"""Maximum number of points of a curve."""


def compared(material: Material) -> Section:
    """Tabulate mean and standard deviation of every cell, also on other benchmarks.

    If some language was not trained on, groups of languages are tabulated, too.
    """
    text = (
        "Mean ± standard deviation over seeds on the test benchmark. Nothing is tested in these "
        "tables; the best mean of a column is bold, and nothing more is said of it."
    )
    blocks: list[Block] = [Text(text)]
    blocks.append(_cells(material, "cells", "All cells", {name: name for name in COLUMNS}))
    candidates = []
    for also in material.plan.also:
        columns = {f"{also}:{name}": name for name in COLUMNS}
        candidates.append(_cells(material, f"cells on {also}", f"The same on {also}", columns))
    groups = language_groups(material.plan)
    for metric in dict.fromkeys((material.plan.primary, "map/mono", "map/t2i")):
        columns = {f"{metric}/{group}": group for group in groups}
        languages_by_group = "; ".join(
            f"{group}: {' '.join(languages)}" for group, languages in groups.items()
        )
        caption = f"{metric} by the language of the query ({languages_by_group})"
        if TRAINED_IN_NONE in groups:
            candidates.append(_cells(material, f"groups {metric}", caption, columns))
    tables = [table for table in candidates if len(table.columns) > 2]
    return Section("Comparison of the cells", (*blocks, *tables))


def _cells(material: Material, name: str, caption: str, headers: Mapping[str, str]) -> Table:
    metrics = [metric for metric in headers if any(c.values(metric) for c in material.cells)]
    columns = [Column("cell"), Column("trials", 0)]
    for metric in metrics:
        arrow = "↓" if lower_is_better(metric) else "↑"
        digits = digits_of(metric)
        columns.append(Column(f"{headers[metric]} {arrow}", digits, better_is(metric)))
    rows: list[tuple[Value, ...]] = []
    for cell in material.cells[:SHOWN_CELLS]:
        spreads = [material.spread(cell, metric) for metric in metrics]
        rows.append((cell.cell.label, len(cell.results), *spreads))
    omitted = len(material.cells) - len(rows)
    note = f"{omitted} more cells are in report.csv." if omitted else ""
    return Table(name, caption, tuple(columns), tuple(rows), note)


def responses(material: Material) -> Section:
    """Draw curves over every numeric factor; without one, list the arms."""
    if not any(arm.results for arm in material.arms):
        return Section("Response", (Text("No trained cell has a result."),))
    factors = numeric_factors(material)
    galleries = [_over(material, factor, levels) for factor, levels in factors.items()]
    return Section("Response", tuple(galleries) or (_arms(material),))


def numeric_factors(material: Material) -> dict[str, list[float]]:
    """Return the levels of each factor that is numeric in all arms."""
    numeric: dict[str, list[float]] = {}
    for key in searched(material):
        levels = {arm.cell.params.get(key) for arm in material.arms}
        numbers = [x for x in levels if isinstance(x, (int, float)) and not isinstance(x, bool)]
        if len(numbers) == len(levels) and key != "subset_seed":
            numeric[key] = sorted(numbers)
    return numeric


def searched(material: Material) -> list[str]:
    """List the factors in which the arms differ, except tuned ones."""
    keys = dict.fromkeys(key for arm in material.arms for key in arm.cell.params)
    varied = [k for k in keys if len({repr(a.cell.params.get(k)) for a in material.arms}) > 1]
    return [
        key for key in varied if key in Settings.model_fields and key not in material.plan.tuned
    ]


def _over(material: Material, factor: str, levels: Sequence[float]) -> Gallery:
    series = _series(material, factor)
    step = -(-len(levels) // SHOWN_LEVELS)
    note = f" Every {step}th level is drawn; report.csv has all." if step > 1 else ""
    others = (
        "; others are averaged over" if len(series) == 1 and len(searched(material)) > 1 else ""
    )
    text = (
        f"Over {factor}{others}: mean over seeds with its 95 % t interval, every seed a small dot. "
        "Intervals are of means, not of differences: arms of a seed share their questions."
        f"{note}"
    )
    figures = []
    for metric in material.metrics():
        points_by_series = [
            (
                name,
                [
                    p
                    for x in levels[::step]
                    if (p := _point(material, by_level.get(x, []), x, metric))
                ],
            )
            for name, by_level in series.items()
        ]
        points_by_series = [(name, points) for name, points in points_by_series if points]
        if points_by_series:
            figures.append(_curve(metric, factor, points_by_series))
    return Gallery(text, tuple(figures))


def _series(material: Material, factor: str) -> dict[str, dict[float, list[CellResult]]]:
    """Group arms by their other factors, then by level; in one series if there were too many."""
    others = [key for key in searched(material) if key != factor]
    names = {
        arm.cell.label: " ".join(f"{key}={arm.cell.params.get(key)}" for key in others)
        for arm in material.arms
    }
    several = len(set(names.values())) <= SERIES
    series: dict[str, dict[float, list[CellResult]]] = {}
    for arm in material.arms:
        by_level = series.setdefault(names[arm.cell.label] if several else "", {})
        by_level.setdefault(arm.cell.params[factor], []).append(arm)
    return series


def _point(
    material: Material, arms: Sequence[CellResult], level: float, metric: str
) -> Point | None:
    """Average a metric by seed over the arms at one level; None if no seed has all arms."""
    by_seed: dict[int, list[float]] = {}
    for arm in arms:
        for seed, value in material.by_seed(arm, metric).items():
            by_seed.setdefault(seed, []).append(value)
    # a seed that an arm lacks would shift the mean
    complete = [statistics.fmean(values) for values in by_seed.values() if len(values) == len(arms)]
    if not complete:
        return None
    return Point(level, tuple(complete), statistics.fmean(complete), interval(complete))


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % t interval of a mean; None for one value or equal values."""
    from scipy import stats

    if len(values) < 2 or not (deviation := statistics.stdev(values)):
        return None
    mean, count = statistics.fmean(values), len(values)
    half_width = float(stats.t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
    return mean - half_width, mean + half_width


def _curve(metric: str, factor: str, series: list[tuple[str, list[Point]]]) -> Figure:
    title = f"{metric} over {factor}"
    text = "Lower is better." if lower_is_better(metric) else ""
    best = min if lower_is_better(metric) else max
    top = best((p for _, points in series for p in points), key=lambda point: point.mean)
    description = f"{len(series)} curve{'s' if len(series) > 1 else ''}; best mean at {top.level:g}"
    digits = digits_of(metric)
    rows = tuple(
        (name or factor, p.level, p.mean, *(p.interval or (None, None)), len(p.values))
        for name, points in series
        for p in points
    )
    columns = (
        *(Column("series"), Column(factor, 3), Column("mean", digits)),
        *(Column("from", digits), Column("to", digits), Column("seeds")),
    )
    drawing = curves(title, description, factor, series)
    return Figure(title, text, drawing, Table(f"curve/{metric}/{factor}", title, columns, rows))


def _arms(material: Material) -> Gallery:
    """Draw the arms below each other."""
    figures = []
    for metric in material.metrics():
        rows, data = [], []
        for arm in material.arms[:SHOWN_ARMS]:
            if not (values := arm.values(metric)):
                continue
            mean, bounds, label = (
                statistics.fmean(values),
                interval(values),
                material.name(arm.cell),
            )
            rows.append(ForestRow(label, (Mark(mean, 0, bounds, tuple(values)),)))
            data.append((label, mean, *(bounds or (None, None)), len(values)))
        digits = digits_of(metric)
        columns = (
            *(Column("arm"), Column("mean", digits), Column("from", digits)),
            *(Column("to", digits), Column("seeds")),
        )
        title = f"{metric} of the arms"
        text = "Lower is better." if lower_is_better(metric) else ""
        drawing = rows_chart(title, f"{len(rows)} arms", rows, metric, apart=True)
        table = Table(f"arms/{metric}", title, columns, tuple(data))
        figures.append(Figure(title, text, drawing, table))
    more = len(material.arms) - SHOWN_ARMS
    omitted = f" {more} more arms are in report.csv." if more > 0 else ""
    text = f"Mean over seeds with its 95 % t interval, every seed a small dot.{omitted}"
    return Gallery(text, tuple(figures))
