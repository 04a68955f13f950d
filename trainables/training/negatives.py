"""Passages or pictures that a batch is trained on: those of its rows, and hard negatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.data.benchmark import TrainingSet
from trainables.data.pictures import Picture
from trainables.encoders.images.image_text import ImageTextEncoder
from trainables.errors import UserError
from trainables.evaluation.picture_store import PictureStore, encode_chunks
from trainables.spec import Spec
from trainables.storage.cache import Cache
from trainables.training.batch_items import BatchItem, BatchItems
from trainables.training.batching import Batch
from trainables.training.permutation import Indices, Stream, stream
from trainables.training.positives import GoldsOfRows
from trainables.training.tokens import Columns, Tokenizer

PICTURE = -1
"""Value in place of a language where the passage is the row's picture."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """Passages of one batch of B rows with N hard negatives.

    Attributes:
        tokens: B + N items, the rows' own passages first: token ids, pictures or vectors.
        golds: (B + N,) candidate numbers, equal for one candidate in all its languages.
        texts: (B + N,) text numbers, equal for equal texts.
        owners: (N,) index in the batch of the row that each hard negative belongs to.
    """

    tokens: BatchItems
    golds: Indices
    texts: Indices
    owners: Indices


class Candidates:
    """Passages of the training data: each row's own, then all hard negatives."""

    def __init__(
        self, spec: Spec, data: TrainingSet, tokenize: Tokenizer, cache: Cache | None
    ) -> None:
        """Tokenise and number all passages once.

        Args:
            spec: Complete description of the trial, with its languages, its seed, and how many
                hard negatives a row has in a batch (fewer if the data have fewer).
            data: Training data, with hard negatives if the spec trains on some.
            tokenize: As for `Columns`.
            cache: Cache for token ids; None keeps them in memory.
        """
        assert spec.languages is not None
        assert spec.seed is not None
        languages, self.rows, self.seed = spec.languages, len(data.questions), spec.seed
        self.per_row = 0 if spec.negatives is None else spec.hard_negatives or 1
        lists = [data.negatives[x] if self.per_row else [[]] * self.rows for x in languages]
        self.ends = np.array([np.cumsum([0, *map(len, of_row)]) for of_row in lists])
        extra = [[candidate for row in of_row for candidate in row] for of_row in lists]
        width = max(map(len, extra))
        numbers: dict[str, int] = {}
        self.golds: Indices = np.full((len(languages), self.rows + width), -1, dtype=np.int64)
        self.golds[:, : self.rows] = [numbers.setdefault(g, len(numbers)) for g in data.golds]
        texts: list[list[str | None]] = []
        for row, language, of_row in zip(self.golds, languages, extra, strict=True):
            ids = [numbers.setdefault(candidate.id, len(numbers)) for candidate in of_row]
            row[self.rows : self.rows + len(ids)] = ids
            gap: list[None] = [None] * (width - len(of_row))
            texts.append([*data.passages[language], *(c.text for c in of_row), *gap])
        self.other_golds = _known_golds(data.other_golds, numbers)
        ref = spec.encoder
        digest = f"{ref.digest} {ref.max_passage_tokens} {ref.passage_prefix}"
        self.columns = Columns(texts, tokenize, digest, "passage", cache)

    @property
    def row_golds(self) -> Indices:
        """(n,) candidate number of each row's own passage."""
        return self.golds[0, : self.rows]

    @property
    def row_texts(self) -> Indices:
        """(languages, n) text number of each row's own passage; -1 if missing."""
        return self.columns.texts[:, : self.rows]

    def of(self, t: int, languages: Indices, rows: Indices) -> Chosen:
        """Return the passages of batch t.

        Args:
            t: Number of the batch.
            languages: (B,) language of each row's passage and hard negatives.
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
        """Draw hard negatives without replacement: (N,) owners and (N,) positions."""
        if not self.per_row:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        first = self.ends[languages, rows]
        sizes = self.ends[languages, rows + 1] - first
        keys = stream(self.seed, Stream.NEGATIVES, t).random((len(rows), max(1, sizes.max())))
        keys[np.arange(keys.shape[1]) >= sizes[:, None]] = np.inf
        drawn = np.argsort(keys, axis=1, kind="stable")[:, : self.per_row]
        owners, _ = taken = np.nonzero(drawn < sizes[:, None])
        return owners, (first[:, None] + drawn)[taken]


def _known_golds(golds: Sequence[Sequence[str]], numbers: Mapping[str, int]) -> GoldsOfRows:
    """Return rows and the candidate numbers of their other golds that a batch can hold."""
    pairs = [(r, numbers[gold]) for r, row in enumerate(golds) for gold in row if gold in numbers]
    rows, known = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return rows, known


def shown(batch: Batch, pairs: str | None) -> Indices:
    """Return (B,) each passage's language, or `PICTURE` where it is the row's picture.

    A row with two languages is two captions of one picture if `pairs` is `caption`; all other rows
    are a caption and its picture.
    """
    crossed = batch.query_languages != batch.passage_languages
    captions = crossed & (pairs == "caption")
    return np.where(captions, batch.passage_languages, PICTURE)


class PictureCandidates:
    """Pictures of the training data, each once, and their captions.

    Attributes:
        columns: Empty: captions are tokenised as queries.
        row_golds: (n,) number of each row's picture.
        row_texts: (languages, n) text numbers of its captions; -1 if missing.
        other_golds: Always empty.
    """

    columns: tuple[()] = ()

    def __init__(
        self,
        spec: Spec,
        data: TrainingSet,
        captions: Columns,
        encoder: Any,
        cache: Cache | None,
    ) -> None:
        """Embed or decode all pictures, or map them from the cache.

        Args:
            spec: Complete description of the trial; says whether the image tower is live.
            data: Training data with pictures.
            captions: Captions of all rows, tokenised as queries: one text has one vector.
            encoder: Embeds all pictures now if its image tower is frozen, else only decodes them.
            cache: Cache for vectors and decoded pictures of all trials on this machine.

        Raises:
            UserError: The encoder does not take pictures, or one cannot be decoded.
        """
        assert spec.train is not None
        if not isinstance(encoder, ImageTextEncoder):
            raise UserError(
                f"encoder {spec.encoder.name!r} reads only text, and {data.name} has pictures; "
                "name one that sees, such as openai/clip-vit-base-patch32"
            )
        distinct = {picture.id: picture for picture in data.pictures}
        number = {name: place for place, name in enumerate(distinct)}
        self.row_golds: Indices = np.array([number[p.id] for p in data.pictures], dtype=np.int64)
        self.captions, self.row_texts = captions, captions.texts
        empty = np.empty(0, dtype=np.int64)
        self.other_golds: GoldsOfRows = (empty, empty)
        store = None if cache is None else PictureStore(cache, spec.train.digest)
        prepare = _pixels if spec.image_tower == "live" else _vectors
        self.row: Callable[[int], BatchItem] = prepare(encoder, list(distinct.values()), store)

    def of(self, t: int, languages: Indices, rows: Indices) -> Chosen:
        """Return the passages of batch t, without hard negatives.

        Args:
            t: Number of the batch; nothing is drawn.
            languages: (B,) as returned by `shown`.
            rows: (B,) row of the training data that each passage belongs to.
        """
        numbers, pictured = self.row_golds[rows], languages == PICTURE
        texts = len(self.row_golds) * len(self.captions.texts) + numbers
        texts[~pictured] = self.captions.texts[languages[~pictured], rows[~pictured]]
        read = iter(self.captions.pick(languages[~pictured], rows[~pictured]))
        return Chosen(
            tokens=[
                self.row(int(number)) if is_picture else next(read)
                for number, is_picture in zip(numbers, pictured, strict=True)
            ],
            golds=numbers,
            texts=texts,
            owners=np.empty(0, dtype=np.int64),
        )


def _vectors(
    encoder: ImageTextEncoder, pictures: Sequence[Picture], store: PictureStore | None
) -> Callable[[int], BatchItem]:
    """Embed all pictures once, for a frozen image tower."""
    if store is None:
        vectors = encode_chunks(encoder, pictures)
    else:
        vectors, _ = store.vectors(encoder, pictures)
    return lambda number: np.asarray(vectors[number])


def _pixels(
    encoder: ImageTextEncoder, pictures: Sequence[Picture], store: PictureStore | None
) -> Callable[[int], BatchItem]:
    """Decode all pictures, for an image tower that is trained from here on."""
    encoder.train_images()
    tables = encoder.pixels(pictures) if store is None else store.pixels(encoder, pictures)
    return lambda number: {name: np.asarray(table[number]) for name, table in tables.items()}
