"""Pictures decoded and preprocessed by every trial, against the store that trials share.

`python benchmarks/images.py` draws random images of Flickr30k's size in a temporary folder and
preprocesses them for a small CLIP with CLIP's processor. `--pictures 1000` is a test set's size.
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
"""Trials of the study whose seconds are summed; each evaluates twice, during training and after."""


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
    """Image tower of a random CLIP of 4 layers, with CLIP's own processor."""

    def __init__(self, live: bool) -> None:
        """Make the tower; a `live` one is in training and has no vectors to store."""
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
        """Decode and preprocess images."""
        return self.tower.prepare(pictures)

    def encode_pixels(self, pixels: Pixels) -> Embeddings:
        """Encode the output of `pixels`."""
        with torch.inference_mode():
            held = {name: torch.from_numpy(np.array(rows)) for name, rows in pixels.items()}
            return np.asarray(self.tower(held))

    def encode_queries(self, texts: Sequence[str], language: str) -> Embeddings:
        """Raise NotImplementedError: this benchmark encodes no text."""
        raise NotImplementedError

    encode_passages = encode_queries

    def encode_images(self, pictures: Sequence[Picture]) -> Embeddings:
        """Encode images."""
        return self.encode_pixels(self.pixels(pictures))


def photographs(folder: Path, count: int) -> list[Picture]:
    """Write JPEG files of smooth noise, which take about as long to decode as photographs."""
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
    """Measure an image tower in training, for which preprocessed images are stored."""
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
    """Measure a frozen image tower, for which vectors are stored."""
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
    """Build a figure in seconds: the shared store against decoding in every trial."""
    wanted = f"ratio {goal}" if goal else "none"
    return figure(name, ours, peer, peer / ours, unit="s", goal=wanted)


def timed(work: Callable[[], NDArray[Any]]) -> tuple[float, NDArray[Any]]:
    """Return the wall time of one call, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
