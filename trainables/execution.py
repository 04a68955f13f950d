"""How a trial is laid out on its machine: threads, determinism, memory; no part of its identity."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module

import torch

from trainables.encoders.shapes import shape_of
from trainables.encoders.text import held_tokens
from trainables.errors import UserError
from trainables.result import LIBRARIES
from trainables.spec import EncoderRef, Execution
from trainables.trial_folder import TrialFolder

SMALLER_LAYOUT = {"cpu": 512, "cuda": 8192}
"""Most padded tokens held at once after the whole batch ran out of memory."""

LESS = 4
"""A smaller layout holds and encodes at most this part of the tokens of the one before."""


def layout(
    folder: TrialFolder, planned: Execution, encoder: EncoderRef, places: Mapping[str, str]
) -> Execution:
    """The planned execution, in a smaller layout after an attempt ran out of memory.

    Micro-batches and forward passes of evaluation are smaller, and on a GPU layers are computed
    again instead of kept.

    Args:
        folder: Of the trial, with its attempts.
        planned: What was asked for.
        encoder: Of the trial; how large it is says how many tokens are held unless planned.
        places: Digest to folder, for checkpoints that lie in files.
    """
    failures = [attempt.failure() or {} for attempt in folder.attempts()]
    if not any(failure.get("reason") == "out of memory" for failure in failures):
        return planned
    most = SMALLER_LAYOUT[planned.device]
    before = planned.micro_batch_tokens or _held(encoder, places, planned.device) or LESS * most
    return replace(
        planned,
        micro_batch_tokens=max(1, min(before // LESS, most)),
        encode_tokens=max(1, planned.encode_tokens // LESS),
        recompute_layers=planned.recompute_layers or planned.device == "cuda",
    )


def _held(encoder: EncoderRef, places: Mapping[str, str], device: str) -> int:
    """Tokens that the encoder holds unless told otherwise; 0 where nothing says its size."""
    try:
        shape = shape_of(encoder.name, places.get(encoder.digest))
    except (UserError, OSError, ValueError):  # the attempt says what is wrong with the checkpoint
        return 0
    return held_tokens(shape.layers, shape.hidden, device)


def fits(saved: Execution, wanted: Execution) -> bool:
    """Whether training saved under one execution goes on in another, keeping its own."""

    def kept(execution: Execution) -> tuple[object, ...]:
        layout = execution.micro_batch_tokens, execution.recompute_layers, execution.ranks
        return execution.device, *layout

    return kept(saved) == kept(wanted)


def library_versions() -> dict[str, str]:
    """Of what computes a trial, as this process has loaded it."""
    return {name: str(import_module(name).__version__) for name in LIBRARIES}


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
