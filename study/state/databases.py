"""Make URLs of SQLite files, and refuse folders on network filesystems for them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from trainables.errors import UserError
from trainables.storage import atomic as storage

OPTUNA_FILE = "optuna.db"
"""Default file of Optuna's storage, shared by all studies of a state folder."""

NETWORK = {"nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "beegfs", "gpfs", "fuse.sshfs"}
"""Network filesystems, by Linux's names, which several machines may write to."""


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, whatever characters its path has."""
    from sqlalchemy.engine import URL

    plain = URL.create("sqlite", database=str(path)).render_as_string()
    if plain.endswith(str(path)):
        return plain
    # from a URL of the usual form, MLflow creates the folder without unquoting its name
    return URL.create("sqlite+pysqlite", database=str(path)).render_as_string()


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL; None for other URLs and SQLite in memory."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database
    return Path(str(parsed.database)) if is_file else None


def ensure_there(path: Path) -> None:
    """Create an empty file, which is a valid empty database, with the umask's permissions.

    SQLite itself would create one that only its owner may write.

    Raises:
        OSError: The path exists and is not a regular file.
    """
    with suppress(PermissionError, FileNotFoundError):
        os.close(storage.unlinked(str(path), os.O_WRONLY | os.O_CREAT))


def network_kind(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of a folder's filesystem if it is a network filesystem, else empty."""
    kinds: dict[str, str] = {}
    with suppress(OSError):
        for line in mounts.read_text(encoding="utf-8").splitlines():
            _, mount, kind, *_ = line.split(" ")
            kinds[mount.replace("\\040", " ")] = kind
    ancestors = (str(path) for path in (folder.resolve(), *folder.resolve().parents))
    kind = next((kinds[path] for path in ancestors if path in kinds), "")
    return kind if kind in NETWORK else ""


def refuse_network(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Refuse a folder on a network filesystem, whose locks SQLite cannot rely on.

    Raises:
        UserError: The folder is on one.
    """
    if kind := network_kind(folder, mounts):
        raise UserError(
            f"{folder} is on {kind}, a network filesystem, where SQLite loses data; choose a "
            "local folder with --state (trials stay where --root says), or servers with --storage "
            "and --tracking-uri"
        )
