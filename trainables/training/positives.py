"""False-negative masking: which passages answer which questions, by the training data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from trainables.training.permutation import Indices

GoldsOfRows = tuple[Indices, Indices]
"""Pairs as two arrays of equal length: rows, and candidates that answer their questions."""


class Positives:
    """Answers to the questions of training data.

    Rows share a question if they share its id or a query text in any language, since an encoder
    cannot tell these apart. The passages of all rows of a question answer it in every language; so
    does every passage that has the id or the text of one of them.
    """

    def __init__(
        self,
        questions: Sequence[str],
        queries: Indices,
        golds: Indices,
        texts: Indices,
        partners: Indices,
        others: GoldsOfRows,
    ) -> None:
        """Group rows and answers by question, once.

        Args:
            questions: (n,) question ids.
            queries: (languages, n) query text numbers; -1 if missing.
            golds: (n,) candidate number of each row's own passage, as in `Chosen.golds`.
            texts: (languages, n) its text numbers, as in `Chosen.texts`; -1 if missing.
            partners: (n,) row whose passage each row is trained with: itself, unless passages are
                shuffled (`shuffle_pairs`).
            others: Other answers of rows.
        """
        self.questions, self._texts = _questions(questions, queries), texts
        rows, further = others
        self._rows = _Grouped(self.questions, partners)
        self._golds = _Grouped(
            np.concatenate([self.questions, self.questions[rows]]),
            np.concatenate([golds[partners], further]),
        )

    def false_negatives(self, rows: Indices, golds: Indices, texts: Indices) -> Indices:
        """Find the passages of a batch that answer queries of other rows.

        Args:
            rows: (B,) rows whose queries are read.
            golds: (B + N,) candidate numbers of the passages; the first B are trained with `rows`.
            texts: (B + N,) text numbers of the passages.

        Returns:
            (2, F) distinct pairs of batch row and passage index, sorted.
        """
        questions, question_of = np.unique(self.questions[rows], return_inverse=True)
        by_gold = _matches(*self._golds.of(questions), golds)
        question, answers = self._rows.of(questions)
        reads = self._texts[:, answers]
        by_text = _matches(
            np.broadcast_to(question, reads.shape)[reads >= 0], reads[reads >= 0], texts
        )
        pairs = np.concatenate([by_gold, by_text], axis=1)
        answered, passages = np.divmod(np.unique(pairs[0] * len(golds) + pairs[1]), len(golds))
        row, pair = _join(question_of, answered)
        masked = np.stack([row, passages[pair]])
        return masked[:, masked[0] != masked[1]]


class _Grouped:
    """Values grouped by question, as a flat array with offsets."""

    def __init__(self, questions: Indices, values: Indices) -> None:
        order = np.argsort(questions, kind="stable")
        self.values = values[order]
        self.starts = np.searchsorted(questions[order], np.arange(questions.max(initial=-1) + 2))

    def of(self, questions: Indices) -> tuple[Indices, Indices]:
        """Return indices into `questions` and their values, as two arrays of equal length."""
        starts = self.starts[questions]
        sizes = self.starts[questions + 1] - starts
        return np.repeat(np.arange(len(questions)), sizes), self.values[_runs(starts, sizes)]


def _questions(ids: Sequence[str], queries: Indices) -> Indices:
    """Number (n,) each row's question: connected components of rows that share an id or text."""
    rows = len(ids)
    numbers = np.unique(np.asarray(ids), return_inverse=True)[1]
    keys = np.concatenate([numbers[None], np.where(queries < 0, -1, queries + rows)])
    row = np.broadcast_to(np.arange(rows), keys.shape)[keys >= 0]
    key = keys[keys >= 0] + rows
    size = int(key.max(initial=-1)) + 1
    graph = coo_matrix((np.ones(len(row), dtype=bool), (row, key)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][:rows], dtype=np.int64)


def _matches(question: Indices, values: Indices, passages: Indices) -> Indices:
    """Return (2, m) pairs of a question and the index of a passage with one of its values."""
    known, place = _join(values, passages)
    return np.stack([question[known], place])


def _join(left: Indices, right: Indices) -> tuple[Indices, Indices]:
    """Return the index pairs of equal values, in the order of `left`."""
    order = np.argsort(right, kind="stable")
    starts = np.searchsorted(right[order], left, side="left")
    sizes = np.searchsorted(right[order], left, side="right") - starts
    return np.repeat(np.arange(len(left)), sizes), order[_runs(starts, sizes)]


def _runs(starts: Indices, sizes: Indices) -> Indices:
    """Concatenate ranges of `sizes` numbers, each counting up from its entry in `starts`."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + sizes, sizes)
