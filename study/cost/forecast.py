"""Forecast of a plan's time and memory, by groups of trials that cost the same, and its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from study.cost.groups import CostGroup, cost_key, groups
from study.cost.inputs_needed import Need, needs
from study.cost.speed import ACCELERATORS, known_accelerator
from study.cost.trial import Cost, Estimator
from study.state.plan import Plan
from trainables.spec import Execution

IMPORT_SECONDS = 5.0
"""Seconds to import torch, transformers and datasets in a new worker: measured, 4 to 6."""

DRIVER_BYTES = 1_000_000_000
"""GPU memory of the CUDA context and its libraries' workspaces: assumed, not measured."""

LONG = 24 * 3600
"""CPU seconds of a plan above which accelerators are suggested."""


@dataclass(frozen=True)
class Forecast:
    """Estimated cost of a plan.

    Attributes:
        costs: Groups of trials that cost the same, each with the cost of one trial.
        needs: Data and checkpoints.
        start: Seconds that each worker takes once for imports, reading and tokenising.
        pictures: Seconds to compute the vectors of pictures, once a study.
        workers: Number of trials that run at once.
        accelerator: Key of `speed.ACCELERATORS`; None for the CPU.
    """

    costs: tuple[tuple[CostGroup, Cost], ...]
    needs: tuple[Need, ...]
    start: float
    pictures: float
    workers: int
    accelerator: str | None

    @property
    def trials(self) -> int:
        """Number of different trials."""
        return sum(group.trials for group, _ in self.costs)

    @property
    def seconds(self) -> float:
        """Seconds that all workers or accelerators compute, added up."""
        once = self.workers * self.start + self.pictures
        return once + sum(group.trials * cost.seconds for group, cost in self.costs)

    @property
    def wall(self) -> float:
        """Seconds from start to end with all workers busy, at least those of the longest trial."""
        longest = max((cost.seconds for _, cost in self.costs), default=0.0)
        return max(self.seconds / self.workers, self.start + self.pictures + longest)


def estimate(
    plan: Plan,
    places: Mapping[str, str],
    execution: Execution,
    workers: int | None,
    accelerator: str | None = None,
) -> Forecast:
    """Estimate the cost of a plan as operations divided by the device's rate.

    The CPU's rate is measured in a few seconds; an accelerator's is a share of its data sheet's
    peak. Local data and tokenizers are read; sizes of others are assumed.

    Args:
        plan: Plan to estimate.
        places: Local folders of data and checkpoints, by digest.
        execution: Execution of every trial; its device becomes `cuda` if `accelerator` is given.
        workers: Trials at once; None for as many as fit on this CPU, or for one accelerator.
        accelerator: Key of `speed.ACCELERATORS`; None for the device of `execution`, for `cuda`
            the GPU that torch finds here.

    Raises:
        UserError: The accelerator is unknown, or an encoder cannot be built.
    """
    if execution.device == "cuda" or accelerator is not None:
        accelerator, most = known_accelerator(accelerator), workers or 1
        execution = replace(execution, device="cuda")
    else:
        most = min(workers or execution.slots_here, execution.slots_here)
    estimator = Estimator(places, execution, accelerator)
    costs = tuple((group, estimator.cost(group.spec)) for group in groups(plan))
    return Forecast(
        costs=costs,
        needs=needs(plan, places),
        start=IMPORT_SECONDS + estimator.library.opening,
        pictures=sum(estimator.pictures.values()),
        workers=max(1, min(most, sum(group.trials for group, _ in costs))),
        accelerator=accelerator,
    )


def describe(forecast: Forecast) -> Iterator[str]:
    """Format the estimate: lines for each group, then the needed inputs, then its basis."""
    yield "Estimated cost:"
    for group, cost in forecast.costs:
        yield from (f"  {line}" for line in _group(forecast, group, cost))
    yield (
        f"  all {forecast.trials} trials: {hours(forecast.seconds)} of "
        f"{forecast.accelerator or 'CPU'}, {hours(forecast.wall)} with {forecast.workers} at once "
        f"(of it {forecast.start:.0f} s to start each worker)"
    )
    if forecast.pictures:
        yield f"  pictures, once: {hours(forecast.pictures)} of it"
    if forecast.accelerator is None and forecast.seconds > LONG:
        yield f"  on an accelerator: add --accelerator {', '.join(ACCELERATORS)}"
    yield "Needed:"
    yield from (f"  {need}" for need in forecast.needs)
    yield "Based on:"
    yield from dict.fromkeys(f"  {line}" for _, cost in forecast.costs for line in cost.basis)


def _group(forecast: Forecast, group: CostGroup, cost: Cost) -> Iterator[str]:
    """Format the cost of a group, with a warning if its trials do not fit in memory."""
    yield group.label
    yield (
        f"  cells: {group.cells}, seeds: {group.seeds}, different trials: {group.trials}; "
        f"each {duration(cost.train)} training + {duration(cost.evaluate)} evaluation; "
        f"together {hours(group.trials * cost.seconds)}"
    )
    memory, limit = cost.memory.compute, float("inf")
    sizes = f"  memory {size(memory)}"
    if forecast.accelerator is not None:
        memory, limit = memory + DRIVER_BYTES, ACCELERATORS[forecast.accelerator].memory
        sizes = f"  memory {size(memory)} of {size(limit)}, {size(cost.memory.host)} of the host"
    if stored := cost.memory.checkpoint:
        sizes += f"; checkpoint {size(stored)}; {cost.step.tokens:.0f} tokens a step"
    yield sizes
    if memory > limit:
        yield f"  DOES NOT FIT in {forecast.accelerator}: choose one with more memory"


def duration(seconds: float) -> str:
    """Format seconds as seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def hours(seconds: float) -> str:
    """Format seconds as hours, or as minutes below 0.1 h."""
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds / 60:.1f} min"


def size(count: float) -> str:
    """Format bytes in decimal units."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def gpu_bytes(plan: Plan, places: Mapping[str, str], execution: Execution) -> dict[str, float]:
    """Estimate the peak GPU memory of a trial in bytes, by `cost_key`.

    Args:
        plan: Plan of the trials; those that cost the same are estimated once.
        places: Local folders of data and checkpoints, by digest.
        execution: Execution of every trial, on `cuda`.
    """
    estimator = Estimator(places, execution, None)
    specs = [group.spec for group in groups(plan)]
    return {cost_key(spec): DRIVER_BYTES + estimator.needs(spec)[1] for spec in specs}
