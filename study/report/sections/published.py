"""Section “Published figures”: results of arXiv:2408.10536 as a reference; nothing is tested.

They are from single runs: macro means from Tables 3 to 8 of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping

from study.analysis.results import CellResult
from study.report.document import Block, Column, Section, Table, Text, Value
from study.report.material import Material

SPACES = ("sampling", "mixing_ratio")
"""Spaces that ask the paper's questions."""

Row = tuple[str, str, float, float, float, float]

PUBLISHED: Mapping[str, tuple[Row, ...]] = {
    "xquad_r": (
        ("XLM-R", "X-X", 0.7918, 0.6737, 0.5479, 410.2),
        ("XLM-R", "X-Y", 0.7554, 0.6997, 0.5934, 295.4),
        ("XLM-R", "hybrid", 0.7977, 0.7053, 0.5927, 286.6),
        ("LaBSE", "X-X", 0.8083, 0.7519, 0.6517, 261.5),
        ("LaBSE", "X-Y", 0.8008, 0.7618, 0.6791, 225.2),
        ("LaBSE", "hybrid", 0.8167, 0.7672, 0.6817, 221.1),
    ),
    "mlqa_r": (
        ("XLM-R", "X-X", 0.6475, 0.5843, 0.4731, 287.5),
        ("XLM-R", "X-Y", 0.6256, 0.6200, 0.5076, 226.7),
        ("XLM-R", "hybrid", 0.6481, 0.6234, 0.5121, 227.1),
        ("LaBSE", "X-X", 0.6807, 0.6561, 0.5504, 225.3),
        ("LaBSE", "X-Y", 0.6710, 0.6767, 0.5755, 198.3),
        ("LaBSE", "hybrid", 0.6864, 0.6811, 0.5785, 195.0),
    ),
}
"""Encoder, sampling, map/mono, map/cross, map/multi and rank_distance, by benchmark."""

METRICS = ("map/mono", "map/cross", "map/multi", "rank_distance")

LABEL = "published, single run"


def published(material: Material) -> Section | None:
    """Tabulate the paper's means below ours; None for a space with another question."""
    plan = material.plan
    if plan.space.rpartition("/")[2].removesuffix(".yaml") not in SPACES or not plan.specs:
        return None
    test = next(iter(plan.specs.values())).test.name
    benchmark_of = {"": test} | {f"{also}:": also for also in plan.also}
    rows: list[tuple[Value, ...]] = []
    for prefix, benchmark in benchmark_of.items():
        rows += [_ours(material, arm, prefix, benchmark) for arm in _comparable_arms(material)]
    for benchmark, lines in PUBLISHED.items():
        rows += [
            (f"{sampling}, {encoder}", benchmark, LABEL, *v) for encoder, sampling, *v in lines
        ]
    same = [name for name in benchmark_of.values() if name in PUBLISHED]
    compared = (
        f"Of {', '.join(same)} both are of the same questions; training data and encoders differ "
        "in more than their names say."
        if same
        else f"They are about other data than this study's {test}, and no figure below can be "
        "compared with one above."
    )
    text = (
        "Means published in arXiv:2408.10536 (Tables 3 to 8), each from a single run without any "
        f"interval; a reference, with which nothing here is tested. {compared}"
    )
    columns = (
        *(Column("sampling, encoder"), Column("benchmark"), Column("source")),
        *(Column(name) for name in METRICS[:3]),
        Column(METRICS[3], 1),
    )
    blocks: tuple[Block, ...] = (
        Text(text),
        Table("published", "This study's arms, and the paper's", columns, tuple(rows)),
    )
    return Section("Published figures", blocks)


def _comparable_arms(material: Material) -> list[CellResult]:
    """Return the arms with a result and one of the paper's three samplings."""
    return [arm for arm in material.arms if arm.results and _sampling(material, arm)]


def _sampling(material: Material, arm: CellResult) -> str:
    """Return the paper's name of an arm's sampling; empty if it has none."""
    spec = material.plan.specs[arm.cell.trials[0].digest]
    if spec.sampling in ("X-X", "X-Y"):
        return spec.sampling
    return "hybrid" if spec.sampling == "hybrid" and spec.alpha == 0.5 else ""


def _ours(material: Material, arm: CellResult, prefix: str, benchmark: str) -> tuple[Value, ...]:
    spec = material.plan.specs[arm.cell.trials[0].digest]
    count = len(arm.results)
    source = f"this study, mean of {count} seed{'s' if count > 1 else ''}"
    name = f"{_sampling(material, arm)}, {spec.encoder.name}"
    return (name, benchmark, source, *(material.spread(arm, f"{prefix}{m}") for m in METRICS))
