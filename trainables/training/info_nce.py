"""InfoNCE, also known as MultipleNegativesRanking and NT-Xent, with false negatives masked.

Van den Oord et al. 2018, https://arxiv.org/abs/1807.03748.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from trainables.spec import Negatives

BLOCK = 256
"""Rows of scores held at once in a larger batch."""


@dataclass(frozen=True)
class Loss:
    """The loss of one batch.

    Attributes:
        value: Scalar, float32.
        masked_fraction: Share of the negatives that are left out as false: of B * (B - 1) for
            `in_batch`, B * (B - 1 + N) for `both`, B * N for `paper_eq1` and N for `hard`.
    """

    value: Tensor
    masked_fraction: float


@dataclass(frozen=True)
class Denominator:
    """Which passages count against which query, beside its own.

    Attributes:
        false: (2, F) rows and passages, no pair twice: passages that answer the row's query too.
        negatives: As of `info_nce`.
        owners: (N,) the row that each hard negative belongs to.
    """

    false: Tensor
    negatives: Negatives
    owners: Tensor

    def excluded(self, rows: Tensor, batch: int) -> tuple[Tensor | None, Tensor | int]:
        """Which passages do not count against the queries of `rows`.

        Args:
            rows: (k,) row numbers, one after the other.
            batch: Rows of the whole batch.

        Returns:
            (k, B + N) True where a passage does not count, None if all do; and how many of those
            that would count are left out as false.
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
        """How many negatives count against all queries together while none is masked."""
        n = len(self.owners)
        if self.negatives == "hard":
            return n
        return batch * (n + (0 if self.negatives == "paper_eq1" else batch - 1))

    def _absent(self, rows: Tensor, batch: int) -> Tensor | None:
        """(k, B + N) what `negatives` keeps out of the denominator, whatever its id."""
        if self.negatives in ("in_batch", "both"):
            return None
        own = rows[:, None] == torch.arange(batch, device=rows.device)
        foreign = rows[:, None] != self.owners
        return torch.cat([~own, foreign & (self.negatives == "hard")], dim=1)


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
    """InfoNCE over the batch, computed in float32 whatever autocast says.

    A query's denominator holds its own passage, and of the others, by `negatives`:

    - `in_batch`: the other rows' passages.
    - `both`: the other rows' passages, and the hard negatives of all rows.
    - `hard`: the hard negatives of its own row; a row without one has loss 0.
    - `paper_eq1`: the hard negatives of all rows, as equation 1 of arXiv 2408.10536 is written.

    Passages that answer a query although they are not its own leave its denominator, and the query
    leaves theirs. Without such passages `in_batch` is plain InfoNCE.

    Args:
        queries: (B, d) vectors of any length; the cosine is taken here.
        passages: (B + N, d) vectors; row i is the positive of query i, the last N are hard
            negatives. Or (B + N, k, d), of which the largest cosine with a query counts.
        temperature: Cosines are divided by it; a scalar tensor gets a gradient.
        symmetric: Average with the passage-to-query direction, over in-batch queries; with
            `in_batch` and `both` only.
        false_negatives: (2, F) rows and passages that answer their queries, no pair twice and none
            of a row with its own passage (`trainables.training.positives`); None masks nothing.
        negatives: What counts against a query.
        owners: (N,) the row that each hard negative belongs to; None for no hard negatives.
    """
    device, batch = queries.device, len(queries)
    none = torch.empty((2, 0), dtype=torch.int64)
    false = (none if false_negatives is None else false_negatives).to(device)
    denominator = Denominator(false, negatives, (none[0] if owners is None else owners).to(device))
    with torch.autocast(device.type, enabled=False):
        units = [F.normalize(side.float(), dim=-1) for side in (queries, passages)]
        value, masked = _one_direction(units[0], units[1], denominator, temperature)
        if symmetric:
            within = false[:, false[1] < batch]
            back = Denominator(within.flip(0), "in_batch", none[0].to(device))
            value = (value + _one_direction(units[1][:batch], units[0], back, temperature)[0]) / 2
    return Loss(value, masked / max(1, denominator.pairs(batch)))


def _one_direction(
    queries: Tensor, passages: Tensor, denominator: Denominator, temperature: float | Tensor
) -> tuple[Tensor, int]:
    """Mean loss of the queries, and how many pairs are masked."""
    queries = queries / temperature
    several = queries.ndim == 3 or passages.ndim == 3
    if len(queries) > BLOCK and not several:
        loss, masked = _InBlocks.apply(queries, passages, denominator)  # type: ignore[no-untyped-call]
        return loss, int(masked)
    own = torch.arange(len(queries), device=queries.device)
    scores = _largest(queries, passages) if several else queries @ passages.T
    excluded, masked = denominator.excluded(own, len(own))
    if excluded is not None:
        scores = scores.masked_fill(excluded, -torch.inf)
    return F.cross_entropy(scores, own), int(masked)


def _largest(queries: Tensor, passages: Tensor) -> Tensor:
    """(m, n) the largest dot product of (m, d) with (n, k, d), or of (m, k, d) with (n, d)."""
    if queries.ndim == 3:
        return _largest(passages, queries).T
    return torch.einsum("md,nkd->mnk", queries, passages).amax(-1)


class _InBlocks(torch.autograd.Function):
    """The mean loss of many queries, with one block of scores in memory at a time.

    At 4,096 rows all scores and what is made of them would take a quarter of a gigabyte. Every
    block is computed in the same buffer, and again for the gradient.
    """

    @staticmethod
    def forward(
        context: Any, queries: Tensor, passages: Tensor, denominator: Denominator
    ) -> tuple[Tensor, Tensor]:
        """Value and number of masked pairs."""
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
        """Softmax minus one at the positive, times the other side."""
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
    """Scores of some queries against all passages, written to the buffer; how many are masked."""
    scores = torch.mm(queries[rows], passages.T, out=buffer[: len(rows)])
    excluded, masked = denominator.excluded(rows, len(queries))
    return scores if excluded is None else scores.masked_fill_(excluded, -torch.inf), masked
