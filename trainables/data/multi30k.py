"""Multi30k: Flickr30k's photographs with captions, translated (task 1) or independent (task 2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainables.data.albums import Album, Entry, album_loader, merged
from trainables.data.image_places import file_name, photograph
from trainables.data.reading import (
    AGAIN,
    BadRowError,
    choose,
    find,
    help_with,
    line_text,
    lines,
    one_each,
)
from trainables.data.source import Request
from trainables.errors import UserError

INDEPENDENT = {"train_x5": "train", "val_x5": "val", "test_2016_x5": "test_2016"}
"""Part to what task 2 calls it: five captions a picture, each written for it."""


def read_multi30k(request: Request) -> Album:
    """A part: line n of each file of captions is of the image that line n of a list names.

    Raises:
        UserError: Files are missing, differ in length, or have a blank line.
    """
    part = request.part or "test_2016_flickr"
    split = INDEPENDENT.get(part)
    if split is None:
        texts = rf"{part}\.(?P<language>[a-z]{{2}})(\.gz)?"
        names = rf"{part}\.txt"
    else:
        texts = rf"{split}\.(?P<number>[1-5])\.(?P<language>[a-z]{{2}})(\.gz)?"
        names = rf"{split}_images\.txt"
    by_number: dict[str, list[tuple[Path, dict[str, str]]]] = {}
    for path, groups in find(request.folder, texts):
        by_number.setdefault(groups.get("number", ""), []).append((path, groups))
    files: dict[str, list[Path]] = {}
    for matches in by_number.values():
        for language, path in one_each(matches, request.name).items():
            files.setdefault(language, []).append(path)
    what = f"captions of {part}"
    chosen = choose(files, request.languages, request.name, request.folder, what)
    lists = find(request.folder, names)
    if not lists:
        raise UserError(
            f"{request.name}: no {names.replace(chr(92), '')} in {request.folder}, which says "
            f"which image each caption is of; {help_with(request.name)}"
        )
    images = _images(lists[0][0], request.name)
    columns = {
        language: [
            Entry(image, image, {language: [text]}, photograph(image))
            for path in paths
            for image, text in zip(images, _captions(path, len(images), request), strict=True)
        ]
        for language, paths in chosen.items()
    }
    named = {f"{la}.{n}": path for la, paths in chosen.items() for n, path in enumerate(paths)}
    named["images.txt"] = lists[0][0]
    return Album(named, merged(columns, request.name), beside=True)


def _images(path: Path, name: str) -> list[str]:
    """Names of image files; what follows a `#` counts captions of one image."""
    found = []
    for number, line in lines(path, name):
        try:
            found.append(file_name(line_text(line).strip().partition("#")[0]))
        except BadRowError as error:
            raise UserError(f"{name}: {path}, line {number}: {error}. {AGAIN}") from None
    return found


def _captions(path: Path, count: int, request: Request) -> Sequence[str]:
    try:
        found = [line_text(line).strip() for _, line in lines(path, request.name)]
    except BadRowError as error:
        raise UserError(f"{request.name}: {path}: {error}. {AGAIN}") from None
    if len(found) != count:
        raise UserError(
            f"{request.name}: {path} has {len(found)} captions for {count} images, so nobody knows "
            f"which is of which. {AGAIN}"
        )
    return found


LOADER = album_loader(read_multi30k)
