"""Crossmodal-3600 (XM3600): photographs with captions in 36 languages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.data.formats.image_places import file_name
from trainables.data.formats.reading import (
    by_language,
    refuse_repeat,
    shards_each,
    text_of,
    texts_of,
)
from trainables.data.formats.tables import rows_of
from trainables.data.pictures import TableImage
from trainables.data.source import Request
from trainables.data.sources.albums import Album, CaptionedImage, album_by_language, album_loader

TABLES = r"(?P<language>[a-z]{2,3})-\d+-of-\d+(?:-[0-9a-f]+)?\.parquet"


def read_xm3600(request: Request) -> Album:
    """Read `captions.jsonl` with `images/<key>.jpg`, or the hub's tables.

    Each image has one to three captions in each language, written for it rather than translated.
    The part `first` keeps the first of each, so that every image has one caption per language.
    """
    limit = 1 if request.part == "first" else None
    if matches := request.find(r"captions\.jsonl(\.gz)?"):
        path = matches[0][0]
        keys: set[str] = set()

        def entry(row: Mapping[str, Any]) -> CaptionedImage:
            key = refuse_repeat(keys, text_of(row, "image/key"))
            tables_by_code = {code: value for code, value in row.items() if isinstance(value, dict)}
            captions = by_language(
                tables_by_code,
                "captions",
                lambda table, code: texts_of(table[code], "caption")[:limit],
            )
            return CaptionedImage(key, file_name(f"{key}.jpg"), captions, key)

        return Album({"captions.jsonl": path}, list(request.records(path, entry)))
    tables = shards_each(request.find(TABLES), request.name)
    what = "captions.jsonl or table"
    chosen = request.choose(tables, what)

    def entries(path: Path, language: str) -> Iterator[CaptionedImage]:
        return _table_entries(path, language, limit, request)

    return album_by_language(chosen, entries, request.name)


def _table_entries(
    path: Path, language: str, limit: int | None, request: Request
) -> Iterator[CaptionedImage]:
    """Read a table of the hub, which holds one language and all images."""

    def entry(number: int, row: Mapping[str, Any]) -> CaptionedImage:
        key = text_of(row, "image_id")
        captions = {language: texts_of(row, "captions")[:limit]}
        return CaptionedImage(key, TableImage(path, "image", number), captions, key)

    return rows_of(path, request.name, ["image_id", "captions"], entry, request.skipped)


LOADER = album_loader(read_xm3600)
