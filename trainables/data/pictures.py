"""What a picture is before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

IMAGE = "image"
"""What stands where a language would: pictures have none."""


@dataclass(frozen=True, slots=True)
class TableImage:
    """Where a table holds an encoded picture: `column` of row `row` of a Parquet file."""

    file: Path
    column: str
    row: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, not read yet.

    Attributes:
        id: Unique in its benchmark.
        source: An image file, a cell of a table, or the bytes of an image file.
        cluster: The highest unit of dependence known, such as a family of pictures.
    """

    id: str
    source: Path | TableImage | bytes
    cluster: str
