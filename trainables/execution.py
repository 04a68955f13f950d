"""How a trial is laid out on its machine: threads, determinism, memory; no part of its identity."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from trainables.spec import Execution
from trainables.trial_folder import TrialFolder

SMALLER_LAYOUT = {"cpu": 512, "cuda": 8192}
"""Padded tokens held at once after the whole batch ran out of memory."""


def layout(folder: TrialFolder, planned: Execution) -> Execution:
    """The planned execution, in a smaller layout after an attempt ran out of memory.

    Micro-batches are smaller, and on a GPU layers are computed again instead of kept.
    """
    failures = [attempt.failure() or {} for attempt in folder.attempts()]
    if not any(failure.get("reason") == "out of memory" for failure in failures):
        return planned
    smaller = (planned.micro_batch_tokens or 4 * SMALLER_LAYOUT[planned.device]) // 4
    again = planned.recompute_layers or planned.device == "cuda"
    return replace(planned, micro_batch_tokens=max(1, smaller), recompute_layers=again)


def fits(saved: Execution, wanted: Execution) -> bool:
    """Whether training saved under one execution goes on in another, keeping its own."""

    def kept(execution: Execution) -> tuple[object, ...]:
        layout = execution.micro_batch_tokens, execution.recompute_layers, execution.ranks
        return execution.device, *layout

    return kept(saved) == kept(wanted)


@contextmanager
def execution_settings(execution: Execution) -> Iterator[None]:
    """Set threads and determinism for one trial, and put both back after it."""
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
