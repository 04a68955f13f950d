"""Photographs with captions in text files: line n describes the image that line n of a list names.

Multi30k: photographs of Flickr30k; captions are translated (task 1) or independent (task 2).
XTD10: 1,000 photographs of COCO with one caption in each language.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from trainables.data.formats.image_places import file_name, photograph
from trainables.data.formats.reading import AGAIN, BadRowError, line_text, lines, one_each
from trainables.data.source import Request
from trainables.data.sources.albums import (
    Album,
    CaptionedImage,
    album_by_language,
    album_loader,
    merged,
)
from trainables.errors import UserError

INDEPENDENT = {"train_x5": "train", "val_x5": "val", "test_2016_x5": "test_2016"}
"""Part to its name in task 2: five captions per image, written independently."""


def read_multi30k(request: Request) -> Album:
    """Read a part of Multi30k."""
    part = request.part or "test_2016_flickr"
    split = INDEPENDENT.get(part)
    if split is None:
        texts = rf"{part}\.(?P<language>[a-z]{{2}})(\.gz)?"
        names = f"{part}.txt"
    else:
        texts = rf"{split}\.(?P<number>[1-5])\.(?P<language>[a-z]{{2}})(\.gz)?"
        names = f"{split}_images.txt"
    by_number: dict[str, list[tuple[Path, dict[str, str]]]] = {}
    for path, groups in request.find(texts):
        by_number.setdefault(groups.get("number", ""), []).append((path, groups))
    files: dict[str, list[Path]] = {}
    for matches in by_number.values():
        for language, path in one_each(matches, request.name).items():
            files.setdefault(language, []).append(path)
    chosen = request.choose(files, f"captions of {part}")
    listed = _list_of_images(names, request)
    images = _lines(listed, request, _image_name)

    def entries(path: Path, language: str) -> list[CaptionedImage]:
        return _entries(path, language, images, request)

    return album_by_language(
        chosen, entries, request.name, files={"images.txt": listed}, beside=True
    )


def read_xtd10(request: Request) -> Album:
    """Read XTD10: `test_1kcaptions_<language>.txt` and `test_image_names.txt`."""
    listed = _list_of_images("test_image_names.txt", request)
    matches = (
        (path, {"language": groups["language"].replace("jp", "ja")})
        for path, groups in request.find(r"test_1kcaptions_(?P<language>[a-z]{2})\.txt")
    )
    what = "test_1kcaptions_<language>.txt"
    files = one_each(matches, request.name)
    chosen = request.choose(files, what)
    images = _lines(listed, request, _image_name)
    columns = {la: _entries(path, la, images, request) for la, path in chosen.items()}
    return Album({**chosen, "images": listed}, merged(columns, request.name), beside=True)


def _list_of_images(name: str, request: Request) -> Path:
    called = f"{name}, which says which image each caption is of,"
    return request.find_one(name.replace(".", r"\."), called)


def _entries(
    path: Path, language: str, images: Sequence[str], request: Request
) -> list[CaptionedImage]:
    """Pair the captions of a file with their images."""
    captions = _lines(path, request)
    if len(captions) != len(images):
        raise UserError(
            f"{request.name}: {path} has {len(captions)} captions for {len(images)} images, so "
            f"nobody knows which is of which. {AGAIN}"
        )
    return [
        CaptionedImage(image, image, {language: [text]}, photograph(image))
        for image, text in zip(images, captions, strict=True)
    ]


def _image_name(text: str) -> str:
    """Return the image that a line names; a number after `#` counts its captions."""
    return file_name(text.partition("#")[0])


def _lines(path: Path, request: Request, convert: Callable[[str], str] = str) -> list[str]:
    """Read a file's lines, stripped and converted."""
    texts = []
    for number, line in lines(path, request.name):
        try:
            texts.append(convert(line_text(line).strip()))
        except BadRowError as error:
            raise UserError(f"{request.name}: {path}, line {number}: {error}. {AGAIN}") from None
    return texts


MULTI30K = album_loader(read_multi30k)
XTD10 = album_loader(read_xtd10)
