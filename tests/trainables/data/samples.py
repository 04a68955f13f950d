"""Small files in the formats of real sources."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """JSON lines; packed where the name ends in `.gz`."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode("utf-8")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_text(path: Path, *rows: str) -> None:
    """One row a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{row}\n" for row in rows).encode("utf-8")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
