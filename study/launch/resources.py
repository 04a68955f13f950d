"""How many trials run at once, what each asks of Ray, and whether they may share the root."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from study.launch.nodes import Node, alive, on_each, shared_root
from trainables.spec import Execution, Spec
from trainables.storage.inputs import absent, publish
from trainables.storage.paths import AnyPath

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
        from study.cost.groups import cost_key

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


@dataclass(frozen=True)
class Placing:
    """What a launch asks of Ray.

    Attributes:
        workers: Trials at once.
        request: Of a trial's configuration, what Ray Tune asks for before it starts the trial.
        proof: A file that every machine must see; empty where there is nothing to check.
    """

    workers: int
    request: partial[Any]
    proof: str


@contextmanager
def placing(
    root: AnyPath,
    execution: Execution,
    workers: int | None,
    address: str | None,
    needs: Mapping[str, float],
    accelerator: str | None = None,
    places: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Placing]:
    """Look at the Ray that this process is connected to; the block is the launch.

    Args:
        root: Of trial folders.
        execution: Of every trial.
        workers: Trials at once; None for as many as there is room for now.
        address: Of a running cluster; None where Ray was started here.
        needs: Bytes of a GPU, by what decides a trial's cost; a whole one where it is not there.
        accelerator: What GPUs an autoscaler will start, by Ray's name.
        places: Digest to folder of data and checkpoints; what another machine lacks is put under
            the root, where it fetches it.

    Raises:
        UserError: Trials would run on a machine that does not see the root.
    """
    nodes = alive()
    workers = workers or slots(nodes, execution)
    own = own_gpu() if address is None and execution.device == "cuda" else None
    memory = smallest_gpu(nodes, accelerator, own)
    if address is None:  # no further machine will come
        workers = int(min(workers, most_at_once(nodes, execution, needs, memory)))
    # an autoscaler starts machines for trials that wait; Tune shows it as many as may run
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(workers)
    requested = requests(needs, execution, memory)
    if address is None:
        yield Placing(workers, requested, "")
        return
    with shared_root(root, nodes) as proof:
        for digest in lacking(places, nodes):
            publish(root, digest, places[digest])
        yield Placing(workers, requested, proof)


def lacking(places: Mapping[str, str], nodes: Sequence[Node]) -> list[str]:
    """Digests of what is here and is not, or may not be, on a machine that takes trials."""
    here = places.keys() - absent(places)
    others = [node for node in nodes if not node.here and node.takes_trials]
    if not here or (not others and any(node.takes_trials for node in nodes)):
        return []
    if not others:  # they are still to be started
        return sorted(here)
    answers = on_each(others, absent, dict(places)).values()
    return sorted(here & {name for said in answers if isinstance(said, list) for name in said})


def own_gpu() -> float:
    """Bytes of memory of the smallest GPU of this machine."""
    import torch

    count = torch.cuda.device_count()
    return float(min(torch.cuda.get_device_properties(i).total_memory for i in range(count)))
