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
from typing import Any

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

BLOCK = 256
"""Rows of scores held at once in a larger batch."""


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
    text_ids: Tensor | None = None,
) -> Loss:
    """InfoNCE over the batch: every other row's passage is a negative of a query.

    With `mask_false_negatives`, a row with the same question, the same gold candidate or the same
    passage text leaves the denominator of the other, whatever their languages. Without such rows
    the loss is plain InfoNCE. Computed in float32, whatever autocast says.

    Args:
        queries: (B, d) vectors of any length; the cosine is taken here.
        passages: (B, d) vectors; row i is the positive of query i.
        temperature: Cosines are divided by it.
        symmetric: Average with the passage-to-query direction.
        question_ids: (B,) equal for translations of the same question.
        gold_ids: (B,) equal for translations of the same candidate.
        mask_false_negatives: Whether such rows leave the denominator.
        text_ids: (B,) equal for equal passage texts: in XQuAD-R 671 pairs of questions have
            different gold candidates that read the same in some language.
    """
    device = queries.device
    kinds = [question_ids, gold_ids, *([] if text_ids is None else [text_ids])]
    ids = torch.stack(kinds).to(device) if mask_false_negatives else None
    with torch.autocast(device.type, enabled=False):
        units = [F.normalize(side.float(), dim=-1) for side in (queries, passages)]
        value, masked = _one_direction(units[0], units[1], ids, temperature)
        if symmetric:
            value = (value + _one_direction(units[1], units[0], ids, temperature)[0]) / 2
    return Loss(value, masked / max(1, len(queries) * (len(queries) - 1)))


def _one_direction(
    queries: Tensor, passages: Tensor, ids: Tensor | None, temperature: float
) -> tuple[Tensor, int]:
    """Mean loss of the queries, and how many pairs are masked."""
    queries = queries / temperature
    if len(queries) > BLOCK:
        value, masked = _InBlocks.apply(queries, passages, ids)  # type: ignore[no-untyped-call]
        return value, int(masked)
    own = torch.arange(len(queries), device=queries.device)
    scores = queries @ passages.T
    if ids is None:
        return F.cross_entropy(scores, own), 0
    false = false_negatives(ids, own)
    return F.cross_entropy(scores.masked_fill(false, -torch.inf), own), int(false.sum())


class _InBlocks(torch.autograd.Function):
    """The mean loss of many queries, with one block of scores in memory at a time.

    At 4,096 rows all scores and what is made of them would take a quarter of a gigabyte. Every
    block is computed in the same buffer, and again for the gradient.
    """

    @staticmethod
    def forward(
        context: Any, queries: Tensor, passages: Tensor, ids: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Value and number of masked pairs."""
        buffer = queries.new_empty(BLOCK, len(passages))
        sums, total = queries.new_empty(len(queries)), queries.new_zeros(())
        masked = torch.zeros((), dtype=torch.int64, device=queries.device)
        for rows in torch.split(torch.arange(len(queries), device=queries.device), BLOCK):
            scores, false = _block(queries, passages, ids, rows, buffer)
            masked += 0 if false is None else false.sum()
            positive = scores.gather(1, rows[:, None])[:, 0]
            highest = scores.amax(1)
            sums[rows] = highest + scores.sub_(highest[:, None]).exp_().sum(1).log_()
            total += (sums[rows] - positive).sum()
        context.save_for_backward(queries, passages, ids, sums)
        context.mark_non_differentiable(masked)
        return total / len(queries), masked

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Softmax minus one at the positive, times the other side."""
        queries, passages, ids, sums = context.saved_tensors
        buffer = queries.new_empty(BLOCK, len(passages))
        of_queries, of_passages = torch.empty_like(queries), torch.zeros_like(passages)
        for rows in torch.split(torch.arange(len(queries), device=queries.device), BLOCK):
            scores, _ = _block(queries, passages, ids, rows, buffer)
            scores.sub_(sums[rows, None]).exp_()
            scores[torch.arange(len(rows), device=rows.device), rows] -= 1
            of_queries[rows] = scores @ passages
            of_passages.addmm_(scores.T, queries[rows])
        scale = gradients[0] / len(queries)
        return of_queries * scale, of_passages * scale, None


def _block(
    queries: Tensor, passages: Tensor, ids: Tensor | None, rows: Tensor, buffer: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Scores of some queries against all passages, written to the buffer, and their mask."""
    scores = torch.mm(queries[rows], passages.T, out=buffer[: len(rows)])
    false = None if ids is None else false_negatives(ids, rows)
    return scores if false is None else scores.masked_fill_(false, -torch.inf), false


def false_negatives(ids: Tensor, rows: Tensor) -> Tensor:
    """Which other rows share an id with these.

    Args:
        ids: (kinds, B) ids of each row, such as those of its question and of its gold.
        rows: (k,) row numbers.

    Returns:
        (k, B) True where row j shares an id with row i of `rows` and j != i.
    """
    same = torch.zeros(len(rows), ids.shape[1], dtype=torch.bool, device=ids.device)
    for kind in ids:
        same |= kind[rows, None] == kind
    same[torch.arange(len(rows), device=rows.device), rows] = False
    return same


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
