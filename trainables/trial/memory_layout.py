"""A smaller memory layout (micro-batches, gradient checkpointing) after running out of memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trainables.encoders.architectures import architecture
from trainables.encoders.text import held_tokens
from trainables.errors import UserError
from trainables.spec import EncoderRef, Execution
from trainables.trial.trial_folder import TrialFolder

SMALLER_LAYOUT = {"cpu": 512, "cuda": 8192}
"""Upper limit of the padded tokens in a micro-batch after an attempt ran out of memory."""

LESS = 4
"""Divisor of the tokens per micro-batch and per forward pass of evaluation."""


def layout(
    folder: TrialFolder, planned: Execution, encoder: EncoderRef, places: Mapping[str, str]
) -> Execution:
    """Return the planned execution, with a smaller layout if an attempt ran out of memory.

    Micro-batches and forward passes of evaluation shrink, and a GPU uses gradient checkpointing.
    The layout shrinks once only, however many attempts ran out of memory.

    Args:
        folder: Trial folder with its attempts.
        planned: Execution as planned.
        encoder: Encoder of the trial; its size gives the tokens of a micro-batch if `planned` does
            not.
        places: Folders of checkpoints by digest.
    """
    failures = [attempt.failure() or {} for attempt in folder.attempts()]
    if not any(failure.get("reason") == "out of memory" for failure in failures):
        return planned
    limit = SMALLER_LAYOUT[planned.device]
    before = (
        planned.micro_batch_tokens
        or _default_tokens(encoder, places, planned.device)
        or LESS * limit
    )
    return replace(
        planned,
        micro_batch_tokens=max(1, min(before // LESS, limit)),
        encode_tokens=max(1, planned.encode_tokens // LESS),
        recompute_layers=planned.recompute_layers or planned.device == "cuda",
    )


def _default_tokens(encoder: EncoderRef, places: Mapping[str, str], device: str) -> int:
    """Return the default tokens of a micro-batch (`held_tokens`); 0 if the size is unknown."""
    try:
        config = architecture(encoder.name, places.get(encoder.digest)).text
        return held_tokens(config.num_hidden_layers, config.hidden_size, device)
    except (UserError, OSError, ValueError, AttributeError):
        return 0  # the attempt reports what is wrong with the checkpoint
