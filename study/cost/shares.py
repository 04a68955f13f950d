"""How much of a GPU the trials of a plan need, so that small ones can have one together."""

from __future__ import annotations

from collections.abc import Mapping

from study.cost.accelerators import DRIVER_BYTES
from study.cost.rungs import cost_key, rungs
from study.cost.trial import Estimator
from study.plan import Plan
from trainables.spec import Execution


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
