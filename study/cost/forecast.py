"""What a plan would take, by groups of trials that cost the same, and that in lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from study.cost.accelerators import ACCELERATORS, DRIVER_BYTES
from study.cost.accelerators import accelerator as find_accelerator
from study.cost.groups import CostGroup, cost_key, rungs
from study.cost.inputs_needed import Need, needs
from study.cost.trial import Cost, Estimator
from study.state.plan import Plan
from trainables.errors import UserError
from trainables.spec import Execution

IMPORT_SECONDS = 5.0
"""Of a worker's first trial, for torch, transformers and datasets: measured here, 4 to 6."""


@dataclass(frozen=True)
class Forecast:
    """What a plan takes.

    Attributes:
        rungs: Trials that cost the same, and how many of them there are.
        costs: Of one trial of each rung.
        needs: Data and checkpoints.
        start: Seconds of a worker's first trial for imports, reading and tokenising.
        workers: Trials at once that there are processors or accelerators for.
        accelerator: Name; None for the CPU.
        limit: Bytes of the accelerator's memory; None for the CPU.
    """

    rungs: tuple[CostGroup, ...]
    costs: tuple[Cost, ...]
    needs: tuple[Need, ...]
    start: float
    workers: int
    accelerator: str | None
    limit: float | None

    @property
    def trials(self) -> int:
        """All of them."""
        return sum(rung.trials for rung in self.rungs)

    @property
    def seconds(self) -> float:
        """Of all trials, one after the other: what is booked of workers or accelerators."""
        each = zip(self.rungs, self.costs, strict=True)
        return self.workers * self.start + sum(rung.trials * cost.seconds for rung, cost in each)

    @property
    def wall(self) -> float:
        """Seconds from start to end, all workers busy; never less than the longest trial."""
        longest = max((cost.seconds for cost in self.costs), default=0.0)
        return max(self.seconds / max(1, self.workers), self.start + longest)

    def peak(self, cost: Cost) -> int:
        """Bytes of a trial where it computes."""
        return cost.memory.cpu if self.accelerator is None else cost.memory.device


def estimate(
    plan: Plan,
    places: Mapping[str, str],
    execution: Execution,
    workers: int,
    accelerator: str | None = None,
) -> Forecast:
    """Estimate what a plan takes, by operations over a device's rate.

    On the CPU the rate is measured here, in a few seconds; an accelerator's is a share of its data
    sheet's peak. Data and tokenizers that are at hand are read, others are assumed.

    Args:
        plan: What is to run.
        places: Digest to folder of the data and checkpoints at hand.
        execution: Of every trial; its device is `cuda` where an accelerator is named.
        workers: Trials at once.
        accelerator: Of `accelerators.ACCELERATORS`; None for the CPU, or for the GPU found here.

    Raises:
        UserError: An accelerator or encoder whose size is not known.
    """
    if execution.device == "cuda" and accelerator is None:
        accelerator = _found_here()
    if accelerator is not None:
        execution = replace(execution, device="cuda")
    estimator = Estimator(places, execution, accelerator)
    groups = rungs(plan)
    costs = tuple(estimator.cost(rung.spec) for rung in groups)
    if accelerator is None:
        workers = min(workers, execution.slots_here)
    return Forecast(
        rungs=groups,
        costs=costs,
        needs=needs(plan, places),
        start=IMPORT_SECONDS + estimator.opening,
        workers=max(1, min(workers, sum(rung.trials for rung in groups))),
        accelerator=accelerator,
        limit=None if accelerator is None else find_accelerator(accelerator).memory,
    )


def _found_here() -> str:
    """The entry of the GPU that torch finds here.

    Raises:
        UserError: It is none of them.
    """
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    entry = next((key for key in sorted(ACCELERATORS, key=len)[::-1] if key in name), None)
    if entry is None:
        raise UserError(
            f"accelerator {name!r}: its rate is not known; name one of {', '.join(ACCELERATORS)}"
        )
    return entry


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


def describe(forecast: Forecast) -> list[str]:
    """The estimate: three lines a rung, then what a run needs, then what all this rests on."""
    lines = ["Estimated cost:"]
    for rung, cost in zip(forecast.rungs, forecast.costs, strict=True):
        lines += [f"  {line}" for line in _rung(forecast, rung, cost)]
    device = forecast.accelerator or "CPU"
    lines.append(
        f"  all {forecast.trials} trials: {hours(forecast.seconds)} of {device}, "
        f"{hours(forecast.wall)} with {forecast.workers} at once "
        f"(of it {forecast.start:.0f} s to start each worker)"
    )
    if forecast.accelerator is None and forecast.seconds > LONG:
        lines.append(f"  on an accelerator: add --accelerator {', '.join(ACCELERATORS)}")
    lines.append("Needed:")
    lines += [f"  {need}" for need in forecast.needs]
    lines.append("Based on:")
    said = [line for cost in forecast.costs for line in cost.basis]
    return lines + [f"  {line}" for line in dict.fromkeys(said)]


def _rung(forecast: Forecast, rung: CostGroup, cost: Cost) -> list[str]:
    """What the trials of a rung take, and a warning where they do not fit."""
    number = f"cells: {rung.cells}, seeds: {rung.seeds}, different trials: {rung.trials}"
    each = f"each {duration(cost.train)} training + {duration(cost.evaluate)} evaluation"
    memory, limit = forecast.peak(cost), forecast.limit
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
        lines.append(f"  DOES NOT FIT in {forecast.accelerator}: choose one with more memory")
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


def gpu_bytes(plan: Plan, places: Mapping[str, str], execution: Execution) -> dict[str, float]:
    """Bytes of a GPU's memory at the peak of a trial, by what decides its cost.

    Args:
        plan: Whose trials; those that cost the same are estimated once.
        places: Digest to folder of the data and checkpoints at hand.
        execution: Of every trial, on `cuda`.
    """
    estimator = Estimator(places, execution, None)
    return {
        cost_key(rung.spec): DRIVER_BYTES + estimator.memory(rung.spec).device
        for rung in rungs(plan)
    }
