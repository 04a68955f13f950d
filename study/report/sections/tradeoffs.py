"""Sections on trade-offs between kinds of retrieval, cost, and all parameters and metrics."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from study.analysis.results import CellResult
from study.report.charts.parallel import Axis, parallel
from study.report.charts.scatter import Spot, front, scatter
from study.report.document import Bullets, Column, Figure, Gallery, Section, Table, Text, Value
from study.report.material import Material
from study.report.sections.compared import SHOWN_CELLS, searched
from trainables.evaluation.metric_names import lower_is_better

LARGEST = 1e300
"""Limit of a recorded cost that converts to a float."""

SHOWN_SPOTS = 40
"""Maximum number of numbered cells in a drawing."""

KINDS = ("map/mono", "map/cross", "map/multi")


def tradeoffs(material: Material) -> Section:
    """Draw each two of mono, cross and multi against each other, with the Pareto front."""
    kinds = [kind for kind in KINDS if kind in material.metrics()]
    cells, values = _arms_with_all(material, kinds)
    if len(kinds) < 2 or not cells:
        text = "There are no two of monolingual, cross-lingual and multilingual figures to weigh."
        return Section("Trade-offs", (Text(text),))
    on_front = front(values, [False] * len(kinds))
    figures = []
    for across, up in itertools.combinations(range(len(kinds)), 2):
        title = f"{kinds[up]} against {kinds[across]}"
        spots = [Spot(n, row[across], row[up]) for n, row in enumerate(values, 1)]
        description = f"{len(spots)} cells; filled and joined: no other is better in both"
        drawing = scatter(title, description, spots, (kinds[across], kinds[up]))
        columns = (Column("cell"), Column(kinds[across]), Column(kinds[up]))
        rows = tuple(
            (f"{n} {cell.cell.label}", row[across], row[up])
            for n, (cell, row) in enumerate(zip(cells, values, strict=True), 1)
        )
        table = Table(f"tradeoff/{kinds[across]}/{kinds[up]}", title, columns, rows)
        figures.append(Figure(title, "", drawing, table))
    best = ", ".join(str(index + 1) for index in on_front)
    text = (
        "Trained cells by their means over seeds; to the right and up is better. Filled and joined "
        "is the Pareto front of the two: no other cell is at least as good in both. On the front "
        f"of all {len(kinds)} kinds of retrieval: {best}. Means only; no difference is tested here."
    )
    return Section("Trade-offs", (Gallery(text, tuple(figures)), _numbered(cells)))


def cost(material: Material) -> Section:
    """Tabulate time, tokens and memory of each cell beside its primary metric."""
    primary = material.plan.primary
    facts = {cell.cell.label: _costs(material, cell) for cell in material.cells if cell.results}
    headers = list(dict.fromkeys(key for costs in facts.values() for key in costs))
    if not headers:
        return Section("Cost", (Text("No trial has told what it took."),))
    cells = [cell for cell in material.cells if cell.results][:SHOWN_CELLS]
    rows = tuple(
        (
            cell.cell.label,
            *(facts[cell.cell.label].get(key) for key in headers),
            material.mean(cell, primary),
        )
        for cell in cells
    )
    columns = (
        Column("cell"),
        *(Column(key, 1 if key == "seconds" else 0) for key in headers),
        Column(primary),
    )
    caption = "Means over a cell's trials; seconds are of the attempt that counts, on its machine"
    table = Table("cost", caption, columns, rows)
    spots = [
        Spot(n, seconds, value)
        for n, cell in enumerate(cells[:SHOWN_SPOTS], 1)
        if (seconds := facts[cell.cell.label].get("seconds")) is not None
        and (value := material.mean(cell, primary)) is not None
    ]
    if len(spots) < 2:
        return Section("Cost", (table,))
    title = f"{primary} against seconds"
    less = (True, lower_is_better(primary))
    description = f"{len(spots)} cells; filled and joined: no other is better and faster"
    data = Table(
        "seconds",
        title,
        (Column("cell"), Column("seconds", 1), Column(primary)),
        tuple((f"{s.number} {cells[s.number - 1].cell.label}", s.across, s.up) for s in spots),
    )
    drawing = scatter(title, description, spots, ("seconds of a trial", primary), less)
    figure = Figure(title, "Times of trials that share a machine vary.", drawing, data)
    return Section("Cost", (table, figure, _numbered(cells[:SHOWN_SPOTS])))


def everything(material: Material) -> Section:
    """Draw parallel coordinates of parameters and metrics."""
    keys = searched(material)
    metrics = material.metrics()
    arms = [arm for arm in material.arms if arm.results]
    if len(arms) < 2 or not metrics:
        text = "Fewer than two trained cells have a result: there is nothing to draw together."
        return Section("Parameters and metrics", (Text(text),))
    axes = [
        Axis(key, tuple(_level(arm.cell.params.get(key)) for arm in arms), searched=True)
        for key in keys
    ]
    axes += [Axis(name, tuple(material.mean(arm, name) for arm in arms)) for name in metrics]
    primary = [material.mean(arm, material.plan.primary) or 0.0 for arm in arms]
    low, high = min(primary), max(primary)
    shade = [(value - low) / (high - low) if high > low else 0.5 for value in primary]
    if lower_is_better(material.plan.primary):
        shade = [1 - value for value in shade]
    title = "Parallel coordinates"
    text = (
        f"One line a trained cell; the thicker and lighter, the better by {material.plan.primary}. "
        "Of rank_distance, lower is better."
    )
    columns = (Column("cell"), *(Column(axis.title) for axis in axes))
    rows = tuple(
        (material.name(arm.cell), *(axis.values[number] for axis in axes))
        for number, arm in enumerate(arms)
    )
    description = f"{len(arms)} cells over {len(axes)} axes"
    drawing = parallel(title, description, axes, shade)
    figure = Figure(title, text, drawing, Table("parallel", title, columns, rows), wide=True)
    return Section("Parameters and metrics", (figure,))


def _arms_with_all(
    material: Material, kinds: Sequence[str]
) -> tuple[list[CellResult], list[tuple[float, ...]]]:
    """Return the first arms that have every metric, with their means."""
    cells: list[CellResult] = []
    values: list[tuple[float, ...]] = []
    for arm in material.arms:
        row = [material.mean(arm, kind) for kind in kinds]
        values_of_arm = tuple(value for value in row if value is not None)
        if len(values_of_arm) == len(kinds) and len(cells) < SHOWN_SPOTS:
            cells.append(arm)
            values.append(values_of_arm)
    return cells, values


def _numbered(cells: Sequence[CellResult]) -> Bullets:
    return Bullets(tuple(cell.cell.label for cell in cells), numbered=True)


def _costs(material: Material, cell: CellResult) -> dict[str, float]:
    """Average the recorded costs over a cell's trials."""
    digests = [trial.digest for trial in cell.cell.trials if trial.digest in material.results]
    costs = [
        costs_of(material.results[digest], material.environments.get(digest, {}))
        for digest in digests
    ]
    keys = dict.fromkeys(key for trial_costs in costs for key in trial_costs)
    return {
        key: statistics.fmean(trial_costs[key] for trial_costs in costs if key in trial_costs)
        for key in keys
    }


def costs_of(result: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, float]:
    """Return a trial's recorded costs: seconds, examples, tokens and memory."""
    training, counts = result["training"], result["counts"].get("test", {})
    texts = [counts[name] for name in ("encoded/queries", "encoded/passages") if name in counts]
    known = {
        "seconds": environment.get("seconds"),
        "training examples": training.get("examples"),
        "training tokens": training.get("tokens"),
        "texts encoded for the test": sum(texts) if texts else None,
        "peak memory, MB": environment.get("peak_memory_mb"),
        "peak device memory, MB": environment.get("peak_device_memory_mb"),
    }
    return {
        key: float(value)
        for key, value in known.items()
        if type(value) in (int, float) and abs(value) < LARGEST
    }


def _level(value: Value) -> float | str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return None if value is None else str(value)
