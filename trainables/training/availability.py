"""Languages in which the texts of training rows exist, and the rows that a trial keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.data.benchmark import TrainingSet
from trainables.errors import UserError
from trainables.spec import Rows
from trainables.training.permutation import Indices, Stream, stream

Flags = NDArray[np.bool_]

RULES: Mapping[Rows, str] = {
    "in_all": "all of the training languages",
    "in_two": "two of the training languages, query and passage in each",
    "in_any": "a training language for its query and one for its passage",
}
"""Texts that a row must have to be kept, by the setting `rows`."""


@dataclass(frozen=True, eq=False)
class LanguageAvailability:
    """Which texts of n rows exist in which of L languages.

    Attributes:
        queries: (n, L) bool.
        passages: (n, L) bool.
    """

    queries: Flags
    passages: Flags

    @classmethod
    def full(cls, rows: int, languages: int) -> LanguageAvailability:
        """Return availability of every text in every language."""
        return cls(np.ones((rows, languages), dtype=bool), np.ones((rows, languages), dtype=bool))

    @classmethod
    def of(cls, data: TrainingSet, languages: Sequence[str]) -> LanguageAvailability:
        """Read from training data which texts exist in `languages`.

        Raises:
            UserError: The data lack one of the languages altogether.
        """
        if unknown := sorted(set(languages) - set(data.languages)):
            raise UserError(
                f"languages: {data.name} has no {unknown[0]!r} to train on; it has "
                f"{', '.join(data.languages)}"
            )
        tables = (data.queries, data.passages)
        return cls(
            *(
                np.array([[text is not None for text in table[x]] for x in languages]).T
                for table in tables
            )
        )

    @property
    def is_full(self) -> bool:
        """Whether every text exists in every language."""
        return bool(self.queries.all() and self.passages.all())

    @property
    def same(self) -> Flags:
        """(n, L) bool, True where query and passage of the row exist in the language."""
        return self.queries & self.passages

    @property
    def crossed(self) -> Flags:
        """(n,) bool, True where the row exists in some pair of different languages."""
        pairs = self.queries.sum(1) * self.passages.sum(1) - self.same.sum(1)
        return np.asarray(pairs > 0)

    def pair_sizes(self) -> Indices:
        """Count (L, L) rows with a query in x and a passage in y; 0 on the diagonal."""
        sizes = self.queries.T.astype(np.int64) @ self.passages.astype(np.int64)
        return sizes * (1 - np.eye(len(sizes), dtype=np.int64))

    def keep(self, rows: Indices) -> LanguageAvailability:
        """Select rows."""
        return LanguageAvailability(self.queries[rows], self.passages[rows])

    def follow(self, rule: Rows) -> Indices:
        """Return the numbers of the rows that `rule` keeps, ascending.

        Raises:
            UserError: No row is left.
        """
        readable = {
            "in_all": self.same.all(1),
            "in_two": self.same.sum(1) >= min(2, self.same.shape[1]),
            "in_any": self.queries.any(1) & self.passages.any(1),
        }[rule]
        if not readable.any():
            raise UserError(f"rows={rule}: no row of the training data exists in {RULES[rule]}")
        return np.flatnonzero(readable)


def limited(rows: Indices, most: int | None, seed: int) -> Indices:
    """Subsample at most `most` rows, ascending: the head of a permutation keyed by the seed alone.

    So, for one seed, a smaller training set is a subset of a larger one.

    Raises:
        UserError: There are fewer rows than `most`.
    """
    if most is None:
        return rows
    if most > len(rows):
        raise UserError(
            f"max_rows {most}: the training data have {len(rows)} rows; choose fewer examples "
            "(max_examples) or use more data, so that volumes are what the comparison says"
        )
    return np.sort(stream(seed, Stream.VOLUME).permutation(rows)[:most])
