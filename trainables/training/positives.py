"""Which passages answer which questions, as far as training data say: no negatives of theirs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from trainables.training.permutation import Indices

GoldsOfRows = tuple[Indices, Indices]
"""Rows, and ids of candidates that answer their questions: of each as many as there are pairs."""


class Positives:
    """What answers the questions of training data.

    Rows are of one question if they share its id, or if their queries read the same in any
    language: an encoder cannot tell these apart. The passages of all rows of a question answer it,
    whatever their language; so does every passage that has the id or the text of one of them.
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
        """Sort what there is by question, once.

        Args:
            questions: (n,) ids.
            queries: (languages, n) equal for equal query texts; -1 where there is none.
            golds: (n,) the id of each row's own passage, as `Chosen.golds` has them.
            texts: (languages, n) its texts, as `Chosen.texts` has them; -1 where there is none.
            partners: (n,) the row whose passage each row is trained with: itself, unless passages
                are dealt to the wrong questions.
            others: Further answers of rows.
        """
        self.questions, self._texts = _questions(questions, queries), texts
        rows, further = others
        self._rows = _Grouped(self.questions, partners)
        self._golds = _Grouped(
            np.concatenate([self.questions, self.questions[rows]]),
            np.concatenate([golds[partners], further]),
        )

    def false_negatives(self, rows: Indices, golds: Indices, texts: Indices) -> Indices:
        """The passages of a batch that answer queries of other rows.

        Args:
            rows: (B,) whose queries are read.
            golds: (B + N,) ids of the passages; the first B are those of `rows`.
            texts: (B + N,) equal for equal texts.

        Returns:
            (2, F) places among the rows and among the passages, each pair once, in order.
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
    """Values of questions, in the order of the questions."""

    def __init__(self, questions: Indices, values: Indices) -> None:
        order = np.argsort(questions, kind="stable")
        self.values = values[order]
        self.starts = np.searchsorted(questions[order], np.arange(questions.max(initial=-1) + 2))

    def of(self, questions: Indices) -> tuple[Indices, Indices]:
        """The values of some questions, and for each the place of its question among these."""
        starts = self.starts[questions]
        sizes = self.starts[questions + 1] - starts
        return np.repeat(np.arange(len(questions)), sizes), self.values[_runs(starts, sizes)]


def _questions(ids: Sequence[str], queries: Indices) -> Indices:
    """(n,) the question of each row: the connected parts of rows that share an id or a text."""
    rows = len(ids)
    numbers = np.unique(np.asarray(ids), return_inverse=True)[1]
    keys = np.concatenate([numbers[None], np.where(queries < 0, -1, queries + rows)])
    row = np.broadcast_to(np.arange(rows), keys.shape)[keys >= 0]
    key = keys[keys >= 0] + rows
    size = int(key.max(initial=-1)) + 1
    graph = coo_matrix((np.ones(len(row), dtype=bool), (row, key)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][:rows], dtype=np.int64)


def _matches(question: Indices, values: Indices, passages: Indices) -> Indices:
    """(2, m) questions, and places of passages that have one of their values."""
    known, place = _join(values, passages)
    return np.stack([question[known], place])


def _join(left: Indices, right: Indices) -> tuple[Indices, Indices]:
    """Places of all equal pairs of values, in the order of `left`."""
    order = np.argsort(right, kind="stable")
    starts = np.searchsorted(right[order], left, side="left")
    sizes = np.searchsorted(right[order], left, side="right") - starts
    return np.repeat(np.arange(len(left)), sizes), order[_runs(starts, sizes)]


def _runs(starts: Indices, sizes: Indices) -> Indices:
    """Runs of numbers, each `sizes` long from `starts` on, one after the other."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + sizes, sizes)
