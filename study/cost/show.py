"""An estimate in plain lines."""

from __future__ import annotations

from collections.abc import Mapping

from study.cost.accelerators import ACCELERATORS, DRIVER_BYTES
from study.cost.estimate import Estimate, estimate
from study.cost.rungs import Rung
from study.cost.trial import Cost
from study.plan import Plan
from trainables.spec import Execution

LONG = 24 * 3600
"""Seconds on the CPU from which accelerators are pointed out."""


def forecast(
    plan: Plan,
    places: Mapping[str, str],
    execution: Execution,
    workers: int | None,
    accelerator: str | None,
) -> list[str]:
    """What `run --dry-run` says of cost: `estimate`, described; `workers` as many as fit if None.

    Raises:
        UserError: As `estimate`.
    """
    if workers is None and accelerator is None and execution.device == "cpu":
        workers = execution.slots_here
    return describe(estimate(plan, places, execution, workers or 1, accelerator))


def describe(found: Estimate) -> list[str]:
    """The estimate: three lines a rung, then what a run needs, then what all this rests on."""
    lines = ["Estimated cost:"]
    for rung, cost in zip(found.rungs, found.costs, strict=True):
        lines += [f"  {line}" for line in _rung(found, rung, cost)]
    device = found.accelerator or "CPU"
    lines.append(
        f"  all {found.trials} trials: {hours(found.seconds)} of {device}, "
        f"{hours(found.wall)} with {found.workers} at once "
        f"(of it {found.start:.0f} s to start each worker)"
    )
    if found.accelerator is None and found.seconds > LONG:
        lines.append(f"  on an accelerator: add --accelerator {', '.join(ACCELERATORS)}")
    lines.append("Needed:")
    lines += [f"  {need}" for need in found.needs]
    lines.append("Based on:")
    said = [line for cost in found.costs for line in cost.basis]
    return lines + [f"  {line}" for line in dict.fromkeys(said)]


def _rung(found: Estimate, rung: Rung, cost: Cost) -> list[str]:
    """What the trials of a rung take, and a warning where they do not fit."""
    number = f"cells: {rung.cells}, seeds: {rung.seeds}, different trials: {rung.trials}"
    each = f"each {duration(cost.train)} training + {duration(cost.evaluate)} evaluation"
    memory, limit = found.peak(cost), found.limit
    if limit is not None:
        memory += DRIVER_BYTES
        sizes = [f"memory {size(memory)} of {size(limit)}, {size(cost.memory.host)} of the host"]
    else:
        sizes = [f"memory {size(memory)}"]
    if cost.memory.checkpoint:
        sizes.append(f"checkpoint {size(cost.memory.checkpoint)}")
        sizes.append(f"{cost.step.tokens:.0f} tokens a step")
    lines = [
        rung.label,
        f"  {number}; {each}; together {hours(rung.trials * cost.seconds)}",
        f"  {'; '.join(sizes)}",
    ]
    if limit is not None and memory > limit:
        lines.append(f"  DOES NOT FIT in {found.accelerator}: choose one with more memory")
    return lines


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def hours(seconds: float) -> str:
    """A time that is booked: hours, and what they are in words that fit small studies too."""
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds / 60:.1f} min"


def size(count: float) -> str:
    """Bytes in decimal units."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
