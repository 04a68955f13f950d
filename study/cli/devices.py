"""`--device`: where trials compute. It is no part of a plan; every result records it."""

from __future__ import annotations

from pathlib import Path

from trainables.errors import UserError

DEVICES = ("auto", "cpu", "cuda")

NODES = ("nvidia[0-9]*", "nvidia-caps", "dxg")
"""What a machine with a GPU has in /dev, WSL2 included."""


def choose_device(device: str, address: str | None, ranks: int = 1) -> str:
    """The device of every trial.

    Args:
        device: `cpu`, `cuda`, or `auto` for CUDA where this machine has it.
        address: Of a running cluster, whose nodes are not those of this machine: `auto` is then
            the CPU, and `cuda` asks the cluster for a GPU a trial.
        ranks: GPUs of each trial.

    Raises:
        UserError: Another word, or no CUDA on the machine that is to run the trials, or too few
            GPUs.
    """
    if device not in DEVICES:
        raise UserError(f"--device {device}: choose {', '.join(DEVICES)}")
    if device == "cpu" or (device == "auto" and address is not None):
        return "cpu"
    if address is not None:
        return "cuda"
    if has_cuda():
        _refuse_too_few(ranks)
        return "cuda"
    if device == "cuda":
        raise UserError(
            "--device cuda: torch finds no CUDA device here; use --device cpu, a CUDA build of "
            "torch, or --address of a cluster that has GPUs"
        )
    return "cpu"


def refuse_layout(ranks: int, nodes: int, *, cluster: bool) -> None:
    """Stop where ranks cannot be dealt to machines.

    Raises:
        UserError: There are no other machines, or some would have more ranks than others.
    """
    if nodes > 1 and not cluster:
        raise UserError(f"--nodes {nodes}: a trial over several machines needs --address")
    if ranks % nodes:
        raise UserError(
            f"--ranks {ranks} --nodes {nodes}: every machine of a trial has as many ranks; use "
            f"--ranks {nodes * (ranks // nodes + 1)}"
        )


def _refuse_too_few(ranks: int) -> None:
    """Stop where a trial would wait for GPUs that will never be there."""
    import torch

    if (count := torch.cuda.device_count()) < ranks:
        raise UserError(
            f"--ranks {ranks}: each rank of a trial needs a GPU of its own, and there are {count} "
            f"here; use --ranks {count} or less, or --address of a cluster with larger machines"
        )


def has_cuda() -> bool:
    """Whether torch can compute on CUDA here; it is not imported where no driver is."""
    if not any(any(Path("/dev").glob(name)) for name in NODES):
        return False
    import torch

    return torch.cuda.is_available()
