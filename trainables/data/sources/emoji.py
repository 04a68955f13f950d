"""Noto emoji images with their names in many languages from Unicode CLDR.

Many images are variants of one another: a woman, a man and a person running; a black cat, which is
composed of a cat and a black square. Variants form a family, and no family is in two parts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.data.formats.reading import (
    BadRowError,
    help_with,
    json_document,
    one_each,
    skip_or_refuse,
    text_of,
)
from trainables.data.languages import is_language
from trainables.data.source import Request
from trainables.data.sources.albums import Album, CaptionedImage, album_loader
from trainables.errors import UserError

IMAGES = r"emoji_u(?P<points>[0-9a-f]{4,6}(?:_[0-9a-f]{4,6})*)\.png"
NAMES = r"annotations/(?P<language>[A-Za-z-]+)/annotations\.json(?:\.gz)?"

TENTHS = {"test": (0, 1), "validation": (2,), "train": (3, 4, 5, 6, 7, 8, 9)}
"""Part to its share of the ten hash values of family names."""

GENDER_WORDS = frozenset(
    "woman man person women men people girl boy child girls boys children adult".split()  # noqa: SIM905
)
GENDERED = frozenset({0x1F468, 0x1F469, 0x1F9D1, 0x1F466, 0x1F467, 0x1F9D2, 0x2640, 0x2642, 0x27A1})
"""Code points of persons, of gender signs, and of the direction they face."""

JOINER = 0x200D
UNNAMED = "pictures without a name"

Points = tuple[int, ...]


def read_emoji(request: Request) -> Album:
    """Read a part of the images, each with one name in each language.

    Files are CLDR's `annotations/<language>/annotations.json[.gz]`, of which English is needed to
    form families, and `emoji_u<code points>.png` at any depth.
    """
    part = request.part or "test"
    names, files = _names(request)
    pictures = _pictures(request)
    english = {points: name for points, name in names["en"].items() if points in pictures}
    families = families_of(english)
    languages = request.languages or tuple(names)
    entries = [
        CaptionedImage(
            path.stem,
            path.relative_to(request.folder).as_posix(),
            {la: [names[la][points]] for la in languages if points in names[la]},
            families[points],
        )
        for points, path in pictures.items()
        if points in families and part in ("all", part_of(families[points]))
    ]
    unnamed = len(pictures) - len(english)
    return Album(files, entries, dropped={UNNAMED: unnamed} if unnamed else {})


def families_of(names: Mapping[Points, str]) -> dict[Points, str]:
    """Return the family of each image, named by the alphabetically first name in it.

    Images are of one family if their English names agree except for words of gender and age, if
    one is composed of several code points and the other is one of these, or if both are composed
    and share a code point; code points of persons and genders do not count.
    """
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for points, name in names.items():
        marks = [_without_gender(name)]
        if JOINER in points or len(points) == 1:
            marks += [f"{point:x}" for point in points if point not in GENDERED | {JOINER}]
        for mark in marks:
            parent[root(f"mark {mark}")] = root(f"picture {name}")
    firsts: dict[str, str] = {}
    for name in sorted(names.values()):
        firsts.setdefault(root(f"picture {name}"), name)
    return {points: firsts[root(f"picture {name}")] for points, name in names.items()}


def part_of(family: str) -> str:
    """Return the part of a family, by a hash of its name."""
    tenth = int.from_bytes(hashlib.sha256(family.encode()).digest()[:8], "big") % 10
    return next(part for part, tenths in TENTHS.items() if tenth in tenths)


def _without_gender(name: str) -> str:
    words = [word for word in re.findall(r"\w+", name.lower()) if word not in GENDER_WORDS]
    return "words " + " ".join(words)


def _pictures(request: Request) -> dict[Points, Path]:
    """Return image files by code points; of several sizes, as in Noto's repository, that of 72."""
    pictures: dict[Points, Path] = {}
    for path, groups in request.find(IMAGES):
        points = tuple(int(point, 16) for point in groups["points"].split("_"))
        if points not in pictures or path.parent.name == "72":
            pictures[points] = path
    if not pictures:
        raise UserError(
            f"{request.name}: no emoji_u….png in {request.folder}; {help_with(request.name)}"
        )
    return pictures


def _names(request: Request) -> tuple[dict[str, dict[Points, str]], dict[str, Path]]:
    """Return language to names, always with English, and the files they come from."""
    folders = request.find(NAMES)  # CLDR's `root` is not a language
    paths = one_each(
        (match for match in folders if is_language(match[1]["language"])), request.name
    )
    languages = tuple(sorted({*(request.languages or paths), "en"})) if paths else request.languages
    files = request.choose(paths, "annotations.json", languages)
    return {la: _read(path, request) for la, path in files.items()}, dict(files)


def _read(path: Path, request: Request) -> dict[Points, str]:
    document = json_document(path, request.name)
    try:
        table: dict[str, Any] = document["annotations"]["annotations"]
        rows = list(table.items())
    except (KeyError, TypeError, AttributeError):
        raise UserError(
            f"{request.name}: {path} has no annotations.annotations, as CLDR's files have; "
            f"{help_with(request.name)}"
        ) from None
    names = {}
    for characters, row in rows:
        try:
            names[_points(characters)] = _name(row)
        except BadRowError as error:
            skip_or_refuse(error, request.name, path, characters, request.skipped)
    return names


def _points(characters: str) -> Points:
    return tuple(ord(character) for character in characters if character != "\ufe0f")


def _name(row: Any) -> str:
    texts = row.get("tts") if isinstance(row, dict) else None
    if not isinstance(texts, list) or not texts:
        raise BadRowError("'tts' must be a list of one name", "tts")
    return text_of({"tts": texts[0]}, "tts").strip()


LOADER = album_loader(read_emoji)
