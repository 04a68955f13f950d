"""`--device`: where trials compute. It is no part of a plan; every result records it."""

from __future__ import annotations

from pathlib import Path

from trainables.errors import UserError

DEVICES = ("auto", "cpu", "cuda")

NODES = ("nvidia[0-9]*", "nvidia-caps", "dxg")
"""What a machine with a GPU has in /dev, WSL2 included."""


def choose_device(asked: str, address: str | None) -> str:
    """The device of every trial.

    Args:
        asked: `cpu`, `cuda`, or `auto` for CUDA where this machine has it.
        address: Of a running cluster, whose nodes are not those of this machine: `auto` is then
            the CPU, and `cuda` asks the cluster for a GPU a trial.

    Raises:
        UserError: Another word, or no CUDA on the machine that is to run the trials.
    """
    if asked not in DEVICES:
        raise UserError(f"--device {asked}: choose {', '.join(DEVICES)}")
    if asked == "cpu" or (asked == "auto" and address is not None):
        return "cpu"
    if address is not None or has_cuda():
        return "cuda"
    if asked == "cuda":
        raise UserError(
            "--device cuda: torch finds no CUDA device here; use --device cpu, a CUDA build of "
            "torch, or --address of a cluster that has GPUs"
        )
    return "cpu"


def has_cuda() -> bool:
    """Whether torch can compute on CUDA here; it is not imported where no driver is."""
    if not any(any(Path("/dev").glob(name)) for name in NODES):
        return False
    import torch

    return torch.cuda.is_available()
