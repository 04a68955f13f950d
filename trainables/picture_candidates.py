"""What a batch of pictures is trained on: each row's picture, or another caption of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trainables.batching import Batch
from trainables.cache import Cache
from trainables.candidates import Chosen
from trainables.data.corpus import TrainingSet
from trainables.data.pictures import Picture
from trainables.encoders.image_text import ImageTextEncoder
from trainables.errors import UserError
from trainables.evaluation.pictures import PictureStore, encode_chunks
from trainables.orders import Indices
from trainables.positives import GoldsOfRows
from trainables.rows import Row
from trainables.spec import Spec
from trainables.tokens import Columns

PICTURE = -1
"""Where a language would be: the passage is the row's picture."""


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
        self.row: Callable[[int], Row] = prepare(encoder, list(distinct.values()), store)

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
) -> Callable[[int], Row]:
    """Vectors of a frozen tower, computed once."""
    if store is None:
        vectors = encode_chunks(encoder, pictures)
    else:
        vectors, _ = store.vectors(encoder, pictures)
    return lambda number: np.asarray(vectors[number])


def _pixels(
    encoder: ImageTextEncoder, pictures: Sequence[Picture], store: PictureStore | None
) -> Callable[[int], Row]:
    """Decoded pictures, for a tower that is trained from here on."""
    encoder.train_images()
    tables = encoder.pixels(pictures) if store is None else store.pixels(encoder, pictures)
    return lambda number: {name: np.asarray(table[number]) for name, table in tables.items()}
