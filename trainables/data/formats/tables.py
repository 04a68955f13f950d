"""Rows and images of Parquet files, without reading more of them than is asked for."""

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
    """Rows of a table, of some columns alone, converted, in file order.

    Args:
        file: A Parquet file.
        name: Of the source, for messages.
        columns: Names of those that must be there.
        convert: Makes what is wanted of a row's index and values, or raises `BadRowError`.
        skipped: Counts malformed rows, which are left out; None refuses them.
        optional: Names of those that are read where they are there; `image.path` is `path` of
            the column `image`.

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
        there = opened.schema_arrow.names
        if missing := [column for column in columns if column not in there]:
            raise UserError(
                f"{name}: {file} has no column {missing[0]!r}; it has {', '.join(there)}. "
                f"{help_with(name)}"
            )
        known = {*there, *_leaves(opened)}
        chosen = [*columns, *(column for column in optional if column in known)]
        yield from table_rows(opened, file, name, chosen)


def filled(file: Path, name: str, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Of every row, which of some image columns hold an image; images are not read.

    Args:
        file: A Parquet file.
        name: Of the source, for messages.
        columns: Of images; those that the table lacks hold none.
    """
    with opened_table(file, name) as opened:
        # the hub's images are {bytes, path}: whether there is one can be read off the path
        paths = {c: f"{c}.path" for c in columns if f"{c}.path" in _leaves(opened)}
        plain = [c for c in columns if c not in paths and c in opened.schema_arrow.names]
        table = opened.read(columns=[*paths.values(), *plain])
    there = [*paths, *plain]
    full = [table.column(column).is_valid().to_pylist() for column in there]
    count = table.num_rows
    return [
        tuple(c for c, valid in zip(there, full, strict=True) if valid[row]) for row in range(count)
    ]


def cell_bytes(cell: TableImage) -> bytes:
    """The bytes of an image in a table: a column of bytes, or of the hub's {bytes, path}.

    A path that stands there instead of bytes is not followed.

    Raises:
        BadRowError: The table is missing or damaged, has no such cell, or no image is in it.
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
    """The first row of every row group, and the number of rows."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as opened:
        data = opened.metadata
        sizes = [data.row_group(group).num_rows for group in range(data.num_row_groups)]
    return list(accumulate(sizes, initial=0))[:-1], sum(sizes)


@lru_cache(maxsize=2)
def _column(file: Path, column: str, group: int) -> Any:
    """One column of one row group; the last two are kept, for pictures are read in file order."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as opened:
        return opened.read_row_group(group, columns=[column]).column(column)


def _leaves(opened: Any) -> list[str]:
    """Paths of the columns that hold values."""
    return [opened.schema.column(index).path for index in range(len(opened.schema))]
