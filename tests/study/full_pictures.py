"""Pictures and checkpoints that see, in the formats of the full tiers' own and as small."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from tests.checkpoints import make_checkpoint, make_m_clip, make_seeing
from tests.trainables.data.samples import write_lines, write_text

MULTI30K = ("cs", "de", "en", "fr")
XFLICKR = ("de", "en", "es", "id", "ja", "ru", "tr", "zh")
XMMMU = ("ar", "en", "fr", "hi", "id", "ja", "pt")

ROWS = 300
"""Of Multi30k's training part: more than a batch of the spaces."""

WORDS = "a man is eating food the quick brown fox jumps over lazy dog river ends in sea".split()  # noqa: SIM905

SEEING = {
    "openai/clip-vit-base-patch32": "clip",
    "google/siglip2-base-patch16-224": "siglip",
    "Salesforce/blip2-itm-vit-g": "blip-2",
    "M-CLIP/XLM-Roberta-Large-Vit-B-32": "m-clip",
    "sentence-transformers/clip-ViT-B-32-multilingual-v1": "distilbert-clip",
}
"""Hub ids of the full tiers about pictures, and of what architecture they are."""


def make(kind: str, folder: Path, seed: int) -> None:
    """Write one of `SEEING`."""
    if kind == "m-clip":
        make_m_clip(folder, seed)
    elif kind == "distilbert-clip":
        make_checkpoint(kind, folder, seed)
    else:
        make_seeing(kind, folder, seed)


def write_pictures(folder: Path, draw: random.Random) -> None:
    """Multi30k, xFlickr&CO, xMMMU and MMMU under their names."""
    numbers = iter(range(10**6))
    names = {part: [f"{1000000 + next(numbers)}.jpg" for _ in range(size)]
             for part, size in (("train", ROWS), ("val", 8))}  # fmt: skip
    base = folder / "multi30k"
    for part, held in names.items():
        write_text(base / f"{part}.txt", *held)
        for language in MULTI30K:
            write_text(base / f"{part}.{language}", *(_text(draw) for _ in held))
        for name in held:
            _put(base / "images" / name, draw)
    shown = [f"{2000000 + next(numbers)}.jpg" for _ in range(6)]
    for language in XFLICKR:
        rows = [
            {"id": name.split(".")[0], "img_path": name, "sentences": [_text(draw)]}
            for name in shown
        ]
        write_lines(folder / "xflickrco" / "annotations" / language / "test.jsonl", rows)
    for name in shown:
        _put(folder / "xflickrco" / "images" / name, draw)
    for language in XMMMU:
        _exams(folder / "xmmmu" / f"{language}-00000-of-00001.parquet", draw)
    _exams(folder / "mmmu" / "Art" / "validation-00000-of-00001.parquet", draw)


def _exams(path: Path, draw: random.Random) -> None:
    rows: list[dict[str, Any]] = []
    for number in range(4):
        images: dict[str, Any] = {f"image_{n}": None for n in range(1, 8)}
        pixels = np.full((9, 9, 3), 50 * number, np.uint8)
        images["image_1"] = {"bytes": _encoded(pixels, "PNG"), "path": "1.png"}
        asked = {"id": f"validation_Art_{number}", "question": f"{_text(draw)} <image 1>"}
        rows.append(asked | {"options": "['a', 'b']", "answer": "A"} | images)
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _text(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=6)) + f" {draw.randrange(10**6)}"


def _put(path: Path, draw: random.Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.frombuffer(draw.randbytes(12 * 12 * 3), np.uint8).reshape(12, 12, 3)
    path.write_bytes(_encoded(pixels, "JPEG"))


def _encoded(pixels: Any, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()
