"""Process of a trial that `rank0` starts: `python -m trainables.distributed.rank_worker`.

It loads what process 0 loads, embeds its share of every batch and takes the same steps. It writes
no file, does not evaluate, and ends with process 0, however that ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LOOK_SECONDS = 1.0
"""Interval at which a process checks that its parent still lives."""


def main(work: Callable[[Mapping[str, Any], Any], None] | None = None) -> None:
    """Read the order from stdin, carry it out, and note a failure for process 0.

    Args:
        work: Function of order and group; None trains.
    """
    # unbuffered: what follows the order is for the thread that watches the parent
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stdin:
        order = json.loads(stdin.readline())
    threading.Thread(target=end_with, args=(order["parent"],), daemon=True).start()
    # the shutdown of a machine sends SIGTERM to all processes: process 0 decides when they end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # imported after the watch has started, as these take seconds
    import torch

    from trainables.distributed.group import Group, ProcessLostError
    from trainables.distributed.rank0 import FAILED, LOST
    from trainables.failures import describe

    device = torch.device("cpu")
    if order.get("execution", {}).get("device") == "cuda":
        device = torch.device("cuda", order["index"])
        torch.cuda.set_device(device)
    patience = order["patience"]
    group = Group.follow(order["address"], order["rank"], order["size"], device, patience)
    try:
        (work or train)(order, group)
        group.leave()
        os._exit(0)  # at once: there is nothing to clean up
    except ProcessLostError:
        os._exit(LOST)
    except Exception as error:
        group.note("failure", json.dumps(describe(error)))
        os._exit(FAILED)


def train(order: Mapping[str, Any], group: Any) -> None:
    """Load encoder and training data, then follow the commands of process 0."""
    from trainables import faults
    from trainables.data.catalog import open_training
    from trainables.encoders.registry import open_encoder
    from trainables.spec import Execution, Spec, execution_settings
    from trainables.storage.cache import Cache
    from trainables.training.trainer import Trainer

    spec = Spec.model_validate_json(order["spec"])
    execution, places = Execution(**order["execution"]), order["places"]
    cache = None if order["cache"] is None else Cache(Path(order["cache"]))
    assert spec.train is not None
    with execution_settings(execution):
        data = open_training(
            spec.train,
            places,
            aligned=spec.rows is None,
            negatives=spec.negatives is not None,
        )
        encoder = open_encoder(spec.encoder, spec.test.name, places, execution)
        trainer = Trainer(spec, encoder, data, execution, cache)
        group.note("ready", "")
        for word in group.words():
            if word == "form":
                group.form()
                trainer.join(group)
            elif word == "step":
                faults.at("rank.step", rank=group.rank, step=trainer.step + 1)
                trainer.take_step()
            elif word == "check":
                trainer.check_processes()


def end_with(parent: int) -> None:
    """End this process when its parent closes stdin, or dies while another process holds the pipe.

    Args:
        parent: Process id of the parent.
    """
    while os.getppid() == parent:
        readable, _, _ = select.select([sys.stdin], [], [], LOOK_SECONDS)
        if readable and not os.read(sys.stdin.fileno(), 1):
            break
    os._exit(1)


if __name__ == "__main__":
    main()
