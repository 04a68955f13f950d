"""What a trial asks of Ray: processors, and a GPU or the part of one that it needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from study.launch.nodes import Node
from trainables.spec import Execution, Spec

MARGIN = 1.25
"""Times the estimate of a trial's memory: what is free beside it may be in pieces."""

MOST_SHARING = 8
"""Trials on one GPU: with more they wait for each other, and for the processors beside it."""

GPU_BYTES = {
    "T4": 15e9,
    "V100": 15e9,
    "A10G": 22e9,
    "L4": 22e9,
    "L40S": 44e9,
    "A100": 39e9,
    "A100-40G": 39e9,
    "A100-80G": 79e9,
    "H100": 79e9,
    "H200": 140e9,
}
"""Memory that a trial can have, by what Ray calls a GPU; the smaller where a name has two sizes."""


def part_of_gpu(needed: float, memory: float | None) -> float:
    """The part of a GPU that a trial asks for: one, or one over the number of trials that fit.

    Args:
        needed: Bytes of its peak, the driver's own share included.
        memory: Bytes of the GPU; None where it is not known, and then a trial has one alone.
    """
    fit = 1 if memory is None else int(memory // (MARGIN * needed))
    # Ray counts in ten-thousandths; rounded up, a third would not fit three times
    return math.floor(1e4 / max(1, min(fit, MOST_SHARING))) / 1e4


def smallest_gpu(nodes: Sequence[Node], expected: str | None, own: float | None) -> float | None:
    """Memory of the smallest GPU that a trial may meet; None where one is not known.

    Args:
        nodes: Machines that are there.
        expected: What will be started for the trials, where a person has said it.
        own: Of this machine's GPU, where Ray was started here.
    """
    if own is not None:
        return own
    kinds = {node.accelerator or "" for node in nodes if node.gpus}
    kinds |= {expected} if expected else set()
    sizes = [GPU_BYTES.get(kind) for kind in kinds]
    return min((size for size in sizes if size), default=None) if all(sizes) else None


def slots(nodes: Sequence[Node], execution: Execution) -> int:
    """How many trials with whole GPUs, or on the CPU, can run at once; one at least."""
    each = execution.ranks_each
    if execution.device == "cuda":
        rooms = [node.gpus // each for node in nodes]
    else:
        rooms = [node.cpus // (execution.threads * each) for node in nodes]
    most = sum(rooms) // execution.nodes
    # no trial has two parts on one machine
    while most > 1 and sum(min(room, most) for room in rooms) < most * execution.nodes:
        most -= 1
    return max(1, most)


def most_at_once(
    nodes: Sequence[Node], execution: Execution, needs: Mapping[str, float], memory: float | None
) -> float:
    """Trials that the GPUs of these machines can hold at once; no limit on the CPU.

    Args:
        nodes: All that there will be.
        execution: Of every trial.
        needs: Bytes of a GPU, by what decides a trial's cost.
        memory: As for `part_of_gpu`.
    """
    if execution.device != "cuda":
        return math.inf
    if execution.ranks > 1:
        return slots(nodes, execution)
    least = min((part_of_gpu(needed, memory) for needed in needs.values()), default=1.0)
    return max(1, sum(node.gpus for node in nodes) * int(1 / least))


def request(parts: Mapping[str, float], execution: Execution, config: Mapping[str, Any]) -> Any:
    """What Ray Tune asks Ray for before it starts a trial (called by Tune, of its configuration).

    One bundle, packed: Ray then fills a machine before it takes the next, so that an autoscaler
    finds machines idle and ends them. Of a trial over several machines one bundle on each; the
    trial itself is in the first.
    """
    from ray import tune

    bundle: dict[str, float] = {"CPU": execution.threads * execution.ranks_each}
    if execution.ranks > 1 and execution.device == "cuda":
        bundle["GPU"] = execution.ranks_each
    elif execution.device == "cuda":
        from study.cost.rungs import cost_key

        bundle["GPU"] = parts.get(cost_key(Spec.model_validate_json(config["spec"])), 1.0)
    bundles = [dict(bundle) for _ in range(execution.nodes)]
    strategy = "PACK" if execution.nodes == 1 else "STRICT_SPREAD"
    return tune.PlacementGroupFactory(bundles, strategy=strategy)


def requests(
    needs: Mapping[str, float], execution: Execution, memory: float | None
) -> partial[Any]:
    """`request` for trials that need so many bytes of a GPU, by what decides their cost."""
    parts = {key: part_of_gpu(needed, memory) for key, needed in needs.items()}
    return partial(request, parts, execution)
