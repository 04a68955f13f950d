"""Groups of trials that cost the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from study.console import count_of
from study.state.plan import Plan
from trainables.spec import Spec

COSTLY = {
    "encoder", "test", "also", "validation", "train", "batch_size", "steps", "hard_negatives",
    "image_tower", "max_rows", "evaluate_every", "select",
}  # fmt: skip
"""Fields of a spec that decide its cost, beside the number of training languages; sampling, ratio,
rate and seed do not, and the choice of languages hardly does."""


@dataclass(frozen=True)
class CostGroup:
    """Trials that cost the same.

    Attributes:
        spec: Spec of one of them.
        label: Encoder, batch size, steps and what else differs from other groups.
        cells: Number of cells with such trials.
        seeds: Largest number of such trials in one cell.
        trials: Number of different trials.
    """

    spec: Spec
    label: str
    cells: int
    seeds: int
    trials: int


def groups(plan: Plan) -> tuple[CostGroup, ...]:
    """Group all trials of a plan by cost, in the order of its cells."""
    cells: dict[str, Counter[str]] = {}
    specs: dict[str, dict[str, Spec]] = {}
    for cell in plan.cells:
        for trial in cell.trials:
            key = cost_key(plan.specs[trial.digest])
            specs.setdefault(key, {})[trial.digest] = plan.specs[trial.digest]
            cells.setdefault(key, Counter())[cell.label] += 1
    first = {key: next(iter(by_digest.values())) for key, by_digest in specs.items()}
    trained = [_costly(spec) for spec in first.values() if spec.steps]
    differing = {k for k in next(iter(trained), ()) if len({repr(x[k]) for x in trained}) > 1}
    return tuple(
        CostGroup(
            spec=spec,
            label=_label(spec, differing),
            cells=len(cells[key]),
            seeds=max(cells[key].values()),
            trials=len(specs[key]),
        )
        for key, spec in first.items()
    )


def cost_key(spec: Spec) -> str:
    """Return a key that is equal for trials that cost the same."""
    return repr(_costly(spec))


def _costly(spec: Spec) -> dict[str, Any]:
    """Return the fields that decide the cost of a trial, with the number of its languages."""
    return spec.model_dump(include=COSTLY) | {"languages": len(spec.languages or ())}


def _label(spec: Spec, differing: set[str]) -> str:
    """Name a group by encoder, batch size, steps and the fields of `differing`."""
    if not spec.steps:
        return f"{spec.encoder.name}, untrained, {spec.test.name}"
    words = [spec.encoder.name, f"batch {spec.batch_size}", f"{spec.steps} steps"]
    if "languages" in differing:
        words.append(count_of(len(spec.languages or ()), "language"))
    if "test" in differing:
        words.append(spec.test.name)
    if "train" in differing and spec.train is not None:
        words.append(f"trained on {spec.train.name}")
    for key in ("hard_negatives", "max_rows", "evaluate_every", "image_tower"):
        if key in differing and (value := getattr(spec, key)) is not None:
            words.append(f"{value} rows" if key == "max_rows" else f"{key} {value}")
    return ", ".join(words)
