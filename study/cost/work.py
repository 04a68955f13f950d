"""Operations and bytes of steps and evaluations."""

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
"""Tokens of some texts."""

BACKWARD = 2
"""Operations of a pass back for one forward."""


class Step(NamedTuple):
    """One optimizer step, or the mean of several.

    Attributes:
        operations: Of the encoder and the loss, padding and what is computed twice included.
        tokens: Real ones.
        activations: Bytes kept at once for the pass back.
    """

    operations: float = 0.0
    tokens: float = 0.0
    activations: float = 0.0

    @classmethod
    def mean(cls, steps: Sequence[Step]) -> Step:
        """The mean of some steps; of none where nothing is trained."""
        return cls(*np.mean(steps, axis=0).tolist()) if steps else cls()


def training_step(
    counts: Counts,
    lengths: Lengths,
    batch: int,
    execution: Execution,
    images: Counts | None = None,
) -> Step:
    """What `gradcache.backward` does with texts of these lengths.

    Args:
        counts: Of the text tower.
        lengths: Tokens of `batch` queries, as many passages and all hard negatives.
        batch: Rows of the batch.
        execution: Device and memory layout.
        images: Of an image tower that is trained too, on a picture a row.
    """
    device = execution.device
    held = execution.micro_batch_tokens or held_tokens(counts.layers, counts.hidden, device)
    budget = min(FORWARD_TOKENS[device], held)
    cuts = micro_batches(lengths.tolist(), budget)
    passes = [(counts, len(rows), counts.width(int(lengths[rows].max()), device)) for rows in cuts]
    sizes = [range(length) for length in lengths]
    if images:
        shown = micro_batches([images.picture] * batch, budget)
        passes += [(images, len(rows), images.picture) for rows in shown]
        cuts += [rows + len(lengths) for rows in shown]
        sizes += [range(images.picture)] * batch
    first, again = first_with_graph(cuts, sizes, held), execution.recompute_layers
    operations = sum(
        (1 + BACKWARD + (number < first) + again) * tower.forward(*shape)
        for number, (tower, *shape) in enumerate(passes)
    )
    passages = max(batch, len(sizes) - batch)  # vectors of a frozen tower are not embedded here
    loss = 2 * (1 + BACKWARD) * batch * passages * counts.vector
    in_each = [tower.activation_bytes(*shape, recomputed=again) for tower, *shape in passes]
    return Step(operations + loss, float(lengths.sum()), max(sum(in_each[first:]), *in_each))


def encoding(counts: Counts, lengths: Lengths, execution: Execution) -> float:
    """Operations of embedding texts of these lengths without a gradient."""
    cuts = micro_batches(lengths.tolist(), execution.encode_tokens)
    widths = [counts.width(int(lengths[rows].max()), execution.device) for rows in cuts]
    return sum(counts.forward(len(rows), width) for rows, width in zip(cuts, widths, strict=True))


def evaluation_bytes(counts: Counts, queries: int, passages: int, execution: Execution) -> int:
    """Vectors of all texts, scores in blocks, and one layer's activations of a forward pass."""
    vectors = 2 * FLOAT * (queries + passages) * counts.vector
    scores = 2 * FLOAT * min(64_000_000, max(4_000_000, 4 * passages), queries * passages)
    layer = int(counts.activation_bytes(execution.encode_tokens, 1) / counts.layers)
    return (0 if execution.device == "cuda" else vectors + scores) + layer
