"""The ledger as a SQLite file: whether it is whole, and setting it aside when it is not."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainables import storage
from trainables.errors import NotNowError, UserError
from trainables.places import Place

WAIT_SECONDS = 60
"""For another study's driver to finish writing the same file."""

NETWORK = {"nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "beegfs", "gpfs", "fuse.sshfs"}
"""Filesystems, as Linux names them, that several machines can write."""

DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""What SQLite says of a file that is broken; nothing else is a reason to move it."""

BUSY = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
)
"""What it says of a file that another process holds, or whose disk is full: it passes."""

RACES = frozenset({0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT})
"""Where two make the same tables at once, one meets those of the other; 0 is no word of SQLite."""

COMPANIONS = ("-journal", "-wal", "-shm")
"""Files that SQLite keeps beside its own and would apply to a new one of the same name."""


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


def engine_settings(url: str) -> dict[str, Any]:
    """What SQLAlchemy's engine is opened with; connections that a server has shut are noticed."""
    if sqlite_path(url):
        return {"connect_args": {"timeout": WAIT_SECONDS}}
    return {"pool_pre_ping": True}


def refuse_other_kinds(path: Path) -> None:
    """Refuse a pipe, a device, a folder, or a link to one or to nothing, where a file should be.

    Raises:
        UserError: It is one; SQLite would wait for it, or make the file that the link names.
    """
    if os.path.lexists(path) and not path.is_file():
        raise UserError(f"{path}: it is no plain file; remove it and run the same command again")


def damage(url: str) -> str:
    """What is wrong with the file; empty where nothing is, or where it is not there.

    Raises:
        UserError: It is no plain file.
    """
    path = sqlite_path(url)
    if path is None:
        return ""
    refuse_other_kinds(path)
    if not path.exists():
        return ""
    try:
        connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        return str(error) if code_of(error) in DAMAGED else ""
    return "" if found == "ok" else str(found)


def cause_of(error: BaseException) -> sqlite3.Error | None:
    """What SQLite said behind an exception of any library; None where it said nothing."""
    at: BaseException | None = error
    passed: set[int] = set()
    while at is not None and id(at) not in passed:
        if isinstance(at, sqlite3.Error):
            return at
        passed.add(id(at))
        at = at.__cause__ or at.__context__
    return None


def code_of(error: BaseException) -> int:
    """SQLite's code behind an exception, without what it adds in the upper bits; else 0."""
    return getattr(cause_of(error), "sqlite_errorcode", 0) & 0xFF


def refusal(url: str, error: BaseException) -> UserError:
    """What to say of a whole file that cannot be used now."""
    path, said = sqlite_path(url), str(cause_of(error) or error).partition("\n")[0]
    if code_of(error) in BUSY:
        return NotNowError(
            f"{path}: {said}. Another process holds it, or its disk is full; nothing is lost: end "
            "that or make room, and run the same command again"
        )
    return UserError(
        f"{path}: {said}. It is left as it is; let this user write it and its folder, or choose "
        "another folder with --state or another database with --storage"
    )


def ensure_there(path: Path) -> None:
    """Make an empty file, which is an empty database, for all whom the umask lets write it.

    SQLite itself would make one that only its maker may write.
    """
    if path.parent.is_dir():
        with suppress(OSError):
            path.touch()


def users_of(path: Path) -> list[int]:
    """Other processes that have the file open, as far as this user may look."""
    found = set()
    with suppress(OSError):
        file = path.stat()
        for opened in Path("/proc").glob("[0-9]*/fd/*"):
            with suppress(OSError):
                if os.path.samestat(opened.stat(), file):
                    found.add(int(opened.parts[2]))
    return sorted(found - {os.getpid()})


def set_aside(url: str) -> Place | None:
    """Move the file and its companions away; where it is now.

    Raises:
        UserError: Another process has it open, or it cannot be moved.
    """
    path = sqlite_path(url)
    assert path is not None
    if users := users_of(path):
        raise UserError(
            f"{path} is damaged, and process {', '.join(map(str, users))} has it open; end that, "
            "and run the same command again: the file is then set aside and made anew"
        )
    try:
        moved = storage.set_aside(path)
        for suffix in COMPANIONS:
            companion = path.with_name(path.name + suffix)
            if companion.exists():
                storage.set_aside(companion)
    except OSError as error:
        raise UserError(
            f"{path} is damaged and cannot be moved away ({error.strerror}); remove it, or choose "
            "another folder with --state"
        ) from None
    return moved


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
