"""Rows and images of Parquet files, read no further than needed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from trainables.data.formats.reading import (
    BadRowError,
    Skipped,
    converted,
    help_with,
    opened_table,
    table_rows,
)
from trainables.data.pictures import TableImage
from trainables.errors import UserError

T = TypeVar("T")


def rows_of(
    file: Path,
    name: str,
    columns: Sequence[str],
    convert: Callable[[int, Mapping[str, Any]], T],
    skipped: Skipped = None,
    optional: Sequence[str] = (),
) -> Iterator[T]:
    """Read and convert rows of a Parquet file from some of its columns, in file order.

    Args:
        file: A Parquet file.
        name: Name of the source, for messages.
        columns: Required columns.
        convert: Converts a row's index and values, or raises `BadRowError`.
        skipped: Counts malformed rows, which are left out; None refuses them.
        optional: Columns to read if present; `image.path` is the field `path` of `image`.

    Raises:
        UserError: The file is missing or damaged, lacks a column, or has a malformed row.
    """
    rows = enumerate(_rows(file, name, columns, optional), 1)
    indexed = (
        (number, row if isinstance(row, BadRowError) else (number - 1, row)) for number, row in rows
    )
    return converted(indexed, file, name, lambda pair: convert(*pair), skipped)


def _rows(
    file: Path, name: str, columns: Sequence[str], optional: Sequence[str]
) -> Iterator[Mapping[str, Any] | BadRowError]:
    with opened_table(file, name) as opened:
        present = opened.schema_arrow.names
        if missing := [column for column in columns if column not in present]:
            raise UserError(
                f"{name}: {file} has no column {missing[0]!r}; it has {', '.join(present)}. "
                f"{help_with(name)}"
            )
        known = {*present, *_leaves(opened)}
        chosen = [*columns, *(column for column in optional if column in known)]
        yield from table_rows(opened, file, name, chosen)


def filled(file: Path, name: str, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return for every row the image columns that hold an image, without reading the images.

    Args:
        file: A Parquet file.
        name: Name of the source, for messages.
        columns: Image columns; those that the table lacks count as empty.
    """
    with opened_table(file, name) as opened:
        # The hub stores images as {bytes, path}; the path tells whether there is one.
        paths = {c: f"{c}.path" for c in columns if f"{c}.path" in _leaves(opened)}
        plain = [c for c in columns if c not in paths and c in opened.schema_arrow.names]
        table = opened.read(columns=[*paths.values(), *plain])
    present = [*paths, *plain]
    validity = [table.column(column).is_valid().to_pylist() for column in present]
    count = table.num_rows
    return [
        tuple(c for c, valid in zip(present, validity, strict=True) if valid[row])
        for row in range(count)
    ]


def cell_bytes(cell: TableImage) -> bytes:
    """Return the bytes of an image in a table: a column of bytes, or of the hub's {bytes, path}.

    A path without bytes is not followed.

    Raises:
        BadRowError: The table is missing or damaged, has no such cell, or a path without bytes.
    """
    import pyarrow

    try:
        starts, number = _groups(cell.file)
        if not 0 <= cell.row < number:
            raise BadRowError(f"the table has {number} rows")
        group = bisect_right(starts, cell.row) - 1
        value = _column(cell.file, cell.column, group)[cell.row - starts[group]].as_py()
    except (OSError, pyarrow.ArrowException, KeyError) as error:
        raise BadRowError(f"the table cannot be read ({error})") from None
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None and isinstance(value, dict) and value.get("path"):
        raise BadRowError(f"the table has the path {value['path']!r} instead of the image")
    return bytes(content or b"")


@lru_cache(maxsize=256)
def _groups(file: Path) -> tuple[list[int], int]:
    """Return the first row of each row group, and the number of rows."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as opened:
        data = opened.metadata
        sizes = [data.row_group(group).num_rows for group in range(data.num_row_groups)]
    return list(accumulate(sizes, initial=0))[:-1], sum(sizes)


@lru_cache(maxsize=2)
def _column(file: Path, column: str, group: int) -> Any:
    """Read one column of one row group; the last two stay cached, as images are read in order."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as opened:
        return opened.read_row_group(group, columns=[column]).column(column)


def _leaves(opened: Any) -> list[str]:
    """Return the paths of the leaf columns."""
    return [opened.schema.column(index).path for index in range(len(opened.schema))]
