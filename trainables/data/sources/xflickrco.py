"""xFlickr&CO of IGLUE: 2,000 photographs, half from Flickr30k and half from COCO, in 8 languages.

Each image has one caption in each language, written for it and not translated. The few-shot parts
are Flickr30k training images.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.data.formats.image_places import file_name, photograph
from trainables.data.formats.reading import (
    BadRowError,
    identity_of,
    one_each,
    shards_each,
    text_of,
    texts_of,
)
from trainables.data.formats.tables import rows_of
from trainables.data.pictures import TableImage
from trainables.data.source import Request
from trainables.data.sources.albums import Album, CaptionedImage, album_by_language, album_loader

HALVES = ("flickr30k", "coco")
"""Parts that split the images of `test`."""

ROWS = r"(?P<language>[a-z]{{2}})/{part}\.jsonl(\.gz)?"
TABLES = r"(?P<language>[a-z]{2})-\d+-of-\d+(?:-[0-9a-f]+)?\.parquet"


def read_xflickrco(request: Request) -> Album:
    """Read IGLUE's `annotations/<language>/<split>.jsonl`, or the hub's tables of the test part.

    Raises:
        UserError: No files, a missing language, malformed rows, or tables that do not tell which
            half an image is in.
    """
    part = request.part or "test"
    split = part if part.startswith("train_") else "test"
    rows = one_each(request.find(ROWS.format(part=split)), request.name)
    files = {language: [path] for language, path in rows.items()}
    if not files and split == "test":
        files = shards_each(request.find(TABLES), request.name)
    what = f"{split}.jsonl" + (" or table" if split == "test" else "")
    chosen = request.choose(files, what)
    half = part if part in HALVES else None

    def entries(path: Path, language: str) -> list[CaptionedImage]:
        return _entries(path, language, request, half)

    return album_by_language(chosen, entries, request.name, beside=True)


def half_of(image: str) -> str:
    """Return `coco` or `flickr30k`, by the image's file name; COCO's start with `COCO_`.

    Raises:
        BadRowError: The image has no name.
    """
    if not image:
        raise BadRowError(
            "the image has no name, so nobody can tell Flickr30k's half from COCO's; evaluate the "
            "part test, or get IGLUE's files"
        )
    return "coco" if image.rpartition("/")[2].startswith("COCO_") else "flickr30k"


def _entries(path: Path, language: str, request: Request, half: str | None) -> list[CaptionedImage]:
    """Read the entries of a file, only of one half if `half` is given."""

    def row_of(row: Mapping[str, Any]) -> tuple[str, CaptionedImage]:
        image, identity = file_name(text_of(row, "img_path")), identity_of(row, "id")
        captions = {language: texts_of(row, "sentences")}
        return half_of(image), CaptionedImage(identity, image, captions, photograph(image))

    def cell_of(number: int, row: Mapping[str, Any]) -> tuple[str, CaptionedImage]:
        identity = identity_of(row, "id")
        cell = TableImage(path, "image", number)
        image = str((row.get("image") or {}).get("path") or "")
        return half_of(image) if half else "", CaptionedImage(
            identity, cell, {language: texts_of(row, "sentences")}, identity
        )

    if path.suffix == ".parquet":
        columns = ["id", "sentences"]
        pairs = rows_of(path, request.name, columns, cell_of, request.skipped, ["image.path"])
    else:
        pairs = request.records(path, row_of)
    return [entry for own_half, entry in pairs if half in (None, own_half)]


LOADER = album_loader(read_xflickrco)
