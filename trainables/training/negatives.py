"""The passages or images that a batch is trained on: its rows' own, and hard negatives."""

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
"""Where a language would be: the passage is the row's picture."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The passages of one batch of B rows with N hard negatives.

    Attributes:
        tokens: B + N rows, the rows' own passages first: token ids, or pictures.
        golds: (B + N,) equal for equal candidates, whatever their languages.
        texts: (B + N,) equal for equal texts.
        owners: (N,) the place in the batch of the row that each hard negative belongs to.
    """

    tokens: BatchItems
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
    rows, known = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return rows, known


def shown(batch: Batch, pairs: str | None) -> Indices:
    """(B,) the language of each row's passage, `PICTURE` where it is the row's picture.

    Rows whose two languages differ are two captions of one picture if `pairs` is `caption`; all
    others are a caption and its picture.
    """
    crossed = batch.query_languages != batch.passage_languages
    captions = crossed & (pairs == "caption")
    return np.where(captions, batch.passage_languages, PICTURE)


class PictureCandidates:
    """All pictures of the training data, each once, and their captions.

    Attributes:
        columns: None of its own: captions are tokenised as queries.
        row_golds: (n,) the number of each row's picture.
        row_texts: (languages, n) its captions; -1 where there is none.
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
        """Compute or map what the rows need of their pictures.

        Args:
            spec: Says whether the image tower is live.
            data: With pictures.
            captions: Of all rows, as queries; an encoder gives one text one vector.
            encoder: Its frozen tower embeds every picture now, its live one only decodes them.
            cache: Where vectors and decoded pictures are kept for all trials on this machine.

        Raises:
            UserError: The encoder sees no pictures, or one cannot be decoded.
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
        none = np.empty(0, dtype=np.int64)
        self.other_golds: GoldsOfRows = (none, none)
        store = None if cache is None else PictureStore(cache, spec.train.digest)
        prepare = _pixels if spec.image_tower == "live" else _vectors
        self.row: Callable[[int], BatchItem] = prepare(encoder, list(distinct.values()), store)

    def of(self, t: int, languages: Indices, rows: Indices) -> Chosen:
        """The passages of batch t, none of them a hard negative.

        Args:
            t: Number of the batch; nothing is drawn.
            languages: (B,) as `shown` gives them.
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
    """Vectors of a frozen tower, computed once."""
    if store is None:
        vectors = encode_chunks(encoder, pictures)
    else:
        vectors, _ = store.vectors(encoder, pictures)
    return lambda number: np.asarray(vectors[number])


def _pixels(
    encoder: ImageTextEncoder, pictures: Sequence[Picture], store: PictureStore | None
) -> Callable[[int], BatchItem]:
    """Decoded pictures, for a tower that is trained from here on."""
    encoder.train_images()
    tables = encoder.pixels(pictures) if store is None else store.pixels(encoder, pictures)
    return lambda number: {name: np.asarray(table[number]) for name, table in tables.items()}
