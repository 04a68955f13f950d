"""Where and how a trial runs: not part of its identity, but able to change a last digit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

LIBRARIES = ("torch", "numpy", "transformers", "tokenizers")
"""Libraries that compute results, which record their versions."""


@dataclass(frozen=True)
class Execution:
    """Where and how a trial runs: not identity, but recorded, as it can change a last digit.

    Attributes:
        threads: Threads of torch in each process of the trial.
        device: `cpu` or `cuda`.
        precision: `float32`, or `bfloat16` autocast on GPUs.
        encode_tokens: Padded tokens in one forward pass of evaluation.
        micro_batch_tokens: Padded tokens whose activations a training step keeps; None derives it
            from the transformer's shape (`TextEncoder.held_tokens`).
        recompute_layers: Gradient checkpointing: keep only the input of each layer and recompute
            its activations in the backward pass, one layer at a time.
        ranks: Processes, each with its own device, that embed a share of every batch. They change
            neither batch nor loss, but with dropout numbers depend on how many there are.
        nodes: Machines, each with an equal number of ranks.
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
        """Number of process ranks on one machine."""
        return self.ranks // self.nodes

    @property
    def slots_here(self) -> int:
        """Number of trials that this machine's processors can run at once, at least 1."""
        return max(1, (os.cpu_count() or 1) // (self.threads * self.ranks))

    def resumes(self, saved: Execution) -> bool:
        """Whether training saved under another execution may resume here, keeping that one."""
        keep = ("device", "micro_batch_tokens", "recompute_layers", "ranks")
        return all(getattr(self, name) == getattr(saved, name) for name in keep)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as stored in a result."""
        return asdict(self)


def library_versions() -> dict[str, str]:
    """Return the version of each of `LIBRARIES` that this process has loaded."""
    return {name: str(import_module(name).__version__) for name in LIBRARIES}


@contextmanager
def execution_settings(execution: Execution) -> Iterator[None]:
    """Set threads and determinism for one trial, and restore both after it."""
    import torch

    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(execution.threads)
    if execution.device == "cuda":
        # cuBLAS is deterministic only with a workspace of fixed size
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # like use_deterministic_algorithms(True), which spends two seconds importing the compiler
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.set_num_threads(threads)
