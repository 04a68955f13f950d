"""Where and how a trial is computed: no part of its identity, but able to move a last digit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

LIBRARIES = ("torch", "numpy", "transformers", "tokenizers")
"""What computes; results name the versions."""


@dataclass(frozen=True)
class Execution:
    """Where and how a trial runs: not identity, but able to move a last digit; recorded.

    Attributes:
        threads: Of torch in this trial.
        device: `cpu` or `cuda`.
        precision: `float32`, or `bfloat16` autocast on GPUs.
        encode_tokens: Padded tokens in one forward pass of evaluation.
        micro_batch_tokens: Padded tokens whose activations a training step keeps; None for what
            the transformer's shape allows (`TextEncoder.held_tokens`).
        recompute_layers: Keep only what goes into each layer and compute the rest again on the way
            back (gradient checkpointing): a layer's activations at a time instead of all layers'.
        ranks: Processes, each with a device of its own, that embed a share of every batch. The
            batch and its loss stay as they are; with dropout, numbers follow the number of ranks.
        nodes: Machines that the ranks are dealt to, as many to each.
    """

    threads: int = 1
    device: str = "cpu"
    precision: str = "float32"
    encode_tokens: int = 8192
    micro_batch_tokens: int | None = None
    recompute_layers: bool = False
    ranks: int = 1
    nodes: int = 1

    @property
    def ranks_each(self) -> int:
        """Ranks on one machine."""
        return self.ranks // self.nodes

    @property
    def slots_here(self) -> int:
        """Trials that this machine's processors have room for at once, one at least."""
        return max(1, (os.cpu_count() or 1) // (self.threads * self.ranks))

    def resumes(self, saved: Execution) -> bool:
        """Whether training that was saved under another execution goes on, keeping its own."""
        keep = ("device", "micro_batch_tokens", "recompute_layers", "ranks")
        return all(getattr(self, name) == getattr(saved, name) for name in keep)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as stored in a result."""
        return asdict(self)


def library_versions() -> dict[str, str]:
    """The version of each of `LIBRARIES`, as this process has loaded it."""
    return {name: str(import_module(name).__version__) for name in LIBRARIES}


@contextmanager
def execution_settings(execution: Execution) -> Iterator[None]:
    """Set threads and determinism for one trial, and put both back after it."""
    import torch

    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(execution.threads)
    if execution.device == "cuda":
        # cuBLAS is deterministic only with a workspace of fixed size
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # As use_deterministic_algorithms(True), which would import the compiler: two seconds
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.set_num_threads(threads)
