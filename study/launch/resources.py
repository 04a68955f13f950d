"""Decide how many trials run at once and what each requests of Ray; check that all see the root."""

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
"""Factor on a trial's memory estimate, since free GPU memory may be fragmented."""

MOST_SHARING = 8
"""Maximum number of trials on one GPU; more would wait for each other and for the CPU."""

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
"""Usable memory by Ray's name of a GPU, in bytes; the smaller one if a name has two sizes."""


def part_of_gpu(needed: float, memory: float | None) -> float:
    """Return the share of a GPU to request: one over the number of trials that fit on it.

    Args:
        needed: Peak memory of a trial in bytes, including the CUDA context.
        memory: Memory of the GPU in bytes; None if unknown, so that a trial gets a whole GPU.
    """
    fit = 1 if memory is None else int(memory // (MARGIN * needed))
    # Ray counts in ten-thousandths: rounded up, a third would not fit three times
    return math.floor(1e4 / max(1, min(fit, MOST_SHARING))) / 1e4


def smallest_gpu(nodes: Sequence[Node], expected: str | None, own: float | None) -> float | None:
    """Return the memory in bytes of the smallest GPU that a trial may get; None if one is unknown.

    Args:
        nodes: Machines of the cluster.
        expected: GPU type that an autoscaler will start, if the user named it.
        own: Memory of this machine's GPU, if Ray was started here.
    """
    if own is not None:
        return own
    kinds = {node.accelerator or "" for node in nodes if node.gpus}
    kinds |= {expected} if expected else set()
    sizes = [GPU_BYTES.get(kind) for kind in kinds]
    return min((size for size in sizes if size), default=None) if all(sizes) else None


def slots(nodes: Sequence[Node], execution: Execution) -> int:
    """Count the trials with whole GPUs, or on the CPU, that can run at once; at least one."""
    ranks_each = execution.ranks_each
    if execution.device == "cuda":
        slots_per_node = [node.gpus // ranks_each for node in nodes]
    else:
        slots_per_node = [node.cpus // (execution.threads * ranks_each) for node in nodes]
    most = sum(slots_per_node) // execution.nodes
    # a trial over several machines has only one part on each
    while most > 1 and sum(min(n, most) for n in slots_per_node) < most * execution.nodes:
        most -= 1
    return max(1, most)


def most_at_once(
    nodes: Sequence[Node], execution: Execution, needs: Mapping[str, float], memory: float | None
) -> float:
    """Return how many trials the GPUs can hold at once; infinity on the CPU.

    Args:
        nodes: All machines, none of which is still to be started.
        execution: Execution of every trial.
        needs: GPU memory of trials in bytes, by `cost_key`.
        memory: GPU memory, as for `part_of_gpu`.
    """
    if execution.device != "cuda":
        return math.inf
    if execution.ranks > 1:
        return slots(nodes, execution)
    least = min((part_of_gpu(needed, memory) for needed in needs.values()), default=1.0)
    return max(1, sum(node.gpus for node in nodes) * int(1 / least))


def request(parts: Mapping[str, float], execution: Execution, config: Mapping[str, Any]) -> Any:
    """Return a trial's placement group from its configuration (called by Ray Tune).

    One bundle, packed: Ray fills a machine before it uses the next, so an autoscaler can end idle
    ones. A trial over several machines has one bundle on each and runs in the first.
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
    """Bind `request` to the GPU shares for these memory needs."""
    parts = {key: part_of_gpu(needed, memory) for key, needed in needs.items()}
    return partial(request, parts, execution)


@dataclass(frozen=True)
class Placing:
    """What a launch requests of Ray.

    Attributes:
        workers: Concurrent trials.
        request: `request`, bound to all but a trial's configuration.
        proof: File that every machine must see; empty if there is nothing to check.
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
    """Size a launch to the Ray cluster that this process is connected to; the block is the launch.

    Args:
        root: Root of the trial folders.
        execution: Execution of every trial.
        workers: Concurrent trials; None for as many as there is room for now.
        address: Address of a running cluster; None if Ray was started here.
        needs: GPU memory of trials in bytes, by `cost_key`; others get a whole GPU.
        accelerator: Ray's name of the GPUs that an autoscaler will start.
        places: Local paths of data and checkpoints, by digest; inputs that another machine may lack
            are published under the root.

    Raises:
        UserError: Trials would run on a machine that does not see the root.
    """
    nodes = alive()
    workers = workers or slots(nodes, execution)
    own_memory = own_gpu() if address is None and execution.device == "cuda" else None
    memory = smallest_gpu(nodes, accelerator, own_memory)
    if address is None:  # a local Ray gets no further machines
        workers = int(min(workers, most_at_once(nodes, execution, needs, memory)))
    # an autoscaler starts machines for pending trials: let Tune show it as many as may run
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
    """List the digests of inputs here that some machine with trials lacks, or may lack."""
    local = places.keys() - absent(places)
    remote = [node for node in nodes if not node.here and node.takes_trials]
    if not local or (not remote and any(node.takes_trials for node in nodes)):
        return []
    if not remote:  # the machines are still to be started
        return sorted(local)
    answers = on_each(remote, absent, dict(places)).values()
    return sorted(
        local & {digest for answer in answers if isinstance(answer, list) for digest in answer}
    )


def own_gpu() -> float:
    """Return the memory in bytes of this machine's smallest GPU."""
    import torch

    count = torch.cuda.device_count()
    return float(min(torch.cuda.get_device_properties(i).total_memory for i in range(count)))
