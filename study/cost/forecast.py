"""What a plan would take, by groups of trials that cost the same, and that in lines."""

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
"""Of a worker's first trial, for torch, transformers and datasets: measured here, 4 to 6."""

DRIVER_BYTES = 1_000_000_000
"""Of the CUDA context and the workspaces of its libraries: assumed, not measured."""

LONG = 24 * 3600
"""Seconds on the CPU from which accelerators are pointed out."""


@dataclass(frozen=True)
class Forecast:
    """What a plan takes.

    Attributes:
        costs: Trials that cost the same, and what one of them takes.
        needs: Data and checkpoints.
        start: Seconds of a worker's first trial for imports, reading and tokenising.
        pictures: Seconds to compute the vectors of pictures, once a study.
        workers: Trials at once that there are processors or accelerators for.
        accelerator: Name; None for the CPU.
    """

    costs: tuple[tuple[CostGroup, Cost], ...]
    needs: tuple[Need, ...]
    start: float
    pictures: float
    workers: int
    accelerator: str | None

    @property
    def trials(self) -> int:
        """All of them."""
        return sum(group.trials for group, _ in self.costs)

    @property
    def seconds(self) -> float:
        """Of all trials, one after the other: what is booked of workers or accelerators."""
        once = self.workers * self.start + self.pictures
        return once + sum(group.trials * cost.seconds for group, cost in self.costs)

    @property
    def wall(self) -> float:
        """Seconds from start to end, all workers busy; never less than the longest trial."""
        longest = max((cost.seconds for _, cost in self.costs), default=0.0)
        return max(self.seconds / self.workers, self.start + self.pictures + longest)


def estimate(
    plan: Plan,
    places: Mapping[str, str],
    execution: Execution,
    workers: int | None,
    accelerator: str | None = None,
) -> Forecast:
    """Estimate what a plan takes, by operations over a device's rate.

    On the CPU the rate is measured here, in a few seconds; an accelerator's is a share of its data
    sheet's peak. Data and tokenizers that are at hand are read, others are assumed.

    Args:
        plan: What is to run.
        places: Digest to folder of the data and checkpoints at hand.
        execution: Of every trial; its device is `cuda` where an accelerator is named.
        workers: Trials at once; None for as many as fit on the CPU, or one accelerator.
        accelerator: Of `speed.ACCELERATORS`; None for the CPU, or for the GPU found here.

    Raises:
        UserError: An accelerator or encoder whose size is not known.
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
    """The estimate: three lines a group, then what a run needs, then what all this rests on."""
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
    """What the trials of a group take, and a warning where they do not fit."""
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
    """A time in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def hours(seconds: float) -> str:
    """A time that is booked, in hours; in minutes where these are few."""
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds / 60:.1f} min"


def size(count: float) -> str:
    """Bytes in decimal units."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def gpu_bytes(plan: Plan, places: Mapping[str, str], execution: Execution) -> dict[str, float]:
    """Bytes of a GPU's memory at the peak of a trial, by what decides its cost.

    Args:
        plan: Whose trials; those that cost the same are estimated once.
        places: Digest to folder of the data and checkpoints at hand.
        execution: Of every trial, on `cuda`.
    """
    estimator = Estimator(places, execution, None)
    specs = [group.spec for group in groups(plan)]
    return {cost_key(spec): DRIVER_BYTES + estimator.needs(spec)[1] for spec in specs}
