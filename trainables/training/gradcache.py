"""GradCache: the exact gradient of a contrastive loss at any batch size.

Rows are embedded in micro-batches. If their activations do not all fit, the gradient is cached at
the embeddings and rows are embedded a second time (Gao et al. 2021,
https://arxiv.org/abs/2101.06983). Rows are texts, pictures or constant vectors (`batch_items`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.encoders.padding import micro_batches, padded_tokens
from trainables.training.batch_items import (
    BatchItems,
    Kind,
    alike,
    embed,
    kind_of,
    picture_tokens,
    unlike,
)
from trainables.training.info_nce import Loss

if TYPE_CHECKING:
    from trainables.distributed.group import Group

FORWARD_TOKENS = {"cpu": 512, "cuda": 32768}
"""Maximum padded tokens in one forward pass, unless memory sets a lower one: enough to keep the
device busy, few enough that rows in one pass have nearly the same length."""


def backward(
    encoder: nn.Module,
    queries: BatchItems,
    passages: BatchItems,
    loss_fn: Callable[[Tensor, Tensor], Loss],
    micro_batch_tokens: int | None = None,
    group: Group | None = None,
) -> Loss:
    """Add the gradient of the batch's loss to the encoder's parameters.

    1. Sort queries and passages together by length, cut them into micro-batches and embed these.
       The last ones, whose activations fit in `micro_batch_tokens`, keep their graph.
    2. Compute the loss from all embeddings in their original order, and its gradient there.
    3. Backpropagate that gradient through the encoder: directly where the graph was kept,
       elsewhere through a second forward pass with the same dropout.

    The gradient equals that of one pass over the whole batch up to rounding; budgets that give the
    same micro-batches give the same gradient, dropout included.

    Args:
        encoder: Maps n token arrays to (n, d) vectors, and pictures if there are any.
        queries: B rows of tokens.
        passages: B rows, then N hard negatives if the loss takes them. A micro-batch holds rows
            of one kind; texts come before pictures, and vectors are in no micro-batch.
        loss_fn: Loss of (B, d) queries and (B + N, d) passages, or (B + N, k, d) where pictures
            have k vectors.
        micro_batch_tokens: Padded tokens whose activations may be held at once; None for all.
        group: Process ranks, each of which embeds a share of the rows. All pass the same rows and
            compute the whole loss from all embeddings, but add only the gradient through their own
            share: `Group.sum_gradients` sums these.

    Returns:
        The loss, detached.
    """
    device = next(encoder.parameters()).device
    rows = [*queries, *passages]
    kinds = np.array([kind_of(row) for row in rows])
    picture = range(picture_tokens(encoder)) if "picture" in kinds else range(1)
    sizes = [row if kind == "tokens" else picture for row, kind in zip(rows, kinds, strict=True)]
    budget = FORWARD_TOKENS.get(device.type, FORWARD_TOKENS["cpu"])
    budget = min(budget, micro_batch_tokens or budget)
    buckets = longest_first(sizes, kinds)
    shares = buckets if group is None else [bucket[group.rank :: group.size] for bucket in buckets]
    by_bucket = [
        [share[batch] for batch in micro_batches([len(sizes[row]) for row in share], budget)]
        for share in shares
    ]
    batches = [batch for batches in by_bucket for batch in batches]

    first = first_with_graph(batches, sizes, micro_batch_tokens)
    passes: list[tuple[Tensor, RandomState]] = []
    for number, batch in enumerate(batches):
        state = RandomState.read(device)
        with torch.set_grad_enabled(number >= first):
            passes.append((embed(encoder, [rows[row] for row in batch]), state))

    constant = np.flatnonzero(kinds == "vector")
    outputs, embedded = [output.detach() for output, _ in passes], batches
    if group is not None:
        outputs, embedded = gather_buckets(outputs, by_bucket, buckets, group), buckets
    if len(constant):
        outputs.append(embed(encoder, [rows[row] for row in constant]))
    order = torch.as_tensor(
        np.argsort(np.concatenate([*embedded, constant]), kind="stable"), device=device
    )
    embeddings = torch.cat(alike(outputs))[order].requires_grad_()
    query_embeddings = embeddings[: len(queries)]
    loss = loss_fn(
        query_embeddings if embeddings.ndim == 2 else query_embeddings[:, 0],
        embeddings[len(queries) :],
    )
    loss.value.backward()  # type: ignore[no-untyped-call]
    assert embeddings.grad is not None
    gradients = [
        unlike(embeddings.grad[torch.as_tensor(batch, device=device)], output)
        for batch, (output, _) in zip(batches, passes, strict=True)
    ]

    if first < len(batches):
        torch.autograd.backward([output for output, _ in passes[first:]], gradients[first:])
    for number in range(first):
        with passes[number][1].replayed(device):
            again = embed(encoder, [rows[row] for row in batches[number]])
        again.backward(gradients[number])  # type: ignore[no-untyped-call]
    return Loss(loss.value.detach(), loss.masked_fraction)


def longest_first(sizes: Sequence[Sized], kinds: NDArray[np.str_]) -> list[NDArray[np.int64]]:
    """Group rows into texts and pictures, each longest first; vectors are left out."""
    order: tuple[Kind, ...] = ("tokens", "picture")
    buckets = []
    for kind in order:
        bucket = np.flatnonzero(kinds == kind)
        lengths = np.array([len(sizes[row]) for row in bucket.tolist()], dtype=np.int64)
        buckets.append(bucket[np.argsort(-lengths, kind="stable")])
    return [bucket for bucket in buckets if len(bucket)]


def gather_buckets(
    outputs: Sequence[Tensor],
    by_bucket: Sequence[Sequence[NDArray[np.int64]]],
    buckets: Sequence[NDArray[np.int64]],
    group: Group,
) -> list[Tensor]:
    """Gather the embeddings of all processes' rows, one tensor per bucket, in bucket order.

    Args:
        outputs: Embeddings of this process's micro-batches.
        by_bucket: Rows of these micro-batches, one list per bucket.
        buckets: All rows, of which each process embeds every `group.size`-th.
        group: Process ranks.
    """
    remaining, tensors = iter(outputs), []
    for batches, bucket in zip(by_bucket, buckets, strict=True):
        share = [next(remaining) for _ in batches]
        tensors.append(group.gather(torch.cat(share) if share else None, len(bucket)))
    return tensors


def first_with_graph(
    batches: list[NDArray[np.int64]], sizes: Sequence[Sized], budget: int | None
) -> int:
    """Return the first micro-batch number from which on all activations fit in the budget."""
    if budget is None:
        return 0
    first, total = len(batches), 0
    while first and total + (size := padded_tokens(batches[first - 1], sizes)) <= budget:
        first, total = first - 1, total + size
    return first


@dataclass(frozen=True)
class RandomState:
    """State of the random generators that dropout draws from."""

    cpu: Tensor
    device: Tensor | None

    @classmethod
    def read(cls, device: torch.device) -> RandomState:
        """Read the current state."""
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), cuda)

    @contextmanager
    def replayed(self, device: torch.device) -> Iterator[None]:
        """Draw the same numbers again, then restore the generators."""
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
