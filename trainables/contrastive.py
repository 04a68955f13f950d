"""The gradient of a contrastive loss at any batch size.

It is taken through micro-batches of rows of similar length, and cached at the embeddings (Gao et
al. 2021, https://arxiv.org/abs/2101.06983) where the batch does not fit: both are exact. Rows are
texts, pictures, or vectors that are constants (`rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.distributed import Group
from trainables.info_nce import Loss
from trainables.rows import Kind, Rows, alike, embed, kind_of, picture_tokens, unlike

Tokens = Sequence[NDArray[np.int32]]
"""One array of token ids a text, special tokens included."""

FORWARD_TOKENS = {"cpu": 512, "cuda": 32768}
"""Padded tokens in one forward pass, where memory sets no lower bound: enough to keep the device
busy, and few enough that rows in one pass have nearly the same length."""


def backward(
    encoder: nn.Module,
    queries: Rows,
    passages: Rows,
    loss_fn: Callable[[Tensor, Tensor], Loss],
    micro_batch_tokens: int | None = None,
    group: Group | None = None,
) -> Loss:
    """Add the gradient of the batch's loss to the encoder's parameters.

    Queries and passages are sorted together by length and cut into micro-batches, so that hardly
    a token is padding; the embeddings are put back in order before the loss sees them. What does
    not fit in `micro_batch_tokens` is embedded without a graph first and a second time, with
    the same dropout, once the gradient at its embeddings is known. Equal to one pass over the
    whole batch up to rounding, and equal for every budget of one cut, dropout included.

    Args:
        encoder: Maps a list of n token arrays to (n, d) vectors, and pictures if there are any.
        queries: B rows of tokens.
        passages: B rows, and those of N hard negatives if the loss takes them. A micro-batch holds
            one kind; pictures come after texts, and vectors are in none.
        loss_fn: The loss of (B, d) queries and (B + N, d) passages, or (B + N, k, d) where
            pictures have k vectors.
        micro_batch_tokens: Padded tokens whose activations are held at once; None for all.
        group: Ranks that embed a share of the rows each; all give the same rows, and each computes
            the whole loss from all embeddings. The gradient that is added is then of this rank's
            share: `Group.sum_gradients` adds them up.

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
    sides = longest_first(sizes, kinds)
    dealt = sides if group is None else [side[group.rank :: group.size] for side in sides]
    by_kind = [
        [side[run] for run in cut([len(sizes[row]) for row in side.tolist()], budget)]
        for side in dealt
    ]
    cuts = [run for runs in by_kind for run in runs]
    held = hold(cuts, sizes, micro_batch_tokens)
    passes: list[tuple[Tensor, RandomState]] = []
    for number, run in enumerate(cuts):
        state = RandomState.read(device)
        with torch.set_grad_enabled(number >= held):
            passes.append((embed(encoder, [rows[row] for row in run]), state))

    fixed = np.flatnonzero(kinds == "vector")
    outs, places = [out.detach() for out, _ in passes], cuts
    if group is not None:
        outs, places = gathered(outs, by_kind, sides, group), sides
    outs += [embed(encoder, [rows[row] for row in fixed])] if len(fixed) else []
    # One leaf for all embeddings: the loss is differentiated only down to it
    order = torch.as_tensor(
        np.argsort(np.concatenate([*places, fixed]), kind="stable"), device=device
    )
    leaf = torch.cat(alike(outs))[order].requires_grad_()
    asked = leaf[: len(queries)]
    loss = loss_fn(asked if leaf.ndim == 2 else asked[:, 0], leaf[len(queries) :])
    loss.value.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    gradients = [
        unlike(leaf.grad[torch.as_tensor(run, device=device)], out)
        for run, (out, _) in zip(cuts, passes, strict=True)
    ]

    if held < len(cuts):
        torch.autograd.backward([out for out, _ in passes[held:]], gradients[held:])
    for number in range(held):
        with passes[number][1].replayed(device):
            again = embed(encoder, [rows[row] for row in cuts[number]])
        again.backward(gradients[number])  # type: ignore[no-untyped-call]
    return Loss(loss.value.detach(), loss.masked_fraction)


def longest_first(sizes: Sequence[Sized], kinds: NDArray[np.str_]) -> list[NDArray[np.int64]]:
    """Rows of texts, then of pictures, each the longest first; vectors are in neither."""
    order: tuple[Kind, ...] = ("tokens", "picture")
    sides = []
    for kind in order:
        side = np.flatnonzero(kinds == kind)
        lengths = np.array([len(sizes[row]) for row in side.tolist()], dtype=np.int64)
        sides.append(side[np.argsort(-lengths, kind="stable")])
    return [side for side in sides if len(side)]


def gathered(
    outs: Sequence[Tensor],
    by_kind: Sequence[Sequence[NDArray[np.int64]]],
    sides: Sequence[NDArray[np.int64]],
    group: Group,
) -> list[Tensor]:
    """Embeddings of all ranks' rows, one tensor a kind, in the order of `sides`.

    Args:
        outs: Of this rank's micro-batches.
        by_kind: Which rows those are, a list for each of `sides`.
        sides: All rows, dealt to the ranks in turn.
        group: The ranks.
    """
    left, found = iter(outs), []
    for runs, side in zip(by_kind, sides, strict=True):
        own = [next(left) for _ in runs]
        found.append(group.gather(torch.cat(own) if own else None, len(side)))
    return found


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


def hold(cuts: list[NDArray[np.int64]], tokens: Sequence[Sized], budget: int | None) -> int:
    """The number of the first micro-batch from which on all activations fit in the budget."""
    if budget is None:
        return 0
    held, total = len(cuts), 0
    while held and total + (size := padded(cuts[held - 1], tokens)) <= budget:
        held, total = held - 1, total + size
    return held


def padded(rows: NDArray[np.int64], tokens: Sequence[Sized]) -> int:
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
