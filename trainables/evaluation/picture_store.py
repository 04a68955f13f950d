"""Vectors of pictures and their captions, and where those of a frozen image tower are kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trainables.data.benchmark import Benchmark
from trainables.data.pictures import IMAGE, Picture
from trainables.encoders.encoder import Embeddings, Encoder
from trainables.errors import NotNowError, UserError
from trainables.evaluation.encode import Progress, check_vectors, encode_texts
from trainables.failures import lacking
from trainables.storage.arrays import new_array, save_array
from trainables.storage.cache import Cache

KINDS = ("t2i", "i2t")
"""Captions search pictures, and pictures captions."""
AT_ONCE = 256
"""Pictures decoded and encoded at once, which bounds memory."""

VECTORS = "vectors.npy"


class ImageEncoder(Encoder, Protocol):
    """An encoder that sees pictures too; the dot product with a caption's vector is the score."""

    def encode_images(self, pictures: Sequence[Picture]) -> Embeddings:
        """Return float32 vectors (len(pictures), d), in the order of `pictures`.

        Or (len(pictures), k, d): the largest of a picture's k scores is its score.
        """


@runtime_checkable
class PixelEncoder(Protocol):
    """An encoder whose decoding and preprocessing of pictures can be kept apart from the rest."""

    @property
    def pixel_digest(self) -> str:
        """Of everything that decides what `pixels` returns."""

    def pixels(self, pictures: Sequence[Picture]) -> Mapping[str, NDArray[Any]]:
        """Arrays by name, each with a row a picture."""

    def encode_pixels(self, pixels: Mapping[str, NDArray[Any]]) -> Embeddings:
        """Vectors of these rows, as `encode_images` gives them."""


@dataclass(frozen=True)
class PictureStore:
    """What is computed once of the pictures of some data, for all trials on a machine.

    Attributes:
        cache: Where it is kept.
        data: Digest of the data that the pictures are of: with a picture's place it tells its
            content.
    """

    cache: Cache
    data: str

    def vectors(
        self, encoder: ImageEncoder, pictures: Sequence[Picture], progress: Progress | None = None
    ) -> tuple[Embeddings, int]:
        """Memory-mapped vectors of `pictures`, and the number of them encoded by this call.

        They are kept where the encoder says what decides them: a frozen image tower has a
        `picture_digest` of its weights, processor and execution. Of others that have `pixels` it is
        these that are kept, and encoded each time.

        Raises:
            UserError: As `encode_chunks`, or the disk is full.
        """
        digest = getattr(encoder, "picture_digest", None)
        if digest is None:
            stored = (
                self._moving(encoder, pictures, progress)
                if isinstance(encoder, PixelEncoder)
                else encode_chunks(encoder, pictures, progress)
            )
            return stored, len(pictures)
        encoded = 0

        def build(folder: Path) -> None:
            nonlocal encoded
            save_array(folder / VECTORS, encode_chunks(encoder, pictures, progress))
            encoded = len(pictures)

        folder = self.take(f"pictures-{self.name(digest, pictures)}", build)
        mapped: Embeddings = np.load(folder / VECTORS, mmap_mode="r")
        return mapped, encoded

    def _moving(
        self, encoder: PixelEncoder, pictures: Sequence[Picture], progress: Progress | None
    ) -> Embeddings:
        """Vectors of an image tower in training, from arrays that are kept."""
        decoded = self.pixels(encoder, pictures, progress)

        def encode(begin: int, end: int) -> Embeddings:
            return encoder.encode_pixels({name: rows[begin:end] for name, rows in decoded.items()})

        return _chunks(encode, pictures, progress)

    def pixels(
        self, encoder: PixelEncoder, pictures: Sequence[Picture], progress: Progress | None = None
    ) -> dict[str, NDArray[Any]]:
        """Memory-mapped arrays of preprocessed pictures by name, each with a row a picture.

        Raises:
            UserError: A picture that cannot be decoded, or the disk is full.
        """

        def build(folder: Path) -> None:
            tables: dict[str, NDArray[Any]] = {}
            for begin in range(0, len(pictures), AT_ONCE):
                part = encoder.pixels(pictures[begin : begin + AT_ONCE])
                for name, rows in part.items():
                    if name not in tables:
                        shape = len(pictures), *rows.shape[1:]
                        tables[name] = new_array(folder / f"{name}.npy", rows.dtype, shape)
                    tables[name][begin : begin + len(rows)] = rows
                if progress:
                    progress("decode pictures", begin + len(rows), len(pictures))
            for table in tables.values():
                cast(np.memmap, table).flush()

        folder = self.take(f"pixels-{self.name(encoder.pixel_digest, pictures)}", build)
        return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}

    def name(self, digest: str, pictures: Sequence[Picture]) -> str:
        """20 hexadecimal digits of what is done, the data, and which of their pictures in order."""
        content = hashlib.sha256(f"{digest} {self.data} {len(pictures)}".encode())
        for picture in pictures:
            source = picture.source
            whole = source if isinstance(source, bytes) else str(source).encode()
            content.update(f"\n{picture.id} {len(whole)} ".encode() + whole)
        return content.hexdigest()[:20]

    def take(self, name: str, build: Callable[[Path], None]) -> Path:
        """An entry of the cache.

        Raises:
            UserError: The disk is full, or another fault of it.
        """
        try:
            return self.cache.take(name, build)
        except OSError as error:
            kind = NotNowError if lacking(error) else UserError
            raise kind(
                f"{self.cache.folder}: pictures cannot be stored: {error.strerror or error}. "
                "Make room, or name another folder"
            ) from None


def encode_pictures(
    benchmark: Benchmark,
    encoder: Encoder,
    progress: Progress | None = None,
    store: PictureStore | None = None,
) -> tuple[dict[str, Embeddings], dict[str, Embeddings], dict[str, int], dict[str, float]]:
    """Vectors of all captions by language, and of all pictures under `IMAGE`.

    Captions are the encoder's queries in both directions: one text has one vector.

    Returns:
        Both; counts of texts encoded and cut and of pictures encoded; seconds for each.

    Raises:
        UserError: Vectors that are not finite, non-zero float32; no such method.
    """
    if not hasattr(encoder, "encode_images"):
        raise UserError(
            f"{benchmark.name} has pictures, and this encoder reads only text; name one that sees "
            "too, such as a CLIP checkpoint"
        )
    seeing = cast(ImageEncoder, encoder)
    start = time.perf_counter()
    texts = {la: [caption.text for caption in held] for la, held in benchmark.queries.items()}
    captions, counts = encode_texts(encoder, texts, "queries", progress, None)
    middle = time.perf_counter()
    if store is None:
        shown, encoded = encode_chunks(seeing, benchmark.pictures, progress), -1
    else:
        shown, encoded = store.vectors(seeing, benchmark.pictures, progress)
    counts["encoded/pictures"] = len(benchmark.pictures) if encoded < 0 else encoded
    timing = {
        "encode captions": middle - start,
        "encode pictures": time.perf_counter() - middle,
    }
    return captions, {IMAGE: shown}, counts, timing


def encode_chunks(
    encoder: ImageEncoder, pictures: Sequence[Picture], progress: Progress | None = None
) -> Embeddings:
    """Vectors of pictures, some at a time and checked.

    Raises:
        UserError: Not finite, non-zero float32 of one shape; or a picture that cannot be decoded.
    """
    return _chunks(
        lambda begin, end: encoder.encode_images(pictures[begin:end]), pictures, progress
    )


def _chunks(
    encode: Callable[[int, int], Embeddings],
    pictures: Sequence[Picture],
    progress: Progress | None,
) -> Embeddings:
    """Vectors of the pictures from one number to another, until there are all."""
    parts = []
    for begin in range(0, len(pictures), AT_ONCE):
        chunk = pictures[begin : begin + AT_ONCE]
        part = encode(begin, begin + len(chunk))
        check_vectors(part, [picture.id for picture in chunk], IMAGE, "pictures")
        parts.append(part)
        if progress:
            progress("pictures", begin + len(chunk), len(pictures))
    if len({part.shape[1:] for part in parts}) != 1:
        raise UserError(f"pictures: {len(parts)} parts of different shapes; give at least one")
    return np.concatenate(parts)
