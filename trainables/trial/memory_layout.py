"""A smaller memory layout for a trial that ran out of memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trainables.encoders.architectures import architecture
from trainables.encoders.text import held_tokens
from trainables.errors import UserError
from trainables.spec import EncoderRef, Execution
from trainables.trial.trial_folder import TrialFolder

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
        config = architecture(encoder.name, places.get(encoder.digest)).text
        return held_tokens(config.num_hidden_layers, config.hidden_size, device)
    except (UserError, OSError, ValueError, AttributeError):
        return 0  # the attempt says what is wrong with the checkpoint
