"""A plan's time, memory and disk, rung by rung: what a run of it would take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from study.cost.accelerators import ACCELERATORS
from study.cost.accelerators import accelerator as find_accelerator
from study.cost.needs import Need, needs
from study.cost.rungs import Rung, rungs
from study.cost.trial import Cost, Estimator
from study.plan import Plan
from trainables.errors import UserError
from trainables.spec import Execution

IMPORT_SECONDS = 5.0
"""Of a worker's first trial, for torch, transformers and datasets: measured here, 4 to 6."""


@dataclass(frozen=True)
class Estimate:
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

    rungs: tuple[Rung, ...]
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
) -> Estimate:
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
    found = rungs(plan)
    costs = tuple(estimator.cost(rung.spec) for rung in found)
    if accelerator is None:
        workers = min(workers, execution.slots_here)
    return Estimate(
        rungs=found,
        costs=costs,
        needs=needs(plan, places),
        start=IMPORT_SECONDS + estimator.opening,
        workers=max(1, min(workers, sum(rung.trials for rung in found))),
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
