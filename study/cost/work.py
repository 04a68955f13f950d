"""Operations and bytes of a trial, by arithmetic alone.

A multiplication and an addition are two operations. A matrix of p parameters costs 2p of them for
each token forward and 4p backward (Kaplan et al. 2020, https://arxiv.org/abs/2001.08361); scores of
attention and their use cost 4 x width x hidden for each token and layer forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trainables.encoders import text
from trainables.encoders.files.modules import positions_for_text
from trainables.encoders.padding import micro_batches
from trainables.encoders.shapes import Shape
from trainables.spec import Execution
from trainables.training.gradcache import FORWARD_TOKENS, first_with_graph

Lengths = NDArray[np.int64]
"""Tokens of some texts."""

BACKWARD = 2
"""Operations of a pass back for one forward."""

FLOAT = 4
"""Bytes of a number; weights, gradients and AdamW's two moments are float32."""


def forward(shape: Shape, rows: int, width: int) -> float:
    """Operations of embedding `rows` texts padded to `width` tokens."""
    token = 2 * shape.without_embeddings + 4 * shape.layers * shape.hidden * width
    return float(rows * width * token)


@dataclass(frozen=True)
class Step:
    """One optimizer step, or the mean of several.

    Attributes:
        operations: Of the encoder and the loss, padding and what is computed twice included.
        tokens: Real ones.
        padded: Tokens with padding.
        kept: Padded tokens whose activations are kept at once.
        passes: Micro-batches with a gradient.
    """

    operations: float
    tokens: float
    padded: float
    held: float
    passes: float


def training_step(shape: Shape, lengths: Lengths, batch: int, execution: Execution) -> Step:
    """What `gradcache.backward` does with texts of these lengths.

    Args:
        shape: Of the encoder.
        lengths: Tokens of `batch` queries, as many passages and all hard negatives.
        batch: Rows of the batch.
        execution: Device and memory layout.
    """
    budget = FORWARD_TOKENS[execution.device]
    held = execution.micro_batch_tokens or held_tokens(shape, execution.device)
    cuts = micro_batches(lengths.tolist(), min(budget, held))
    first = first_with_graph(cuts, [np.empty(length, np.int32) for length in lengths], held)
    operations, padded, held_at_once = 0.0, 0, 0
    for number, rows in enumerate(cuts):
        width = _width(shape, int(lengths[rows].max()), execution.device)
        times = 1 + BACKWARD + (number < first) + execution.recompute_layers
        operations += times * forward(shape, len(rows), width)
        padded += len(rows) * width
        held_at_once += len(rows) * width * (number >= first)
    loss = 2 * (1 + BACKWARD) * batch * (len(lengths) - batch) * shape.vector
    held_at_once = max(held_at_once, *(len(rows) * int(lengths[rows].max()) for rows in cuts))
    return Step(operations + loss, float(lengths.sum()), padded, held_at_once, len(cuts))


def mean(steps: Sequence[Step]) -> Step:
    """The mean of each figure, but of `held` the most: memory is for the longest texts."""
    names = ("operations", "tokens", "padded", "held", "passes")
    average = Step(*(float(np.mean([getattr(step, name) for step in steps])) for name in names))
    return replace(average, held=max(step.held for step in steps))


def encoding(shape: Shape, lengths: Lengths, execution: Execution) -> float:
    """Operations of embedding texts of these lengths without a gradient."""
    cuts = micro_batches(lengths.tolist(), execution.encode_tokens)
    widths = (_width(shape, int(lengths[rows].max()), execution.device) for rows in cuts)
    return sum(forward(shape, len(rows), width) for rows, width in zip(cuts, widths, strict=True))


def held_tokens(shape: Shape, device: str) -> int:
    """Padded tokens whose activations a step keeps, as `TextEncoder.held_tokens`."""
    return text.held_tokens(shape.layers, shape.hidden, device)


def _width(shape: Shape, longest: int, device: str) -> int:
    """Tokens to which texts are padded, as `TextEncoder` pads them."""
    positions = positions_for_text(shape.kind, shape.positions) if shape.positions else 0
    return text.padded_width(longest, device, positions)


@dataclass(frozen=True)
class Memory:
    """Bytes of a trial at its peak.

    Attributes:
        parameters: All weights; in training also a copy of the words that are trained.
        gradients: Of what is trained.
        optimizer: AdamW's two moments.
        activations: Of a training step.
        evaluation: Activations, vectors and scores of an evaluation, which follows training.
        checkpoint: What is trained and its moments, serialised in the host's memory; on disk too.
        best: A copy of the best encoder, in the host's memory, where `select` is `best`.
        data: Texts in the host's memory.
    """

    parameters: int
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    evaluation: int = 0
    checkpoint: int = 0
    best: int = 0
    data: int = 0

    @property
    def state(self) -> int:
        """What stays from the first step to the last."""
        return self.parameters + self.gradients + self.optimizer

    @property
    def device(self) -> int:
        """The accelerator's peak, without its driver's own share."""
        return self.state + max(self.activations, self.evaluation)

    @property
    def host(self) -> int:
        """The peak beside an accelerator: weights pass through it when they are loaded."""
        return PROCESS_BYTES + self.data + self.best + max(self.parameters, self.checkpoint)

    @property
    def cpu(self) -> int:
        """The peak of a trial that computes on the CPU."""
        rest = max(self.activations, self.evaluation, self.checkpoint)
        return PROCESS_BYTES + self.data + self.best + self.state + rest


PROCESS_BYTES = 500_000_000
"""Of a process that has imported torch, transformers and datasets, measured."""

ALLOCATED = 1.2
"""What the allocator takes for each byte of activations: 1.2 to 1.3 in trials of MiniLM here."""


def trained(shape: Shape, words: int) -> int:
    """Parameters that training moves, `words` rows of the word embeddings among them."""
    return shape.parameters - shape.word_embeddings + words * shape.hidden


def training_memory(shape: Shape, words: int, held: float, execution: Execution) -> Memory:
    """Weights, gradients, moments, activations and checkpoint, of no evaluation yet.

    Args:
        shape: Of the encoder.
        words: Rows of the word embeddings that are trained.
        held: Padded tokens whose activations are kept at once.
        execution: Device and memory layout.
    """
    moved = FLOAT * trained(shape, words)
    unit = shape.layers * text.BYTES_PER_UNIT
    if execution.recompute_layers:
        unit = shape.layers * FLOAT + text.BYTES_PER_UNIT
    return Memory(
        parameters=FLOAT * (shape.parameters + words * shape.hidden),
        gradients=moved,
        optimizer=2 * moved,
        activations=int(ALLOCATED * unit * shape.hidden * held),
        checkpoint=3 * moved,
    )


def evaluation_bytes(shape: Shape, queries: int, passages: int, execution: Execution) -> int:
    """Vectors of all texts, scores in blocks, and the activations of one forward pass."""
    vectors = 2 * FLOAT * (queries + passages) * shape.vector
    scores = 2 * FLOAT * min(64_000_000, max(4_000_000, 4 * passages), queries * passages)
    states = FLOAT * execution.encode_tokens * (4 * shape.hidden + 2 * shape.inner)
    return (0 if execution.device == "cuda" else vectors + scores) + states
