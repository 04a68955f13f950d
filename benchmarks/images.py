"""Pictures decoded and preprocessed by every trial, against the store that trials share.

`python benchmarks/images.py` draws photographs of Flickr30k's size into a temporary folder and
prepares them for a small CLIP with its makers' processor. `--pictures 1000` is a test set's number.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from PIL import Image  # noqa: E402

from benchmarks.figures import Figure, figure, show  # noqa: E402
from trainables.data.pictures import Picture  # noqa: E402
from trainables.encoders.encoder import Embeddings  # noqa: E402
from trainables.encoders.images.image_tower import Pixels  # noqa: E402
from trainables.encoders.images.vision_tower import VisionTower  # noqa: E402
from trainables.evaluation.picture_store import PictureStore, encode_chunks  # noqa: E402
from trainables.storage.cache import Cache  # noqa: E402

SIZE = 500, 375
"""Width and height of most of Flickr30k's photographs."""

TRIALS = 8
"""Of a study for which seconds are added up; each evaluates twice, during training and after."""


def main() -> None:
    """Measure, print a table, then one JSON object a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        pictures = photographs(Path(name) / "pictures", arguments.pictures)
        show([*live(pictures, Path(name)), *frozen(pictures, Path(name))])


class Seeing:
    """The image tower of a CLIP of 4 layers, random, behind CLIP's own processor."""

    def __init__(self, live: bool) -> None:
        """Make the tower; `live` has no vectors that could be kept."""
        import transformers as hf

        config = hf.CLIPVisionConfig(
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=4,
            num_attention_heads=4,
            patch_size=32,
            projection_dim=128,
        )
        torch.manual_seed(0)
        model = hf.CLIPVisionModelWithProjection(config)
        model.train(False)
        self.tower = VisionTower(model, hf.CLIPImageProcessorPil(), "random")
        self.picture_digest = None if live else "random"
        self.pixel_digest = self.tower.processor_digest

    def pixels(self, pictures: Sequence[Picture]) -> Pixels:
        """Decode and preprocess."""
        return self.tower.prepare(pictures)

    def encode_pixels(self, pixels: Pixels) -> Embeddings:
        """Vectors of what `pixels` gave."""
        with torch.inference_mode():
            held = {name: torch.from_numpy(np.array(rows)) for name, rows in pixels.items()}
            return np.asarray(self.tower(held))

    def encode_queries(self, texts: Sequence[str], language: str) -> Embeddings:
        """No text is read here."""
        raise NotImplementedError

    encode_passages = encode_queries

    def encode_images(self, pictures: Sequence[Picture]) -> Embeddings:
        """Vectors of pictures."""
        return self.encode_pixels(self.pixels(pictures))


def photographs(folder: Path, count: int) -> list[Picture]:
    """Smooth noise as JPEG files, which decode about as long as photographs do."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)
        grain = rng.integers(0, 24, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        path = folder / f"{number}.jpg"
        Image.fromarray(np.asarray(image) // 2 + grain).save(path, quality=90)
        made.append(Picture(str(number), path, str(number)))
    return made


def live(pictures: Sequence[Picture], folder: Path) -> list[Figure]:
    """An image tower in training: what is kept are preprocessed pictures."""
    encoder, store = Seeing(live=True), PictureStore(Cache(folder / "live"), "data")

    def read() -> Embeddings:
        return np.array(store.pixels(encoder, pictures)["pixel_values"])

    decoding, expected = timed(lambda: encoder.pixels(pictures)["pixel_values"])
    alone, vectors = timed(lambda: encode_chunks(encoder, pictures))
    store.pixels(encoder, pictures)
    reading, found = timed(read)
    again, kept = timed(lambda: store.vectors(encoder, pictures)[0])
    assert np.array_equal(expected, found)
    assert np.array_equal(vectors, kept)
    return [
        one("live tower: decoding and preprocessing, after the first", reading, decoding, ">= 10"),
        one("live tower: a whole evaluation, after the first", again, alone),
    ]


def frozen(pictures: Sequence[Picture], folder: Path) -> list[Figure]:
    """A frozen image tower: what is kept are vectors."""
    encoder, store = Seeing(live=False), PictureStore(Cache(folder / "frozen"), "data")
    alone, expected = timed(lambda: encode_chunks(encoder, pictures))
    first, _ = timed(lambda: store.vectors(encoder, pictures)[0])
    again, found = timed(lambda: np.array(store.vectors(encoder, pictures)[0]))
    assert np.array_equal(expected, found)
    whole = first + (2 * TRIALS - 1) * again
    return [
        one("frozen tower: a whole evaluation, after the first", again, alone, ">= 100"),
        one(f"frozen tower: {TRIALS} trials of two evaluations", whole, 2 * TRIALS * alone, ">= 8"),
    ]


def one(name: str, ours: float, peer: float, goal: str = "") -> Figure:
    """Seconds of ours and of decoding each time."""
    wanted = f"ratio {goal}" if goal else "none"
    return figure(name, ours, peer, peer / ours, unit="s", goal=wanted)


def timed(work: Callable[[], NDArray[Any]]) -> tuple[float, NDArray[Any]]:
    """Wall clock of one call, and what it returned."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
