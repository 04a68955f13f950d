"""An estimate in plain lines."""

from __future__ import annotations

from study.cost.accelerators import DRIVER_BYTES
from study.cost.estimate import Estimate
from study.cost.rungs import Rung
from study.cost.trial import Cost


def describe(estimate: Estimate) -> list[str]:
    """The estimate: one line a rung, then what a run needs, then what all this rests on."""
    lines = ["Estimated cost:"]
    for rung, cost in zip(estimate.rungs, estimate.costs, strict=True):
        lines += [f"  {line}" for line in _rung(estimate, rung, cost)]
    device = estimate.accelerator or "CPU"
    lines.append(
        f"  all {estimate.trials} trials: {hours(estimate.seconds)} of {device}, "
        f"{hours(estimate.wall)} with {estimate.workers} at once "
        f"(of it {estimate.start:.0f} s to start each worker)"
    )
    lines.append("Needed:")
    lines += [f"  {need}" for need in estimate.needs]
    lines.append("Based on:")
    said = [line for cost in estimate.costs for line in cost.basis]
    return lines + [f"  {line}" for line in dict.fromkeys(said)]


def _rung(estimate: Estimate, rung: Rung, cost: Cost) -> list[str]:
    """What the trials of a rung take, and a warning where they do not fit."""
    number = f"{rung.cells} cells x {rung.seeds} seeds = {rung.trials} trials"
    if rung.cells * rung.seeds != rung.trials:
        number = f"{rung.cells} cells, up to {rung.seeds} seeds, {rung.trials} different trials"
    times = f"{duration(cost.train)} training + {duration(cost.evaluate)} evaluation"
    parts = [number, f"{times} each", f"{hours(rung.trials * cost.seconds)} in all"]
    memory, limit = estimate.peak(cost), estimate.limit
    if limit is None:
        parts.append(f"memory {size(memory)}")
    else:
        parts.append(f"memory {size(memory + DRIVER_BYTES)} of {size(limit)}")
        parts.append(f"host memory {size(cost.memory.host)}")
    if cost.memory.checkpoint:
        parts.append(f"checkpoint {size(cost.memory.checkpoint)}")
        parts.append(f"{cost.step.tokens:.0f} tokens a step")
    lines = [f"{rung.label}: {'; '.join(parts)}"]
    if limit is not None and memory + DRIVER_BYTES > limit:
        lines.append(f"  DOES NOT FIT in {estimate.accelerator}: choose one with more memory")
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
