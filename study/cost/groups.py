"""Trials that cost the same, counted together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from study.console import count_of
from study.state.plan import Plan
from trainables.spec import Spec

COSTLY = {
    "encoder",
    "test",
    "also",
    "validation",
    "train",
    "batch_size",
    "steps",
    "hard_negatives",
    "max_rows",
    "evaluate_every",
    "select",
}
"""Fields of a spec that decide its cost, with the number of training languages; samplings, ratios,
rates and seeds do not, and which languages they are hardly does."""


@dataclass(frozen=True)
class CostGroup:
    """Trials that cost the same.

    Attributes:
        spec: Of one of them.
        label: Encoder, batch size, steps and what else differs from other rungs.
        cells: Cells that hold such trials.
        seeds: Trials of the cell that has most.
        trials: Different ones.
    """

    spec: Spec
    label: str
    cells: int
    seeds: int
    trials: int


def rungs(plan: Plan) -> tuple[CostGroup, ...]:
    """The rungs of a plan, in the order of its cells; every trial is in one."""
    digests: dict[str, set[str]] = {}
    cells: dict[str, dict[str, int]] = {}
    specs: dict[str, Spec] = {}
    for cell in plan.cells:
        for trial in cell.trials:
            spec = plan.specs[trial.digest]
            key = cost_key(spec)
            specs.setdefault(key, spec)
            digests.setdefault(key, set()).add(trial.digest)
            counts = cells.setdefault(key, {})
            counts[cell.label] = counts.get(cell.label, 0) + 1
    differing = _differing(list(specs.values()))
    return tuple(
        CostGroup(
            spec=spec,
            label=_label(spec, differing),
            cells=len(cells[key]),
            seeds=max(cells[key].values()),
            trials=len(digests[key]),
        )
        for key, spec in specs.items()
    )


def cost_key(spec: Spec) -> str:
    """The same for trials that cost the same."""
    return repr(_costly(spec))


def _costly(spec: Spec) -> dict[str, Any]:
    """What decides the cost of a trial."""
    return spec.model_dump(include=COSTLY) | {"languages": len(spec.languages or ())}


def _differing(specs: list[Spec]) -> set[str]:
    """Fields in which the specs that train differ, of those that the label may name."""
    trained = [_costly(spec) for spec in specs if spec.steps]
    keys = trained[0] if trained else ()
    return {key for key in keys if len({repr(spec[key]) for spec in trained}) > 1}


def _label(spec: Spec, differing: set[str]) -> str:
    """Encoder, batch size and steps, and what else is not the same everywhere."""
    if not spec.steps:
        return f"{spec.encoder.name}, untrained, {spec.test.name}"
    words = [spec.encoder.name, f"batch {spec.batch_size}", f"{spec.steps} steps"]
    if "languages" in differing:
        words.append(count_of(len(spec.languages or ()), "language"))
    if "test" in differing:
        words.append(spec.test.name)
    if "train" in differing and spec.train is not None:
        words.append(f"trained on {spec.train.name}")
    for key in ("hard_negatives", "max_rows", "evaluate_every"):
        if key in differing and (value := getattr(spec, key)) is not None:
            words.append(f"{value} rows" if key == "max_rows" else f"{key} {value}")
    return ", ".join(words)
