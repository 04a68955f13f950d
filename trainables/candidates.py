"""The passages that a batch is trained on: its rows' own, and hard negatives of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainables.cache import Cache
from trainables.data.corpus import TrainingSet
from trainables.orders import Indices, Stream, stream
from trainables.positives import GoldsOfRows
from trainables.rows import Rows
from trainables.tokens import Columns, Tokenizer


@dataclass(frozen=True, eq=False)
class Chosen:
    """The passages of one batch of B rows with N hard negatives.

    Attributes:
        tokens: B + N rows, the rows' own passages first: token ids, or pictures.
        golds: (B + N,) equal for equal candidates, whatever their languages.
        texts: (B + N,) equal for equal texts.
        owners: (N,) the place in the batch of the row that each hard negative belongs to.
    """

    tokens: Rows
    golds: Indices
    texts: Indices
    owners: Indices


class Candidates:
    """All passages of the training data, hard negatives after the rows' own."""

    def __init__(
        self,
        data: TrainingSet,
        languages: Sequence[str],
        per_row: int,
        seed: int,
        tokenize: Tokenizer,
        tokenizer_digest: str,
        cache: Cache | None,
    ) -> None:
        """Tokenise and number everything once.

        Args:
            data: With hard negatives if `per_row` is not 0.
            languages: Training languages, in the order that batches number them.
            per_row: Hard negatives of a row in a batch, fewer where it has fewer.
            seed: Of the trial; keys which negatives a batch reads.
            tokenize: As for `Columns`, like those that follow.
            tokenizer_digest: What decides the token ids, but for the texts.
            cache: Where token ids are kept.
        """
        self.rows, self.per_row, self.seed = len(data.questions), per_row, seed
        lists = [data.negatives[x] if per_row else [[]] * self.rows for x in languages]
        self.ends = np.array([np.cumsum([0, *map(len, found)]) for found in lists])
        extra = [[candidate for row in found for candidate in row] for found in lists]
        width = max(map(len, extra))
        numbers: dict[str, int] = {}
        self.golds: Indices = np.full((len(languages), self.rows + width), -1, dtype=np.int64)
        self.golds[:, : self.rows] = [numbers.setdefault(g, len(numbers)) for g in data.golds]
        texts: list[list[str | None]] = []
        for row, language, found in zip(self.golds, languages, extra, strict=True):
            ids = [numbers.setdefault(candidate.id, len(numbers)) for candidate in found]
            row[self.rows : self.rows + len(ids)] = ids
            gap: list[None] = [None] * (width - len(found))
            texts.append([*data.passages[language], *(c.text for c in found), *gap])
        self.other_golds = _known(data.other_golds, numbers)
        self.columns = Columns(texts, tokenize, tokenizer_digest, "passage", cache)

    @property
    def row_golds(self) -> Indices:
        """(n,) the id of each row's own passage."""
        return self.golds[0, : self.rows]

    @property
    def row_texts(self) -> Indices:
        """(languages, n) its texts; -1 where there is none."""
        return self.columns.texts[:, : self.rows]

    def of(self, t: int, languages: Indices, rows: Indices) -> Chosen:
        """The passages of batch t.

        Args:
            t: Number of the batch.
            languages: (B,) language of each row's passage, and of its hard negatives.
            rows: (B,) row of the training data that each passage belongs to.
        """
        owners, places = self._draw(t, languages, rows)
        places = np.concatenate([rows, self.rows + places])
        languages = np.concatenate([languages, languages[owners]])
        return Chosen(
            tokens=self.columns.pick(languages, places),
            golds=self.golds[languages, places],
            texts=self.columns.texts[languages, places],
            owners=owners,
        )

    def _draw(self, t: int, languages: Indices, rows: Indices) -> tuple[Indices, Indices]:
        """(N,) owners and (N,) places of hard negatives, each row's drawn uniformly, none twice."""
        if not self.per_row:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        first = self.ends[languages, rows]
        sizes = self.ends[languages, rows + 1] - first
        keys = stream(self.seed, Stream.NEGATIVES, t).random((len(rows), max(1, sizes.max())))
        keys[np.arange(keys.shape[1]) >= sizes[:, None]] = np.inf
        drawn = np.argsort(keys, axis=1, kind="stable")[:, : self.per_row]
        owners, _ = held = np.nonzero(drawn < sizes[:, None])
        return owners, (first[:, None] + drawn)[held]


def _known(golds: Sequence[Sequence[str]], numbers: Mapping[str, int]) -> GoldsOfRows:
    """Rows and the numbers of their other golds, where a batch can hold these at all."""
    pairs = [(r, numbers[gold]) for r, row in enumerate(golds) for gold in row if gold in numbers]
    rows, found = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return rows, found
