"""Where the trials of a launch run: how many at once, what each asks for, and if it is safe."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from study.launch.nodes import Node, alive, on_each, shared_root
from study.launch.resources import most_at_once, requests, slots, smallest_gpu
from trainables.inputs import absent, publish
from trainables.places import Place
from trainables.spec import Execution


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
    root: Place,
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
    asked = requests(needs, execution, memory)
    if address is None:
        yield Placing(workers, asked, "")
        return
    with shared_root(root, nodes) as proof:
        for digest in lacking(places, nodes):
            publish(root, digest, places[digest])
        yield Placing(workers, asked, proof)


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
