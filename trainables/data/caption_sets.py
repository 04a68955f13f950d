"""Two sets of photographs that are evaluated only: Crossmodal-3600 and XTD10."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.data.albums import Album, Entry, album_loader, merged
from trainables.data.image_places import file_name, photograph
from trainables.data.pictures import Cell
from trainables.data.reading import (
    AGAIN,
    BadRowError,
    by_language,
    choose,
    find,
    help_with,
    line_text,
    lines,
    one_each,
    records,
    refuse_repeat,
    shards_each,
    text_of,
    texts_of,
)
from trainables.data.source import Request
from trainables.data.tables import rows_of
from trainables.errors import UserError

TABLES = r"(?P<language>[a-z]{2,3})-\d+-of-\d+(?:-[0-9a-f]+)?\.parquet"
TEXTS = r"test_1kcaptions_(?P<language>[a-z]{2})\.txt"


def read_xm3600(request: Request) -> Album:
    """Crossmodal-3600: `captions.jsonl` with `images/<key>.jpg`, or the hub's tables.

    One to three captions a picture and language, each written for the picture; the part `first`
    keeps the first of each, so that every picture has one caption in every language.

    Raises:
        UserError: Missing or malformed files, or a language that they lack.
    """
    limit = 1 if request.part == "first" else None
    found = find(request.folder, r"captions\.jsonl(\.gz)?")
    if found:
        path = found[0][0]
        keys: set[str] = set()

        def entry(row: Mapping[str, Any]) -> Entry:
            key = refuse_repeat(keys, text_of(row, "image/key"))
            held = {code: value for code, value in row.items() if isinstance(value, dict)}
            captions = by_language(
                held, "captions", lambda table, code: texts_of(table[code], "caption")[:limit]
            )
            return Entry(key, file_name(f"{key}.jpg"), captions, key)

        entries = list(records(path, request.name, entry, request.skipped))
        return Album({"captions.jsonl": path}, entries)
    tables = shards_each(find(request.folder, TABLES), request.name)
    what = "captions.jsonl or table"
    chosen = choose(tables, request.languages, request.name, request.folder, what)
    columns = {
        language: [entry for path in paths for entry in _of_table(path, language, limit, request)]
        for language, paths in chosen.items()
    }
    named = {f"{la}.{n}": path for la, paths in chosen.items() for n, path in enumerate(paths)}
    return Album(named, merged(columns, request.name))


def _of_table(path: Path, language: str, limit: int | None, request: Request) -> Iterator[Entry]:
    """Entries of one of the hub's tables, which hold one language and all images."""

    def entry(number: int, row: Mapping[str, Any]) -> Entry:
        key = text_of(row, "image_id")
        captions = {language: texts_of(row, "captions")[:limit]}
        return Entry(key, Cell(path, "image", number), captions, key)

    return rows_of(path, request.name, ["image_id", "captions"], entry, request.skipped)


def read_xtd10(request: Request) -> Album:
    """XTD10: line n of `test_1kcaptions_<language>.txt` is of line n of `test_image_names.txt`.

    Raises:
        UserError: Files are missing or differ in length.
    """
    listed = find(request.folder, r"test_image_names\.txt")
    if not listed:
        raise UserError(
            f"{request.name}: no test_image_names.txt in {request.folder}; "
            f"{help_with(request.name)}"
        )
    found = (
        (path, {"language": groups["language"].replace("jp", "ja")})
        for path, groups in find(request.folder, TEXTS)
    )
    files = one_each(found, request.name)
    chosen = choose(
        files, request.languages, request.name, request.folder, "test_1kcaptions_<language>.txt"
    )
    images = _lines(listed[0][0], request)
    columns = {}
    for language, path in chosen.items():
        texts = _lines(path, request)
        if len(texts) != len(images):
            raise UserError(
                f"{request.name}: {path} has {len(texts)} captions for {len(images)} images, so "
                f"nobody knows which is of which. {AGAIN}"
            )
        columns[language] = [
            Entry(image, image, {language: [text]}, photograph(image))
            for image, text in zip(images, texts, strict=True)
        ]
    files = {**chosen, "images": listed[0][0]}
    return Album(files, merged(columns, request.name), beside=True)


def _lines(path: Path, request: Request) -> list[str]:
    names = path.name == "test_image_names.txt"
    try:
        found = [line_text(line).strip() for _, line in lines(path, request.name)]
        return [file_name(text) for text in found] if names else found
    except BadRowError as error:
        raise UserError(f"{request.name}: {path}: {error}. {AGAIN}") from None


XM3600 = album_loader(read_xm3600)
XTD10 = album_loader(read_xtd10)
