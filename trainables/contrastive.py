"""The loss of a contrastive batch, and its gradient at any batch size.

The loss is InfoNCE over cosines (van den Oord et al. 2018, https://arxiv.org/abs/1807.03748),
with false negatives masked by identity. Its gradient is taken through micro-batches of rows of
similar length, and cached at the embeddings (Gao et al. 2021, https://arxiv.org/abs/2101.06983)
where the batch does not fit: both are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Tokens = Sequence[NDArray[np.int32]]
"""One array of token ids a text, special tokens included."""

FORWARD_TOKENS = {"cpu": 512, "cuda": 32768}
"""Padded tokens in one forward pass, where memory sets no lower bound: enough to keep the device
busy, and few enough that rows in one pass have nearly the same length."""


@dataclass(frozen=True)
class Loss:
    """The loss of one batch.

    Attributes:
        value: Scalar, float32.
        masked_fraction: Share of the B * (B - 1) in-batch negatives left out as false.
    """

    value: Tensor
    masked_fraction: float


def info_nce(
    queries: Tensor,
    passages: Tensor,
    *,
    temperature: float,
    symmetric: bool,
    question_ids: Tensor,
    gold_ids: Tensor,
    mask_false_negatives: bool,
) -> Loss:
    """InfoNCE over the batch: every other row's passage is a negative of a query.

    With `mask_false_negatives`, a row with the same question or the same gold candidate leaves
    the denominator of the other, whatever their languages. Without such rows the loss is
    plain InfoNCE. Computed in float32, whatever autocast says.

    Args:
        queries: (B, d) vectors of any length; the cosine is taken here.
        passages: (B, d) vectors; row i is the positive of query i.
        temperature: Cosines are divided by it.
        symmetric: Average with the passage-to-query direction.
        question_ids: (B,) equal for translations of the same question.
        gold_ids: (B,) equal for translations of the same candidate.
        mask_false_negatives: Whether such rows leave the denominator.
    """
    with torch.autocast(queries.device.type, enabled=False):
        scores = F.normalize(queries.float(), dim=-1) @ F.normalize(passages.float(), dim=-1).T
        scores = scores / temperature
        masked = 0.0
        if mask_false_negatives:
            false = false_negatives(question_ids, gold_ids).to(scores.device)
            scores = scores.masked_fill(false, -torch.inf)
            masked = false.sum().item() / max(1, len(scores) * (len(scores) - 1))
        own = torch.arange(len(scores), device=scores.device)
        value = F.cross_entropy(scores, own)
        if symmetric:
            value = (value + F.cross_entropy(scores.T, own)) / 2
    return Loss(value, masked)


def false_negatives(question_ids: Tensor, gold_ids: Tensor) -> Tensor:
    """(B, B) True where row j asks the question of row i or has its gold candidate, and j != i."""
    same = (question_ids[:, None] == question_ids) | (gold_ids[:, None] == gold_ids)
    return same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)


def backward(
    encoder: nn.Module,
    queries: Tokens,
    passages: Tokens,
    loss_fn: Callable[[Tensor, Tensor], Loss],
    micro_batch_tokens: int | None = None,
) -> Loss:
    """Add the gradient of the batch's loss to the encoder's parameters.

    Queries and passages are sorted together by length and cut into micro-batches, so that hardly
    a token is padding; the embeddings are put back in order before the loss sees them. What does
    not fit in `micro_batch_tokens` is embedded without a graph first and a second time, with
    the same dropout, once the gradient at its embeddings is known. Equal to one pass over the
    whole batch up to rounding, and equal for every budget of one cut, dropout included.

    Args:
        encoder: Maps a list of n token arrays to (n, d) vectors.
        queries: B token arrays.
        passages: B token arrays.
        loss_fn: The loss of (B, d) queries and (B, d) passages.
        micro_batch_tokens: Padded tokens whose activations are held at once; None for all.

    Returns:
        The loss, detached.
    """
    device = next(encoder.parameters()).device
    tokens = [*queries, *passages]
    budget = FORWARD_TOKENS.get(device.type, FORWARD_TOKENS["cpu"])
    cuts = cut([len(row) for row in tokens], min(budget, micro_batch_tokens or budget))
    held = hold(cuts, tokens, micro_batch_tokens)
    passes: list[tuple[Tensor, RandomState]] = []
    for number, rows in enumerate(cuts):
        state = RandomState.read(device)
        with torch.set_grad_enabled(number >= held):
            passes.append((encoder([tokens[row] for row in rows]), state))

    # One leaf for all embeddings: the loss is differentiated only down to it
    order = torch.as_tensor(np.argsort(np.concatenate(cuts), kind="stable"), device=device)
    leaf = torch.cat([out.detach() for out, _ in passes])[order].requires_grad_()
    loss = loss_fn(leaf[: len(queries)], leaf[len(queries) :])
    loss.value.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    gradients = [leaf.grad[torch.as_tensor(rows, device=device)] for rows in cuts]

    if held < len(cuts):
        outs = [out for out, _ in passes[held:]]
        torch.autograd.backward(outs, gradients[held:])
    for number in range(held):
        with passes[number][1].replayed(device):
            again = encoder([tokens[row] for row in cuts[number]])
        again.backward(gradients[number])
    return Loss(loss.value.detach(), loss.masked_fraction)


def cut(lengths: Sequence[int], budget: int) -> list[NDArray[np.int64]]:
    """Cut rows sorted by length into runs of at most `budget` padded tokens.

    A row longer than the budget gets a run of its own. Ties keep their order, so the cut is a
    pure function of the lengths.

    Args:
        lengths: (n,) tokens of each row.
        budget: Rows of a run times its longest row.

    Returns:
        Row numbers of each run, longest rows first.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    runs: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        rows = max(1, budget // max(1, lengths[order[start]]))
        runs.append(order[start : start + rows])
        start += rows
    return runs


def hold(cuts: list[NDArray[np.int64]], tokens: Tokens, budget: int | None) -> int:
    """The number of the first micro-batch from which on all activations fit in the budget."""
    if budget is None:
        return 0
    held, total = len(cuts), 0
    while held and total + (size := padded(cuts[held - 1], tokens)) <= budget:
        held, total = held - 1, total + size
    return held


def padded(rows: NDArray[np.int64], tokens: Tokens) -> int:
    """Tokens of these rows, padded to the longest."""
    return len(rows) * max(len(tokens[row]) for row in rows)


@dataclass(frozen=True)
class RandomState:
    """The state of the generators that dropout draws from."""

    cpu: Tensor
    device: Tensor | None

    @classmethod
    def read(cls, device: torch.device) -> RandomState:
        """The state now."""
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), cuda)

    @contextmanager
    def replayed(self, device: torch.device) -> Iterator[None]:
        """Draw the same numbers again, then go on where the generators were."""
        now = RandomState.read(device)
        self._restore(device)
        try:
            yield
        finally:
            now._restore(device)

    def _restore(self, device: torch.device) -> None:
        torch.set_rng_state(self.cpu)
        if self.device is not None:
            torch.cuda.set_rng_state(self.device, device)
