"""Store vectors of large corpora on disk: encode in chunks, resume after a stop, memory-map."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.encoders.encoder import Embeddings, Encoder
from trainables.errors import NotNowError, UserError
from trainables.evaluation.encode import CHUNK, Progress, Role, check_vectors, encoding
from trainables.failures import lacking
from trainables.storage.arrays import new_array
from trainables.storage.cache import Cache

VECTORS = "vectors.npy"


@dataclass(frozen=True)
class VectorStore:
    """Cache of vectors, named by the digest of encoder, role, language and texts.

    Attributes:
        cache: Cache that holds them.
        encoder_digest: Digest of everything that turns a text into its vector. Trained weights
            need their own: two encoders of one digest share vectors.
    """

    cache: Cache
    encoder_digest: str

    def vectors(
        self,
        encoder: Encoder,
        texts: Sequence[str],
        language: str,
        role: Role,
        progress: Progress | None = None,
    ) -> tuple[Embeddings, int]:
        """Return memory-mapped vectors of `texts`, and the number of texts encoded by this call.

        Each chunk is on disk before the next is begun, so the next call resumes an interrupted one.
        Equal texts are encoded once. One process writes while others wait for it.

        Raises:
            UserError: As `encode_unique`, or the folder cannot be written.
            NotNowError: The disk is full, or another resource is lacking for now.
        """
        hashes = _hashes(texts)
        name = hashlib.sha256(
            json.dumps([self.encoder_digest, role, language]).encode() + hashes.tobytes()
        ).hexdigest()[:20]
        encoded = 0

        def build(folder: Path) -> None:
            nonlocal encoded
            encoded = _fill(folder, encoder, texts, hashes, language, role, progress)

        try:
            folder = self.cache.take(f"vectors-{name}", build)
        except OSError as error:
            kind = NotNowError if lacking(error) else UserError
            raise kind(
                f"{self.cache.folder}: vectors cannot be stored: {error.strerror or error}. "
                "Make room, or name another folder"
            ) from None
        mapped: Embeddings = np.load(folder / VECTORS, mmap_mode="r")
        return mapped, encoded


def _fill(
    folder: Path,
    encoder: Encoder,
    texts: Sequence[str],
    hashes: NDArray[np.uint64],
    language: str,
    role: Role,
    progress: Progress | None,
) -> int:
    """Write the vectors into `folder`, resuming an earlier call; count the texts encoded."""
    partial, state = folder / VECTORS, folder / "state.json"
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    originals = first[inverse]
    unique = np.flatnonzero(originals == np.arange(len(texts)))
    begin = _done(state) if partial.exists() else 0
    table = np.lib.format.open_memmap(partial, "r+") if begin else None
    start = begin
    encode = encoding(encoder, role)
    for begin in range(start, len(unique), CHUNK):
        rows = unique[begin : begin + CHUNK]
        chunk = [texts[row] for row in rows]
        part = encode(chunk, language)
        check_vectors(part, chunk, language, role)
        if table is None:
            shape = len(texts), part.shape[1]
            table = new_array(partial, np.float32, shape)
        table[rows] = part
        table.flush()
        _write(state, {"done": begin + len(rows)})
        if progress:
            progress(f"{role} {language}", begin + len(rows), len(unique))
    copies = np.flatnonzero(originals != np.arange(len(texts)))
    assert table is not None
    for begin in range(0, len(copies), CHUNK):
        rows = copies[begin : begin + CHUNK]
        table[rows] = table[originals[rows]]
    table.flush()
    state.unlink(missing_ok=True)
    return len(unique) - start


def _done(state: Path) -> int:
    """Return the number of unique texts that an earlier call encoded."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError, OverflowError):
        return int(json.loads(state.read_bytes())["done"])
    return 0


def _write(path: Path, value: object) -> None:
    """Write JSON atomically and durably."""
    temporary = path.with_suffix(".new")
    with temporary.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Hash texts to 64 bits; one in 370,000 corpora of ten million texts has a collision."""
    joined = bytearray()
    for text in texts:
        joined += hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.frombuffer(bytes(joined), dtype="<u8").astype(np.uint64)
