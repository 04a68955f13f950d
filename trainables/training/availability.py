"""In which languages rows can be read, and which rows a trial keeps."""

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
"""What a row must exist in to be kept."""


@dataclass(frozen=True, eq=False)
class LanguageAvailability:
    """Which texts of n rows exist in L languages.

    Attributes:
        queries: (n, L).
        passages: (n, L).
    """

    queries: Flags
    passages: Flags

    @classmethod
    def full(cls, rows: int, languages: int) -> LanguageAvailability:
        """Every text exists in every language."""
        return cls(np.ones((rows, languages), dtype=bool), np.ones((rows, languages), dtype=bool))

    @classmethod
    def of(cls, data: TrainingSet, languages: Sequence[str]) -> LanguageAvailability:
        """What the training data have in these languages.

        Raises:
            UserError: They lack one of them altogether.
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
        """(n, L) rows that can be read in one language on both sides."""
        return self.queries & self.passages

    @property
    def crossed(self) -> Flags:
        """(n,) rows that can be read in a pair of different languages."""
        pairs = self.queries.sum(1) * self.passages.sum(1) - self.same.sum(1)
        return np.asarray(pairs > 0)

    def pair_sizes(self) -> Indices:
        """(L, L) rows with a query in x and a passage in y; 0 for x = y."""
        sizes = self.queries.T.astype(np.int64) @ self.passages.astype(np.int64)
        return sizes * (1 - np.eye(len(sizes), dtype=np.int64))

    def keep(self, rows: Indices) -> LanguageAvailability:
        """These rows alone."""
        return LanguageAvailability(self.queries[rows], self.passages[rows])

    def follow(self, rule: Rows) -> Indices:
        """Row numbers, ascending, of those that `rule` keeps.

        Raises:
            UserError: None is left.
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
    """At most `most` of these rows, ascending: the first of a permutation that the seed alone keys.

    So a smaller training set of a seed is a part of a larger one.

    Raises:
        UserError: There are fewer.
    """
    if most is None:
        return rows
    if most > len(rows):
        raise UserError(
            f"max_rows {most}: the training data have {len(rows)} rows; choose fewer examples "
            "(max_examples) or use more data, so that volumes are what the comparison says"
        )
    return np.sort(stream(seed, Stream.VOLUME).permutation(rows)[:most])
