"""Encode images and captions; cache preprocessed pixels and the vectors of frozen image towers."""

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
"""Directions: captions search images (text to image), and images search captions."""
AT_ONCE = 256
"""Images decoded and encoded at once, which bounds memory."""

VECTORS = "vectors.npy"


class ImageEncoder(Encoder, Protocol):
    """Encoder of texts and images; a caption's score for an image is their dot product."""

    def encode_images(self, pictures: Sequence[Picture]) -> Embeddings:
        """Return float32 vectors (len(pictures), d), in the order of `pictures`.

        Or (len(pictures), k, d): an image's score is then the largest of its k.
        """


@runtime_checkable
class PixelEncoder(Protocol):
    """Image encoder whose decoding and preprocessing can be cached apart from the forward pass."""

    @property
    def pixel_digest(self) -> str:
        """Digest of everything that determines the result of `pixels`."""

    def pixels(self, pictures: Sequence[Picture]) -> Mapping[str, NDArray[Any]]:
        """Return preprocessed arrays by name, each with one row per image."""

    def encode_pixels(self, pixels: Mapping[str, NDArray[Any]]) -> Embeddings:
        """Return vectors of preprocessed rows, equal to those of `encode_images`."""


@dataclass(frozen=True)
class PictureStore:
    """Cache of image vectors and preprocessed pixels, shared by all trials on a machine.

    Attributes:
        cache: Cache that holds them.
        data: Digest of the data; together with an image's path or bytes it identifies the content.
    """

    cache: Cache
    data: str

    def vectors(
        self, encoder: ImageEncoder, pictures: Sequence[Picture], progress: Progress | None = None
    ) -> tuple[Embeddings, int]:
        """Return memory-mapped vectors of `pictures`, and the number of them encoded by this call.

        A frozen image tower, which has a `picture_digest` of weights, processor and execution, has
        its vectors cached. A `PixelEncoder` without it has its pixels cached and is run each time;
        any other encoder starts from the images.

        Raises:
            UserError: As `encode_chunks`, or the folder cannot be written.
            NotNowError: The disk is full, or another resource is lacking for now.
        """
        digest = getattr(encoder, "picture_digest", None)
        if digest is None:
            unmapped = (
                self._moving(encoder, pictures, progress)
                if isinstance(encoder, PixelEncoder)
                else encode_chunks(encoder, pictures, progress)
            )
            return unmapped, len(pictures)
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
        """Encode cached pixels with an image tower that is being trained."""
        decoded = self.pixels(encoder, pictures, progress)

        def encode(begin: int, end: int) -> Embeddings:
            return encoder.encode_pixels({name: rows[begin:end] for name, rows in decoded.items()})

        return _encode_chunks(encode, pictures, progress)

    def pixels(
        self, encoder: PixelEncoder, pictures: Sequence[Picture], progress: Progress | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return memory-mapped arrays of preprocessed images by name, each with one row per image.

        Raises:
            UserError: An image cannot be decoded, or the folder cannot be written.
            NotNowError: The disk is full, or another resource is lacking for now.
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
        """Return 20 hexadecimal digits that identify operation, data and images in order."""
        content = hashlib.sha256(f"{digest} {self.data} {len(pictures)}".encode())
        for picture in pictures:
            source = picture.source
            content_bytes = source if isinstance(source, bytes) else str(source).encode()
            content.update(f"\n{picture.id} {len(content_bytes)} ".encode() + content_bytes)
        return content.hexdigest()[:20]

    def take(self, name: str, build: Callable[[Path], None]) -> Path:
        """Return an entry of the cache, building it if missing.

        Raises:
            UserError: The folder cannot be written.
            NotNowError: The disk is full, or another resource is lacking for now.
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
    """Encode all captions, by language, and all images, under the key `IMAGE`.

    Captions are encoded as queries in both directions: one text has one vector.

    Returns:
        Vectors of captions and of images; counts of texts encoded and truncated and of images
        encoded; seconds for each.

    Raises:
        UserError: Vectors are not finite, non-zero float32, or the encoder has no `encode_images`.
    """
    if not hasattr(encoder, "encode_images"):
        raise UserError(
            f"{benchmark.name} has pictures, and this encoder reads only text; name one that sees "
            "too, such as a CLIP checkpoint"
        )
    image_encoder = cast(ImageEncoder, encoder)
    start = time.perf_counter()
    texts = {
        la: [caption.text for caption in captions_of]
        for la, captions_of in benchmark.queries.items()
    }
    captions, counts = encode_texts(encoder, texts, "queries", progress, None)
    middle = time.perf_counter()
    if store is None:
        vectors, encoded = encode_chunks(image_encoder, benchmark.pictures, progress), -1
    else:
        vectors, encoded = store.vectors(image_encoder, benchmark.pictures, progress)
    counts["encoded/pictures"] = len(benchmark.pictures) if encoded < 0 else encoded
    timing = {
        "encode captions": middle - start,
        "encode pictures": time.perf_counter() - middle,
    }
    return captions, {IMAGE: vectors}, counts, timing


def encode_chunks(
    encoder: ImageEncoder, pictures: Sequence[Picture], progress: Progress | None = None
) -> Embeddings:
    """Encode images in chunks of `AT_ONCE`, and check the vectors.

    Raises:
        UserError: Vectors are not finite, non-zero float32 of one shape, or an image cannot be
            decoded.
    """
    return _encode_chunks(
        lambda begin, end: encoder.encode_images(pictures[begin:end]), pictures, progress
    )


def _encode_chunks(
    encode: Callable[[int, int], Embeddings],
    pictures: Sequence[Picture],
    progress: Progress | None,
) -> Embeddings:
    """Call `encode(begin, end)` for each chunk, check the vectors and concatenate them."""
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
