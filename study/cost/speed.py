"""Rates of a device for an encoder: measured on the CPU by a probe, assumed for accelerators."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from study.cost.counts import Counts, count_text
from study.cost.work import Lengths, encoding, training_step
from trainables.encoders.architectures import Architecture
from trainables.encoders.files.formats import quiet
from trainables.encoders.text import TextEncoder, held_tokens
from trainables.errors import UserError
from trainables.evaluation.scoring import score
from trainables.spec import EncoderRef, Execution, execution_settings
from trainables.training.gradcache import backward
from trainables.training.info_nce import info_nce


@dataclass(frozen=True)
class Accelerator:
    """Data sheet of an accelerator.

    Attributes:
        float32: Operations per second without tensor cores: torch leaves TF32 off by default.
        bfloat16: Operations per second of dense matrices on tensor cores; None if unsupported.
        memory: Bytes.
        bandwidth: Bytes per second.
    """

    float32: float
    bfloat16: float | None
    memory: float
    bandwidth: float


ACCELERATORS = {
    "T4": Accelerator(8.1e12, None, 16e9, 320e9),
    "V100": Accelerator(15.7e12, None, 32e9, 900e9),
    "RTX 3090": Accelerator(35.6e12, 71e12, 24e9, 936e9),
    "RTX 4090": Accelerator(82.6e12, 165.2e12, 24e9, 1008e9),
    "L4": Accelerator(30.3e12, 121e12, 24e9, 300e9),
    "L40S": Accelerator(91.6e12, 362e12, 48e9, 864e9),
    "A100": Accelerator(19.5e12, 312e12, 80e9, 2039e9),
    "H100": Accelerator(66.9e12, 989e12, 80e9, 3350e9),
    "H200": Accelerator(66.9e12, 989e12, 141e9, 4800e9),
}
"""NVIDIA's data sheets by name: dense rates, SXM modules where there are several."""

UTILISATION, BANDWIDTH_SHARE = {"float32": 0.55, "bfloat16": 0.3}, 0.7
"""Shares of the peak (by precision) and of the bandwidth that training reaches: assumed."""

PROBE_OPERATIONS = 2e10
"""Maximum operations of a probe's step (one pair of texts always stays): under a second."""

PROBE_SECONDS, PROBE_TIMES = 0.3, 3
"""Minimum seconds and minimum repetitions of a probe."""

PROBE_PARAMETERS, PROBE_WORDS = 8_000_000, 2000
"""Maximum parameters of a probe's layers (one layer always stays) and rows of its embedding
table."""

SCORED = 128, 4000
"""Number of queries and of candidates in the probe of scoring."""

UPDATE_BYTES = 40
"""Bytes moved per trained parameter by the gradient norm, its scaling and AdamW."""


@dataclass(frozen=True)
class Speed:
    """Rates of a device for one encoder at given text lengths.

    Attributes:
        train: Operations per second, forward and backward.
        encode: Operations per second, forward only.
        update: Seconds of clipping and AdamW per trained parameter.
        score: Seconds per pair of a query and a candidate in an evaluation.
        basis: Source of the rates, as printed.
    """

    train: float
    encode: float
    update: float
    score: float
    basis: str


def known_accelerator(name: str | None) -> str:
    """Return the key of an accelerator in any case; None asks for the GPU that torch finds.

    Raises:
        UserError: No data sheet has this name.
    """
    if name is None:
        here = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
        keys = [key for key in ACCELERATORS if key in here]
        name = max(keys, key=len, default=here)
    key = {key.lower(): key for key in ACCELERATORS}.get(name.lower())
    if key is None:
        raise UserError(
            f"accelerator {name!r}: its rate is not known; choose {', '.join(ACCELERATORS)}"
        )
    return key


def data_sheet_speed(name: str, precision: str, dimension: int) -> Speed:
    """Compute an accelerator's rates from its data sheet; scoring is measured on this CPU.

    Raises:
        UserError: bfloat16 on a device without it.
    """
    entry, share = ACCELERATORS[name], UTILISATION[precision]
    peak = entry.float32 if precision == "float32" else entry.bfloat16
    if peak is None:
        raise UserError(f"precision {precision}: a {name} has none; choose float32")
    update = UPDATE_BYTES / (entry.bandwidth * BANDWIDTH_SHARE)
    basis = f"{name}: {share:.0%} of the data sheet's {precision} peak, assumed"
    return Speed(share * peak, share * peak, update, scoring_seconds(dimension), basis)


def measure_speed(
    architecture: Architecture, counts: Counts, lengths: Lengths, execution: Execution
) -> Speed:
    """Measure the rates of this CPU by training steps of a smaller encoder with random weights.

    Args:
        architecture: Configuration of the encoder.
        counts: Size of the encoder.
        lengths: Tokens of each text of a typical batch; cut to `PROBE_OPERATIONS`.
        execution: Threads, precision and memory layout.
    """
    held = execution.micro_batch_tokens or held_tokens(counts.layers, counts.hidden, "cpu")
    execution = replace(execution, micro_batch_tokens=held)
    reduced, rng = _reduced(architecture, counts), np.random.default_rng(0)
    small = count_text(reduced, execution)
    lengths = rng.permutation(lengths if lengths.size > 1 else np.array([2, 2]))
    whole = training_step(small, lengths, len(lengths) // 2, execution).operations
    rows = max(1, min(len(lengths) // 2, int(len(lengths) // 2 * PROBE_OPERATIONS / whole)))
    lengths = lengths[: 2 * rows]
    ids = [rng.integers(5, small.words, length, dtype=np.int32) for length in lengths]
    objective = partial(info_nce, temperature=0.05, symmetric=False)
    with execution_settings(execution):
        encoder = _random_encoder(reduced, execution.precision).train()

        def step() -> None:
            encoder.zero_grad(set_to_none=True)
            backward(encoder, ids[:rows], ids[rows:], objective, held)

        def update_weights() -> None:
            nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
            optimizer.step()

        train = training_step(small, lengths, rows, execution).operations / _seconds(step)
        optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-9, fused=True)
        update = _seconds(update_weights) / small.parameters
        encode = encoding(small, lengths, execution) / _seconds(lambda: encoder.encode(ids))
    basis = f"this CPU with {execution.threads} thread(s) a trial, measured"
    return Speed(train, encode, update, scoring_seconds(counts.vector), basis)


def _reduced(architecture: Architecture, counts: Counts) -> Architecture:
    """Copy an architecture with fewer layers and embedding rows."""
    reduced = deepcopy(architecture)
    config, layer = reduced.text, (counts.parameters - counts.words * counts.word) // counts.layers
    config.num_hidden_layers = max(1, min(counts.layers, PROBE_PARAMETERS // layer))
    config.vocab_size = min(counts.words, PROBE_WORDS)
    if (config.pad_token_id or 0) >= config.vocab_size:
        config.pad_token_id = 0
    return reduced


def _random_encoder(architecture: Architecture, precision: str) -> TextEncoder:
    """Build an encoder with random weights and no tokenizer, for token arrays."""
    with quiet(), torch.random.fork_rng(devices=[]):
        model, after = architecture.build_text()
    ref = EncoderRef(
        name="probe", digest="", pooling="mean", max_query_tokens=512, max_passage_tokens=512
    )
    tokenizer = SimpleNamespace(pad_token_id=architecture.text.pad_token_id or 0)
    return TextEncoder(model, tokenizer, ref, layers=after, precision=precision)


def _seconds(action: Callable[[], object]) -> float:
    """Return the mean seconds of an action after a warm-up, other load of the machine included."""
    action()
    durations: list[float] = []
    while len(durations) < PROBE_TIMES or sum(durations) < PROBE_SECONDS:
        start = time.perf_counter()
        action()
        durations.append(time.perf_counter() - start)
    return statistics.fmean(durations)


@cache
def scoring_seconds(dimension: int) -> float:
    """Measure the seconds of ranking per pair of a query and a candidate."""
    rng, (queries, passages) = np.random.default_rng(0), SCORED
    vectors = rng.standard_normal((queries + passages, dimension), dtype=np.float32)
    starts, relevant = np.arange(queries + 1, dtype=np.int32), np.arange(queries)
    rank = partial(score, vectors[:queries], [vectors[queries:]], starts, relevant)
    return _seconds(rank) / (queries * passages)
