"""MMMU and xMMMU: college exam questions about one image, as retrieval.

Both are multiple-choice sets. Retrieval of a question's image, and of an image's question, is this
project's construction; there are no published numbers for it.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.data.formats.image_places import file_name
from trainables.data.formats.reading import BadRowError, shards_each, text_of
from trainables.data.formats.tables import filled, rows_of
from trainables.data.pictures import TableImage
from trainables.data.source import Request
from trainables.data.sources.albums import (
    Album,
    CaptionedImage,
    album_by_language,
    album_loader,
    merged,
)

TABLES = r"(?:[^/]+/)?validation-\d+-of-\d+(?:-[0-9a-f]+)?\.parquet"
"""The hub's tables, one per subject or one for all."""

BY_LANGUAGE = r"(?P<language>[a-z]{2})-\d+-of-\d+(?:-[0-9a-f]+)?\.parquet"
LINES = r"data\.jsonl"
"""File in MMMU-Pro's repository, beside a folder `static`."""

IMAGES = tuple(f"image_{number}" for number in range(1, 8))
SLOT = re.compile(r"<image \d>")
CLOSED_SLOT = re.compile(r"\s*<image \d>\s*(?=[.,;:?!])")

SEVERAL = "questions with several pictures"
NONE = "questions without a picture"
OPTIONS = "questions whose options are pictures"
BARE = "questions without words"


def read_mmmu(request: Request) -> Album:
    """Read single-image questions of MMMU's validation part or MMMU-Pro's sample, in English."""
    dropped: Counter[str] = Counter()
    paths = [path for path, _ in request.find(TABLES)]
    paths = paths or [path for path, _ in request.find(LINES)][:1]
    files = {"en": paths} if paths else {}
    what = "<subject>/validation-*.parquet or data.jsonl"
    [paths] = request.choose(files, what).values()
    entries = [e for path in paths for e in _entries(path, "en", request, dropped)]
    static = paths[0].parent / "static"
    return Album(
        {path.relative_to(request.folder).as_posix(): path for path in paths},
        merged({"en": entries}, request.name),
        static if static.is_dir() else None,
        dropped=dropped,
    )


def read_xmmmu(request: Request) -> Album:
    """Read single-image questions of xMMMU; a question's image is that of its first language."""
    dropped: Counter[str] = Counter()
    files = shards_each(request.find(BY_LANGUAGE), request.name)
    what = "<language>-*.parquet"
    chosen = request.choose(files, what)

    def entries(path: Path, language: str) -> Iterator[CaptionedImage]:
        return _entries(path, language, request, dropped)

    return album_by_language(chosen, entries, request.name, dropped=dropped)


def question_text(question: str, options: Sequence[str] = ()) -> str:
    """Return a question in one line, without image placeholders, followed by any options.

    Options follow as `(A) … (B) …`, as in MMMU's own prompts.
    """
    letters = [f"({chr(ord('A') + number)}) {option}" for number, option in enumerate(options)]
    bare = SLOT.sub(" ", CLOSED_SLOT.sub("", question))
    return " ".join(" ".join([bare, *letters]).split())


def _entries(
    path: Path, language: str, request: Request, dropped: Counter[str]
) -> Iterator[CaptionedImage]:
    """Read the entries of a file; count rows not about a single image in `dropped`."""
    with_options = request.part == "questions+options"

    def entry(
        row: Mapping[str, Any], images: Sequence[str], image: str | TableImage | None
    ) -> CaptionedImage:
        question, options = text_of(row, "question"), _options(row)
        reason = _drop_reason(question, options, images)
        if reason or image is None:
            dropped[reason] += 1
            return CaptionedImage("", "", {}, "")
        identity = _identity(row, image)
        text = question_text(question, options if with_options else ())
        return CaptionedImage(identity, image, {language: [text]}, subject_of(identity))

    def of_line(row: Mapping[str, Any]) -> CaptionedImage:
        images = [column for column in IMAGES if row.get(column)]
        image = file_name(text_of(row, images[0])) if images else None
        return entry(row, images, image)

    if path.suffix != ".parquet":
        entries = request.records(path, of_line)
    else:
        image_columns = filled(path, request.name, IMAGES)

        def of_row(number: int, row: Mapping[str, Any]) -> CaptionedImage:
            images = image_columns[number]
            return entry(row, images, TableImage(path, images[0], number) if images else None)

        columns = ["id", "question", "options"]
        entries = rows_of(path, request.name, columns, of_row, request.skipped)
    return (item for item in entries if item.captions)


def _drop_reason(question: str, options: Sequence[str], images: Sequence[str]) -> str:
    """Return why a row is not a question about a single image; empty if it is."""
    if not images:
        return NONE
    if len(images) > 1:
        return SEVERAL
    if any(SLOT.search(option) for option in options):
        return OPTIONS
    return "" if question_text(question) else BARE


def subject_of(identity: str) -> str:
    """Return the subject of a question, which is the unit that statistics resample.

    `validation_Energy_and_Power_2` is of `Energy_and_Power`; other ids are cut at their first
    underscore.
    """
    match = re.fullmatch(r"(?:dev|validation|test)_(.+)_\d+", identity)
    return match[1] if match else identity.partition("_")[0]


def _identity(row: Mapping[str, Any], image: str | TableImage | None) -> str:
    """Return MMMU's id, which for rows without one is in the name of the image."""
    if "id" in row or not isinstance(image, str):
        return text_of(row, "id")
    stem = Path(image).stem
    match = re.fullmatch(r"((?:dev|validation|test)_.+_\d+)_\d+", stem)
    return match[1] if match else stem


def _options(row: Mapping[str, Any]) -> list[str]:
    """Return options as a list; the hub's tables hold them as a Python literal."""
    value = row.get("options") or []
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            raise BadRowError(f"'options' is not a list: {value[:60]!r}") from None
    if not isinstance(value, list):
        raise BadRowError(f"'options' is {type(value).__name__}, not list")
    return [str(option) for option in value]


MMMU = album_loader(read_mmmu)
XMMMU = album_loader(read_xmmmu)
