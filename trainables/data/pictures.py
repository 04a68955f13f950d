"""Images before they are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

IMAGE = "image"
"""Pseudo-language of images, in place of a BCP-47 code."""


@dataclass(frozen=True, slots=True)
class TableImage:
    """Location of an encoded image in a Parquet file: `column` of row `row`."""

    file: Path
    column: str
    row: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One image, not yet read.

    Attributes:
        id: Unique in its benchmark.
        source: An image file, a cell of a table, or the bytes of an image file.
        cluster: The largest known unit of dependence, such as a family of images.
    """

    id: str
    source: Path | TableImage | bytes
    cluster: str
