"""The embedded world as images: a passage's concepts as glyphs on a grid, captions in words.

A concept is a glyph: one of ten shapes in one of ten colours on a light or a dark ground. A scene
shows the sixteen concepts of a passage, one per cell, row by row in the passage's order. It is a
toy like the world itself (docs/synthetic.md).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainables.data.benchmark import Benchmark, Candidate, Query, TrainingSet
from trainables.data.pictures import IMAGE, Picture
from trainables.data.worlds.synthetic import Part, meanings_of
from trainables.data.worlds.worlds import World, lexicon, world_digest
from trainables.errors import UserError

GENERATOR = 1
"""Version of the images, part of every digest; raise it with every change that alters a pixel or a
caption."""

SIDE = 4
"""Cells along each side of a scene."""

GLYPH = 12
"""Pixels along each side of a cell."""

COLOURS = (
    (220, 40, 40), (40, 170, 60), (40, 80, 220), (230, 190, 30), (150, 50, 190),
    (40, 190, 200), (240, 130, 30), (240, 110, 180), (120, 80, 40), (130, 140, 150),
)  # fmt: skip
GROUNDS = ((255, 255, 255), (40, 40, 48))
SHAPES = 10


def scenes_digest(world: World) -> str:
    """Return 64 hexadecimal digits that identify the scenes and captions of `world`."""
    return hashlib.sha256(f"{world_digest(world)} scenes {GENERATOR}".encode()).hexdigest()


def concepts_of(world: World, part: Part) -> NDArray[np.int64]:
    """Return the concept in each cell of each scene, row by row, (n, 16); for tests and baselines.

    Raises:
        UserError: The world's passages cannot be drawn as scenes.
    """
    _refuse_undrawable(world)
    return meanings_of(world, part).passages


def scenes_benchmark(world: World, part: Literal["validation", "test"]) -> Benchmark:
    """Return a held-out part: scenes with one caption in each language, all of the same concepts.

    Raises:
        UserError: The world's passages cannot be drawn as scenes.
    """
    pictures, captions = _part(world, part)
    return Benchmark(
        name="scenes",
        queries={
            language: [
                Query(f"{language}:{picture.id}", texts[0], picture.id, picture.cluster)
                for picture, texts in zip(pictures, rows, strict=True)
            ]
            for language, rows in captions.items()
        },
        corpus={IMAGE: [Candidate(picture.id, picture.id) for picture in pictures]},
        qrels={f"{la}:{picture.id}": {picture.id: 1.0} for la in captions for picture in pictures},
        judged_in_all_languages=False,
        pictures=pictures,
    )


def scenes_training(world: World) -> TrainingSet:
    """Return the training part: two rows per scene, whose captions name half of its concepts each.

    Raises:
        UserError: The world's passages cannot be drawn as scenes.
    """
    pictures, captions = _part(world, "train")
    texts = {
        language: [text for pair in rows for text in pair] for language, rows in captions.items()
    }
    return TrainingSet(
        name="scenes",
        questions=[f"{picture.id}-{half}" for picture in pictures for half in range(2)],
        golds=[picture.id for picture in pictures for _ in range(2)],
        clusters=[picture.cluster for picture in pictures for _ in range(2)],
        queries=texts,
        passages=texts,
        pictures=[picture for picture in pictures for _ in range(2)],
    )


def _part(world: World, part: Part) -> tuple[list[Picture], dict[str, list[tuple[str, str]]]]:
    """Return scenes, and captions by language: concepts that questions name, and the rest."""
    grids = concepts_of(world, part)
    questions_of = meanings_of(world, part).questions.reshape(len(grids), -1)
    names = [f"{world.name}-{part}-{row:05d}" for row in range(len(grids))]
    pictures = [
        Picture(name, png(scene(grid)), name) for name, grid in zip(names, grids, strict=True)
    ]
    halves = [
        (named_concepts, [concept for concept in grid if concept not in set(named_concepts)])
        for grid, named_concepts in zip(grids.tolist(), questions_of.tolist(), strict=True)
    ]
    captions = {}
    for language, words in sorted(lexicon(world).items()):
        captions[language] = [
            (_say(words, world, named_concepts), _say(words, world, rest))
            for named_concepts, rest in halves
        ]
    return pictures, captions


def _say(words: tuple[str, ...], world: World, concepts: list[int]) -> str:
    """Write concepts in the words that questions use for them."""
    return " ".join(words[world.concepts + concept] for concept in concepts)


def scene(concepts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Draw sixteen concepts, row by row, as an image (48, 48, 3)."""
    glyphs = np.stack([glyph(int(concept)) for concept in concepts])
    rows = glyphs.reshape(SIDE, SIDE, GLYPH, GLYPH, 3).swapaxes(1, 2)
    return np.ascontiguousarray(rows.reshape(SIDE * GLYPH, SIDE * GLYPH, 3))


@lru_cache(maxsize=1024)
def glyph(concept: int) -> NDArray[np.uint8]:
    """Draw a concept below 200 as an image (12, 12, 3)."""
    rest, shape = divmod(concept, SHAPES)
    ground, colour = divmod(rest, len(COLOURS))
    pixels = np.empty((GLYPH, GLYPH, 3), dtype=np.uint8)
    pixels[:] = GROUNDS[ground]
    pixels[_mask(shape)] = COLOURS[colour]
    return pixels


def _mask(shape: int) -> NDArray[np.bool_]:
    """Return the mask (12, 12) of a shape; integers only, so all machines draw the same."""
    twice = 2 * np.arange(GLYPH) - GLYPH + 1  # from -11 to 11 in steps of two, so no cell is at 0
    y, x = twice[:, None], twice[None, :]
    across, down = np.abs(x) + 0 * y, np.abs(y) + 0 * x
    far, near = np.maximum(across, down), np.minimum(across, down)
    square = x * x + y * y
    shapes: list[NDArray[np.bool_]] = [
        (np.abs(across - 6) <= 2) & (down <= 9),  # two upright bars
        (square <= 100) & (square >= 36),  # ring
        far <= 9,  # square
        (far <= 11) & (far >= 8),  # frame
        across + down <= 10,  # diamond
        (near <= 2) & (far <= 9),  # plus
        (np.abs(across - down) <= 2) & (far <= 9),  # cross
        (2 * across <= y + 9) & (y <= 7),  # triangle, point up
        (2 * across <= 9 - y) & (y >= -7),  # triangle, point down
        (np.abs(down - 6) <= 2) & (across <= 9),  # two level bars
    ]
    return shapes[shape]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode pixels (height, width, 3) as uncompressed PNG, since compressors differ by machine.

    Raises:
        UserError: More than 65,535 bytes, the size of one stored block.
    """
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # filter 0 before every row
    rows[:, 1:] = pixels.reshape(height, -1)
    raw = rows.tobytes()
    if len(raw) > 0xFFFF:
        raise UserError(f"a scene of {len(raw)} bytes is too large; up to 65535 are written")
    block = struct.pack("<BHH", 1, len(raw), len(raw) ^ 0xFFFF) + raw
    stream = b"\x78\x01" + block + struct.pack(">I", zlib.adler32(raw))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def _refuse_undrawable(world: World) -> None:
    cap = SHAPES * len(COLOURS) * len(GROUNDS)
    if world.passage_concepts != SIDE * SIDE or world.concepts > cap:
        raise UserError(
            f"world {world.name}: a scene shows {SIDE * SIDE} concepts of up to {cap}; this world "
            f"has {world.passage_concepts} in a passage, of {world.concepts}"
        )
