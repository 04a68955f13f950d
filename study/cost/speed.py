"""How fast a device computes an encoder of some shape: measured on the CPU, else assumed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoModel, PretrainedConfig

from study.cost.accelerators import BANDWIDTH_SHARE, UTILISATION, Accelerator, rate
from study.cost.work import Lengths, encoding, held_tokens, training_step
from trainables.encoders.files.formats import quiet
from trainables.encoders.shapes import Shape
from trainables.encoders.text import TextEncoder
from trainables.evaluation.scoring import score
from trainables.spec import EncoderRef, Execution, execution_settings
from trainables.training.gradcache import backward
from trainables.training.info_nce import info_nce

PROBE_OPERATIONS = 2e10
"""Of one probe of training; one of encoding has twice as many. Fractions of a second."""

PROBE_ROWS = 64
"""Of a probe's batch, at most."""

PROBE_SECONDS, PROBE_TIMES = 0.3, 3
"""A probe is repeated for so long, and so many times at least."""

PROBE_PARAMETERS = 8_000_000
"""Of a probe's layers, unless one layer alone has more."""

PROBE_WORDS = 2000
"""Rows of the probe's word embeddings."""

LOOKUP_NUMBERS = 4_000_000
"""Of the table in the probe of lookups: more than caches hold."""

SCORED = 128, 4000
"""Queries and candidates in the probe of an evaluation."""

UPDATE_BYTES = 40
"""Moved for each trained parameter: its norm, its scaling and AdamW's reads and writes."""

LOOKUP_BYTES = 16
"""Moved for each trained word embedding's number in a pass back: zeros, and their sum."""


@dataclass(frozen=True)
class Speed:
    """Rates of a device for one shape of encoder and length of text.

    Attributes:
        train: Operations a second, forward and backward.
        encode: Operations a second, forward.
        update: Seconds of clipping and AdamW for each trained parameter.
        lookup: Seconds for each number of the trained word embeddings in each pass back.
        score: Seconds for each pair of a query and a candidate in an evaluation.
        basis: Where the rates are from.
    """

    train: float
    encode: float
    update: float
    lookup: float
    score: float
    basis: str


def assumed(name: str, entry: Accelerator, precision: str, dimension: int) -> Speed:
    """Rates of an accelerator by its data sheet; scores are ranked on the host, measured here."""
    operations, bandwidth = rate(entry, precision), entry.bandwidth * BANDWIDTH_SHARE
    return Speed(
        train=operations,
        encode=operations,
        update=UPDATE_BYTES / bandwidth,
        lookup=LOOKUP_BYTES / bandwidth,
        score=scoring_seconds(dimension),
        basis=f"{name}: {UTILISATION[precision]:.0%} of the data sheet's {precision} peak, assumed",
    )


def measured(
    shape: Shape,
    config: PretrainedConfig,
    batch: tuple[Lengths, int] | None,
    texts: Lengths,
    execution: Execution,
) -> Speed:
    """Rates of this machine's CPU, by steps of a random encoder with fewer layers and words.

    Args:
        shape: Of the encoder.
        config: Of it; changed here.
        batch: Tokens of a training batch's queries, passages and hard negatives, and its rows;
            None where nothing is trained.
        texts: Tokens of some texts that are evaluated.
        execution: Threads and memory layout.
    """
    held = execution.micro_batch_tokens or held_tokens(shape, "cpu")
    execution = replace(execution, micro_batch_tokens=held)
    layers = max(1, min(shape.layers, PROBE_PARAMETERS // shape.layer))
    small = replace(shape, layers=layers, words=min(shape.words, PROBE_WORDS), outputs=0)
    with execution_settings(execution):
        encoder = _encoder(small, config)
        train, update = _training(encoder, small, batch, execution) if batch else (0.0, 0.0)
        # where there is nothing to encode, its rate is of no effect, but must be one
        sample = _limited(small, texts if texts.size else np.array([2]), execution)
        rows = _random(sample, small)
        encode = _seconds(lambda: encoder.encode(rows))
        return Speed(
            train=train,
            encode=encoding(small, sample, execution) / encode,
            update=update,
            lookup=_lookup_seconds(),
            score=scoring_seconds(shape.vector),
            basis=f"this CPU with {execution.threads} thread(s) a trial, measured",
        )


def _encoder(shape: Shape, config: PretrainedConfig) -> TextEncoder:
    """A random encoder that reads token arrays; it has no tokenizer."""
    config.num_hidden_layers, config.vocab_size = shape.layers, shape.words
    with quiet(), torch.random.fork_rng(devices=[]):
        model = AutoModel.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    ref = EncoderRef(
        name="probe", digest="", pooling="mean", max_query_tokens=512, max_passage_tokens=512
    )
    return TextEncoder(model, SimpleNamespace(pad_token_id=config.pad_token_id or 0), ref)


def _training(
    encoder: TextEncoder, shape: Shape, batch: tuple[Lengths, int], execution: Execution
) -> tuple[float, float]:
    """Operations a second of a step, and seconds of clipping and AdamW for each parameter."""
    lengths, rows = _part(shape, batch, execution)
    ids = _random(lengths, shape)
    objective = partial(
        info_nce,
        temperature=0.05,
        symmetric=False,
    )

    def step() -> None:
        encoder.zero_grad(set_to_none=True)
        backward(encoder, ids[:rows], ids[rows:], objective, execution.micro_batch_tokens)

    def move() -> None:
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()

    encoder.train()
    took = _seconds(step)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-9, fused=True)
    moved = sum(p.numel() for p in encoder.parameters() if p.grad is not None)
    return training_step(shape, lengths, rows, execution).operations / took, _seconds(move) / moved


def _part(shape: Shape, batch: tuple[Lengths, int], execution: Execution) -> tuple[Lengths, int]:
    """As many rows of the batch, with their passages and negatives, as a probe has time for."""
    lengths, rows = batch
    whole = training_step(shape, lengths, rows, execution).operations
    size = max(2, min(rows, PROBE_ROWS, int(rows * PROBE_OPERATIONS / whole)))
    negatives = (len(lengths) - 2 * rows) * size // rows
    parts = lengths[:size], lengths[rows : rows + size], lengths[2 * rows : 2 * rows + negatives]
    return np.concatenate(parts), size


def _limited(shape: Shape, texts: Lengths, execution: Execution) -> Lengths:
    """As many texts as a probe has time for."""
    whole = encoding(shape, texts, execution)
    return texts[: max(1, min(len(texts), int(len(texts) * 2 * PROBE_OPERATIONS / whole)))]


def _random(lengths: Lengths, shape: Shape) -> list[NDArray[np.int32]]:
    """Token arrays of these lengths."""
    rng = np.random.default_rng(0)
    return [rng.integers(5, shape.words, length, dtype=np.int32) for length in lengths]


def _seconds(action: Callable[[], object]) -> float:
    """Mean of several times after a first one: what else the machine does is part of it."""
    action()
    took: list[float] = []
    while len(took) < PROBE_TIMES or sum(took) < PROBE_SECONDS:
        start = time.perf_counter()
        action()
        took.append(time.perf_counter() - start)
    return statistics.fmean(took)


def _lookup_seconds() -> float:
    """Of the pass back through an embedding: a table of zeros is filled and added to another."""
    table = torch.zeros(LOOKUP_NUMBERS)
    return _seconds(lambda: table.add_(torch.zeros(LOOKUP_NUMBERS))) / LOOKUP_NUMBERS


@cache
def scoring_seconds(dimension: int) -> float:
    """Of ranking, for each pair of a query and a candidate."""
    rng = np.random.default_rng(0)
    queries, passages = (
        rng.standard_normal((size, dimension), dtype=np.float32) for size in SCORED
    )
    starts, relevant = np.arange(SCORED[0] + 1, dtype=np.int32), np.arange(SCORED[0])
    return _seconds(lambda: score(queries, [passages], starts, relevant)) / (SCORED[0] * SCORED[1])
