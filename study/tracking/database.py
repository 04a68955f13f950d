"""MLflow's SQLite file: whether this version of MLflow can read it, told without importing it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from study.ledger_file import DAMAGED, WAIT_SECONDS, code_of, refuse_other_kinds

LARGE_BYTES = 100_000_000
"""A larger file is only opened, not read through."""


def damage(path: Path) -> str:
    """What keeps MLflow from reading the file; empty where nothing does, or it is not there.

    Raises:
        UserError: It is no plain file.
    """
    refuse_other_kinds(path)
    if not path.exists() or path.stat().st_size == 0:
        return ""
    try:
        connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
        try:
            if path.stat().st_size < LARGE_BYTES:
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    return str(found)
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return str(error) if code_of(error) in DAMAGED else ""
    newest = newest_schema()
    if not rows or newest is None or rows[0][0] == newest:
        return ""
    return f"its schema is {rows[0][0]}, this MLflow's is {newest}"


def relocate(path: Path, artifacts: str) -> None:
    """Let a file that was moved or copied with its root name the artifacts beside it.

    Args:
        path: Of the database.
        artifacts: URI of the folder beside it.
    """
    with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as connection, connection:
        if not connection.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'experiments'"
        ).fetchone():
            return
        old = connection.execute(
            "SELECT DISTINCT artifact_location FROM experiments"
            " WHERE artifact_location LIKE 'file:%/mlartifacts' AND artifact_location <> ?",
            (artifacts,),
        ).fetchall()
        for (place,) in old:
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?",
                (artifacts, place),
            )
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?)"
                " WHERE substr(artifact_uri, 1, ?) = ?",
                (artifacts, len(place) + 1, len(place) + 1, place + "/"),
            )


def newest_schema() -> str | None:
    """The schema that the installed MLflow writes: the revision that no other one builds on."""
    found = find_spec("mlflow")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / "store" / "db_migrations" / "versions"
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    ids = {m[1] for text in texts if (m := re.search(r'^revision = "(\w+)"', text, re.M))}
    older = {m[1] for text in texts if (m := re.search(r'^down_revision = "(\w+)"', text, re.M))}
    heads = ids - older
    return heads.pop() if len(heads) == 1 else None
