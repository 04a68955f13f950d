"""InfoNCE, also known as MultipleNegativesRanking and NT-Xent, with masked false negatives.

Van den Oord et al. 2018, https://arxiv.org/abs/1807.03748.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from trainables.spec.settings import NEGATIVE_KINDS, NegativeKind, Negatives

BLOCK = 256
"""Queries scored at a time in batches larger than this."""


@dataclass(frozen=True)
class Loss:
    """Loss of one batch.

    Attributes:
        value: Scalar, float32.
        masked_fraction: Share of the negatives masked as false: of B * (B - 1) in-batch ones,
            if these count, and of N hard ones of a query's own row or B * N of all rows.
    """

    value: Tensor
    masked_fraction: float


@dataclass(frozen=True)
class Denominator:
    """Passages in the denominator of each query, besides its own.

    Attributes:
        false: (2, F) distinct pairs of row and passage, which answers the row's query too.
        kind: What counts against a query.
        owners: (N,) row that each hard negative belongs to.
    """

    false: Tensor
    kind: NegativeKind
    owners: Tensor

    def excluded(self, rows: Tensor, batch: int) -> tuple[Tensor | None, Tensor | int]:
        """Mask the passages that do not count against the queries of `rows`.

        Args:
            rows: (k,) consecutive row numbers.
            batch: Number of rows B in the whole batch.

        Returns:
            (k, B + N) bool, True where a passage does not count, or None if all count; and the
            number of passages masked as false that would otherwise count.
        """
        absent = self._absent(rows, batch)
        if not self.false.shape[1]:
            return absent, 0
        row, passage = self.false
        inside = (row >= rows[0]) & (row <= rows[-1])
        false = torch.zeros(
            (len(rows), batch + len(self.owners)), dtype=torch.bool, device=rows.device
        )
        false[row[inside] - rows[0], passage[inside]] = True
        if absent is None:
            return false, false.sum()
        return false | absent, (false & ~absent).sum()

    def pairs(self, batch: int) -> int:
        """Count the pairs of query and negative in the whole batch before masking."""
        n = len(self.owners)
        others = batch * (batch - 1) if self.kind.in_batch else 0
        return others + n * (1 if self.kind.hard == "own" else batch)

    def _absent(self, rows: Tensor, batch: int) -> Tensor | None:
        """Mask (k, B + N) passages that `kind` excludes from the denominator; None if none."""
        if self.kind.in_batch and self.kind.hard != "own":
            return None
        others = rows[:, None] != torch.arange(batch, device=rows.device)
        foreign = rows[:, None] != self.owners
        excluded = [others & (not self.kind.in_batch), foreign & (self.kind.hard == "own")]
        return torch.cat(excluded, dim=1)


def info_nce(
    queries: Tensor,
    passages: Tensor,
    *,
    temperature: float | Tensor,
    symmetric: bool,
    false_negatives: Tensor | None = None,
    negatives: Negatives = "in_batch",
    owners: Tensor | None = None,
) -> Loss:
    """Compute InfoNCE over the batch in float32, regardless of autocast.

    A query's denominator holds its own passage and, depending on `negatives`:

    - `in_batch`: the other rows' passages.
    - `both`: the other rows' passages and the hard negatives of all rows.
    - `hard`: the hard negatives of its own row; a row without one has loss 0.
    - `paper_eq1`: the hard negatives of all rows, as equation 1 of arXiv 2408.10536 is written.

    A passage in `false_negatives` leaves the query's denominator, and the query leaves the
    passage's in the symmetric loss. Without such pairs, `in_batch` is plain InfoNCE.

    Args:
        queries: (B, d) vectors of any norm; scores are cosines.
        passages: (B + N, d) vectors: row i is the positive of query i, the last N are hard
            negatives. Or (B + N, k, d), scored by the largest of k cosines.
        temperature: Divisor of the cosines; a scalar tensor gets a gradient.
        symmetric: Average with the passage-to-query direction over the batch's own pairs; only
            with `in_batch` and `both`.
        false_negatives: (2, F) distinct pairs of row and passage to mask, never a row's own
            passage (`trainables.training.positives`); None masks nothing.
        negatives: Passages that count against a query, as above.
        owners: (N,) row that each hard negative belongs to; None without hard negatives.
    """
    device, batch = queries.device, len(queries)
    empty = torch.empty((2, 0), dtype=torch.int64)
    false = (empty if false_negatives is None else false_negatives).to(device)
    kind = NEGATIVE_KINDS[negatives]
    denominator = Denominator(false, kind, (empty[0] if owners is None else owners).to(device))
    with torch.autocast(device.type, enabled=False):
        units = [F.normalize(side.float(), dim=-1) for side in (queries, passages)]
        value, masked = _one_direction(units[0], units[1], denominator, temperature)
        if symmetric:
            within = false[:, false[1] < batch]
            back = Denominator(within.flip(0), NEGATIVE_KINDS["in_batch"], empty[0].to(device))
            value = (value + _one_direction(units[1][:batch], units[0], back, temperature)[0]) / 2
    return Loss(value, masked / max(1, denominator.pairs(batch)))


def _one_direction(
    queries: Tensor, passages: Tensor, denominator: Denominator, temperature: float | Tensor
) -> tuple[Tensor, int]:
    """Return the mean loss of the queries and the number of masked pairs."""
    queries = queries / temperature
    multi_vector = queries.ndim == 3 or passages.ndim == 3
    if len(queries) > BLOCK and not multi_vector:
        loss, masked = _InBlocks.apply(queries, passages, denominator)  # type: ignore[no-untyped-call]
        return loss, int(masked)
    own = torch.arange(len(queries), device=queries.device)
    scores = _largest(queries, passages) if multi_vector else queries @ passages.T
    excluded, masked = denominator.excluded(own, len(own))
    if excluded is not None:
        scores = scores.masked_fill(excluded, -torch.inf)
    return F.cross_entropy(scores, own), int(masked)


def _largest(queries: Tensor, passages: Tensor) -> Tensor:
    """Compute (m, n) largest dot products of (m, d) and (n, k, d), or of (m, k, d) and (n, d)."""
    if queries.ndim == 3:
        return _largest(passages, queries).T
    return torch.einsum("md,nkd->mnk", queries, passages).amax(-1)


class _InBlocks(torch.autograd.Function):
    """Mean loss of many queries, with one block of scores in memory at a time.

    With 4,096 rows, all scores and their intermediates would take a quarter of a gigabyte. All
    blocks share one buffer, and each is computed again for the gradient.
    """

    @staticmethod
    def forward(
        context: Any, queries: Tensor, passages: Tensor, denominator: Denominator
    ) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the number of masked pairs."""
        buffer = queries.new_empty(BLOCK, len(passages))
        sums, total = queries.new_empty(len(queries)), queries.new_zeros(())
        masked = torch.zeros((), dtype=torch.int64, device=queries.device)
        for rows in torch.split(torch.arange(len(queries), device=queries.device), BLOCK):
            scores, false = _block(queries, passages, denominator, rows, buffer)
            masked += false
            positive = scores.gather(1, rows[:, None])[:, 0]
            highest = scores.amax(1)
            sums[rows] = highest + scores.sub_(highest[:, None]).exp_().sum(1).log_()
            total += (sums[rows] - positive).sum()
        context.save_for_backward(queries, passages, sums)
        context.denominator = denominator
        context.mark_non_differentiable(masked)
        return total / len(queries), masked

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Multiply softmax, minus 1 at the positive, by the vectors of the other side."""
        queries, passages, sums = context.saved_tensors
        buffer = queries.new_empty(BLOCK, len(passages))
        of_queries, of_passages = torch.empty_like(queries), torch.zeros_like(passages)
        for rows in torch.split(torch.arange(len(queries), device=queries.device), BLOCK):
            scores, _ = _block(queries, passages, context.denominator, rows, buffer)
            scores.sub_(sums[rows, None]).exp_()
            scores[torch.arange(len(rows), device=rows.device), rows] -= 1
            of_queries[rows] = scores @ passages
            of_passages.addmm_(scores.T, queries[rows])
        scale = gradients[0] / len(queries)
        return of_queries * scale, of_passages * scale, None


def _block(
    queries: Tensor, passages: Tensor, denominator: Denominator, rows: Tensor, buffer: Tensor
) -> tuple[Tensor, Tensor | int]:
    """Score some queries against all passages in the buffer, and count the masked pairs."""
    scores = torch.mm(queries[rows], passages.T, out=buffer[: len(rows)])
    excluded, masked = denominator.excluded(rows, len(queries))
    return scores if excluded is None else scores.masked_fill_(excluded, -torch.inf), masked
