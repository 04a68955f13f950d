"""URLs of databases, and whether a folder may hold one that is a SQLite file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from trainables.errors import UserError
from trainables.storage import atomic as storage

OPTUNA_FILE = "optuna.db"
"""Where Optuna's rows of all studies of a state folder lie, unless a storage is named."""

NETWORK = {"nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "beegfs", "gpfs", "fuse.sshfs"}
"""Filesystems, as Linux names them, that several machines can write."""


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, whatever its folders are called."""
    from sqlalchemy.engine import URL

    plain = URL.create("sqlite", database=str(path)).render_as_string()
    if plain.endswith(str(path)):
        return plain
    # MLflow makes the folder that it reads in a URL of the usual form, without unquoting its name
    return URL.create("sqlite+pysqlite", database=str(path)).render_as_string()


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite URL; None for any other."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database
    return Path(str(parsed.database)) if is_file else None


def ensure_there(path: Path) -> None:
    """Make an empty file, which is an empty database, for all whom the umask lets write it.

    SQLite itself would make one that only its maker may write.

    Raises:
        OSError: Something lies there that is no plain file.
    """
    with suppress(PermissionError, FileNotFoundError):
        os.close(storage.unlinked(str(path), os.O_WRONLY | os.O_CREAT))


def network_kind(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of a folder's filesystem where that lies on another machine, else empty."""
    kinds: dict[str, str] = {}
    with suppress(OSError):
        for line in mounts.read_text(encoding="utf-8").splitlines():
            _, place, kind, *_ = line.split(" ")
            kinds[place.replace("\\040", " ")] = kind
    above = (str(path) for path in (folder.resolve(), *folder.resolve().parents))
    kind = next((kinds[path] for path in above if path in kinds), "")
    return kind if kind in NETWORK else ""


def refuse_network(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Refuse a folder for SQLite whose filesystem lies on another machine.

    Raises:
        UserError: It does; locks there are not those that SQLite needs.
    """
    if kind := network_kind(folder, mounts):
        raise UserError(
            f"{folder} is on {kind}, a network filesystem, where SQLite loses data; choose a "
            "local folder with --state (trials stay where --root says), or servers with --storage "
            "and --tracking-uri"
        )
