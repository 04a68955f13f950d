"""Operations and bytes of GradCache training steps and of evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.cost.counts import FLOAT, Counts
from trainables.encoders.padding import micro_batches
from trainables.encoders.text import held_tokens
from trainables.spec import Execution
from trainables.training.gradcache import FORWARD_TOKENS, first_with_graph

Lengths = NDArray[np.int64]
"""(n,) number of tokens of each text."""

BACKWARD = 2
"""Operations of a backward pass, as a multiple of the forward pass."""


class Step(NamedTuple):
    """Work of one optimizer step, or the mean of several.

    Attributes:
        operations: Operations of encoder and loss, padding and recomputation included.
        tokens: Number of tokens without padding.
        activations: Peak bytes kept for the backward pass.
    """

    operations: float = 0.0
    tokens: float = 0.0
    activations: float = 0.0

    @classmethod
    def mean(cls, steps: Sequence[Step]) -> Step:
        """Return the mean of steps; zeros if there are none."""
        return cls(*np.mean(steps, axis=0).tolist()) if steps else cls()


def training_step(
    counts: Counts,
    lengths: Lengths,
    batch: int,
    execution: Execution,
    images: Counts | None = None,
) -> Step:
    """Estimate `gradcache.backward` for texts of these lengths.

    Args:
        counts: Size of the text tower.
        lengths: Tokens of each of `batch` queries, as many passages and all hard negatives.
        batch: Rows of the batch.
        execution: Device and memory layout.
        images: Size of an image tower that is trained too, on one picture per row.
    """
    device = execution.device
    limit = execution.micro_batch_tokens or held_tokens(counts.layers, counts.hidden, device)
    budget = min(FORWARD_TOKENS[device], limit)
    batches = micro_batches(lengths.tolist(), budget)
    passes = [
        (counts, len(rows), counts.width(int(lengths[rows].max()), device)) for rows in batches
    ]
    sizes = [range(length) for length in lengths]
    if images:
        picture_batches = micro_batches([images.picture] * batch, budget)
        passes += [(images, len(rows), images.picture) for rows in picture_batches]
        batches += [rows + len(lengths) for rows in picture_batches]
        sizes += [range(images.picture)] * batch
    first, recompute = first_with_graph(batches, sizes, limit), execution.recompute_layers
    operations = sum(
        (1 + BACKWARD + (number < first) + recompute) * tower.forward(*shape)
        for number, (tower, *shape) in enumerate(passes)
    )
    passages = max(batch, len(sizes) - batch)  # a frozen image tower adds no sizes
    loss = 2 * (1 + BACKWARD) * batch * passages * counts.vector
    activations = [tower.activation_bytes(*shape, recomputed=recompute) for tower, *shape in passes]
    return Step(
        operations + loss, float(lengths.sum()), max(sum(activations[first:]), *activations)
    )


def encoding(counts: Counts, lengths: Lengths, execution: Execution) -> float:
    """Return the operations to embed texts of these lengths without a gradient."""
    batches = micro_batches(lengths.tolist(), execution.encode_tokens)
    widths = [counts.width(int(lengths[rows].max()), execution.device) for rows in batches]
    return sum(
        counts.forward(len(rows), width) for rows, width in zip(batches, widths, strict=True)
    )


def evaluation_bytes(counts: Counts, queries: int, passages: int, execution: Execution) -> int:
    """Return bytes of one layer's activations and, on the CPU, of all vectors and score blocks."""
    vectors = 2 * FLOAT * (queries + passages) * counts.vector
    scores = 2 * FLOAT * min(64_000_000, max(4_000_000, 4 * passages), queries * passages)
    layer = int(counts.activation_bytes(execution.encode_tokens, 1) / counts.layers)
    return (0 if execution.device == "cuda" else vectors + scores) + layer
