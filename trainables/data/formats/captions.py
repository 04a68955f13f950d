"""User-supplied images in the documented format (docs/data.md): `captions.jsonl` and image files.

Parts are folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.data.formats.image_places import file_name, image_files
from trainables.data.formats.reading import (
    BadRowError,
    by_language,
    help_with,
    identity_of,
    refuse_repeat,
    text_of,
    texts_of,
)
from trainables.data.source import Request
from trainables.data.sources.albums import Album, CaptionedImage, album_loader
from trainables.errors import UserError

FILE = "captions.jsonl"

UNNAMED = "image files that no row names"


def read_captions(request: Request) -> Album:
    """Read rows `{"id", "image", "captions": {"de": "…" or ["…", …]}, "family"?}`.

    `image` is a path relative to the folder of `captions.jsonl`, or the end of one if no other
    file has it. `family` is the unit that statistics resample; by default the image itself.
    """
    folder = request.folder / request.part if request.part else request.folder
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{request.name}: no file {FILE} in {folder}; {help_with(request.name)}")
    ids: set[str] = set()
    images: set[str] = set()

    def entry(row: Mapping[str, Any]) -> CaptionedImage:
        identity = identity_of(row, "id")
        image = file_name(text_of(row, "image"))
        captions, family = _captions(row), identity_of(row, "family", identity)
        if image in images:
            raise BadRowError(
                f"image {image!r} is used twice; put its captions in one row", "image"
            )
        refuse_repeat(ids, identity)
        images.add(image)
        return CaptionedImage(identity, image, captions, family)

    entries = list(request.records(path, entry))
    names = {image.rpartition("/")[2] for image in images}
    unnamed = sum(len(paths) for name, paths in image_files(folder).items() if name not in names)
    dropped = {UNNAMED: unnamed} if unnamed else {}
    return Album({FILE: path}, entries, folder, dropped=dropped)


def _captions(row: Mapping[str, Any]) -> dict[str, list[str]]:
    table = row.get("captions")
    captions = by_language(table, "captions", texts_of) if isinstance(table, dict) else {}
    if not captions:
        raise BadRowError(
            "'captions' must map languages to a text or a list of texts, such as {'de': '…'}; a "
            "picture without a caption is left out of the file",
            "captions",
        )
    return captions


LOADER = album_loader(read_captions)
