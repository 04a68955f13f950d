"""Paths to files on a local disk, on NFS or in an object store (S3, Google Cloud, Azure).

A path in an object store is a `UPath`, which has the methods of `Path`; most differences between
the two are handled here and in `atomic.py`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, Union
from urllib.parse import urlsplit

from trainables.errors import UserError

if TYPE_CHECKING:
    from upath import UPath

AnyPath = Union[Path, "UPath"]
"""Local file or folder, or object or prefix in a store."""

Item = TypeVar("Item")
Result = TypeVar("Result")

REQUESTS = 16
"""Number of concurrent requests to an object store."""

LONGEST_NAME = 100
"""Maximum number of characters of a name that becomes a folder's."""

MOST_NAME_BYTES = 200
"""The same in bytes of UTF-8: file systems take 255, and some names get a suffix."""

UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of invisible characters, which make different names look equal."""

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs"}
"""Stores that can create an object only if it is absent, and the package that each needs."""


def name_of_folder(name: str, what: str) -> str:
    """Return `name` if it is valid as the name of one folder.

    Args:
        name: From a command line or a file.
        what: Kind of name, for the message.

    Raises:
        UserError: It is a path, empty, too long, or has a character that is not allowed.
    """
    why = ""
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        why = "it must be the name of one folder, not empty, `.`, `..` or a path"
    elif any(unicodedata.category(character) in UNSEEN for character in name):
        why = "it must have no control characters, and none that are not to be seen"
    elif name != unicodedata.normalize("NFC", name.strip()):
        why = "it must neither begin nor end with a blank, and be written in Unicode's form NFC"
    elif len(name) > LONGEST_NAME or len(name.encode()) > MOST_NAME_BYTES:
        why = f"it may have {LONGEST_NAME} characters, and {MOST_NAME_BYTES} bytes in UTF-8"
    if why:
        raise UserError(f"{what} {name[:LONGEST_NAME]!r}: {why}; choose another one")
    return name


LONGEST_PART = 255
"""Maximum number of bytes of one part of a path."""


def is_within(name: str) -> bool:
    """Whether a relative path that was read from a file stays within its folder."""
    parts = name.split("/")
    try:
        longest = max(len(os.fsencode(part)) for part in parts)
    except UnicodeEncodeError:
        return False
    return not {"", ".", ".."} & set(parts) and "\0" not in name and longest <= LONGEST_PART


def own(folder: AnyPath) -> AnyPath:
    """Return `folder` unless it is a link to one of another name.

    Raises:
        UserError: It is such a link.
    """
    if leads_elsewhere(folder):
        raise UserError(
            f"{folder} is a link to {os.readlink(str(folder))}, which has another name; nothing is "
            "read or written there: remove the link"
        )
    return folder


def leads_elsewhere(folder: AnyPath) -> bool:
    """Whether a folder is a link to one of another name, which contradicts its own."""
    if not (isinstance(folder, Path) and os.path.islink(folder)):
        return False
    return os.path.basename(os.path.realpath(folder)) != folder.name


def parse_root(text: str) -> AnyPath:
    """Parse a root into a folder or an object-store prefix, without opening it.

    Raises:
        UserError: A URL with credentials, an unsupported store, or a missing package.
    """
    protocol, separator, _ = text.partition("://")
    if not separator:
        return Path(text)
    parts = urlsplit(text)
    if (
        not parts.netloc
        or ("@" in parts.netloc and protocol != "abfs")
        or parts.query
        or parts.fragment
    ):
        raise UserError(
            f"--root {protocol}://…: a root is {protocol}://bucket/prefix and nothing else; "
            "credentials and endpoints come from the environment (AWS_ACCESS_KEY_ID, "
            "AWS_ENDPOINT_URL, …), because a root is printed and recorded"
        )
    if protocol not in PACKAGES:
        raise UserError(
            f"--root {text}: a store is needed that can create an object only if it is absent, "
            f"which {protocol}:// cannot; choose {', '.join(f'{p}://' for p in PACKAGES)} "
            "or a folder"
        )
    try:
        import_module(PACKAGES[protocol])
        from upath import UPath
    except ImportError:
        extra = "pip install '.[s3]'"
        more = "" if protocol == "s3" else f" and pip install {PACKAGES[protocol]}"
        raise UserError(
            f"--root {text}: {protocol}:// needs packages; in the repository: {extra}{more}"
        ) from None
    return UPath(text.rstrip("/"), use_listings_cache=False)


def open_place(text: str) -> AnyPath:
    """Parse a root like `parse_root`, and check that its store answers.

    Raises:
        UserError: As for `parse_root`, or the store cannot be read.
    """
    place = parse_root(text)
    if not isinstance(place, Path):
        try:
            place.exists()
        except Exception as error:  # each store's client raises errors of its own
            raise UserError(f"--root {text}: {_error_text(error)}; {HINT}") from None
    return place


HINT = "check the bucket's name, the credentials and the endpoint in the environment"


def local_state(root: AnyPath, state: Path | None) -> Path:
    """Return the local folder for what object stores cannot hold: databases, locks, temporaries.

    Args:
        root: Root of everything else.
        state: The user's choice; by default a local root itself, or `runs/state/<name>` for a
            remote one.
    """
    if state is not None:
        return Path(os.path.realpath(state))  # unlike Path.resolve, accepts a link to itself
    if isinstance(root, Path):
        return Path(os.path.realpath(root))
    words = re.sub(r"[^A-Za-z0-9]+", "-", str(root)).strip("-")[:60]
    name = f"{words}-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"
    return Path("runs/state", name).resolve()


def put(place: UPath, content: bytes | memoryview) -> None:
    """Write an object atomically: readers find the old content or the new."""
    place.fs.pipe_file(place.path, bytes(content))


def put_new(place: UPath, content: bytes) -> bool:
    """Create an object unless it exists, by a conditional PUT: exactly one caller succeeds."""
    try:
        place.fs.pipe_file(place.path, content, mode="create")
    except FileExistsError:
        return False
    return True


def age(place: UPath) -> float:
    """Return the seconds since an object was written, by the store's own clock."""
    probe = place.parent / f".probe-{uuid.uuid4().hex}"
    put(probe, b"")
    now = place.fs.modified(probe.path)
    probe.unlink()
    return float((now - place.fs.modified(place.path)).total_seconds())


def ensure_exclusive(root: UPath) -> None:
    """Check that the store is writable and honours conditional PUTs.

    Raises:
        UserError: Writing fails, or a conditional PUT replaces an object.
    """
    probe = root / f".probe-{uuid.uuid4().hex}"
    try:
        twice = put_new(probe, b"first"), put_new(probe, b"second")
        probe.unlink()
    except Exception as error:  # each store's client raises errors of its own
        raise UserError(
            f"--root {root}: cannot write there ({_error_text(error)}); {HINT}"
        ) from None
    if twice != (True, False):
        raise UserError(
            f"--root {root}: this store ignores `If-None-Match: *`, so two workers could both "
            "commit a trial; choose one with conditional writes, or a folder"
        )


@contextmanager
def staging_folder(place: AnyPath) -> Iterator[Path]:
    """Yield a local folder whose files end up in `place`: itself, or one that is uploaded."""
    if isinstance(place, Path):
        place.mkdir(parents=True, exist_ok=True)
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="study-upload-") as name:
        yield Path(name)
        for file in sorted(path for path in Path(name).rglob("*") if path.is_file()):
            target = place / file.relative_to(name).as_posix()
            place.fs.put_file(str(file), target.path)


def map_parallel(
    root: AnyPath, call: Callable[[Item], Result], items: Iterable[Item]
) -> list[Result]:
    """Call a function for each item, in order; on a store concurrently, as calls mostly wait."""
    if isinstance(root, Path):
        return [call(item) for item in items]
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(call, items))


def matching(folder: AnyPath, pattern: str) -> list[AnyPath]:
    """List the paths under a folder that match a pattern, sorted by name."""
    return sorted(folder.glob(pattern), key=str)


def files_under(place: AnyPath) -> list[str]:
    """List all files of a folder by sorted relative name, following links to folders."""
    if isinstance(place, Path):
        files = walk(place) if place.is_dir() else ()
        return sorted(path.relative_to(place).as_posix() for path in files)
    prefix = place.path.rstrip("/") + "/"
    return sorted(name.removeprefix(prefix) for name in place.fs.find(place.path))


def walk(folder: Path, hidden: bool = True, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the files of a local folder recursively by name; follow links, but not to parents."""
    here = folder.resolve()
    if here in above:
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not hidden and entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from walk(Path(entry.path), hidden, (*above, here))
        elif entry.is_file():
            yield Path(entry.path)


def size(place: AnyPath) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    if isinstance(place, Path):
        files = walk(place) if place.is_dir() else [place]
        return sum(file.stat().st_size for file in files if file.is_file())
    return int(sum(place.fs.du(place.path, total=False).values()))


def is_own_file(path: Path) -> bool:
    """Whether a path is a regular file of this user, and not a link, pipe or device."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def remove(place: AnyPath) -> None:
    """Remove a file, a link or a folder with all its files, if it exists."""
    if not isinstance(place, Path):
        with suppress(FileNotFoundError):
            place.fs.rm(place.path, recursive=True)
    elif place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _error_text(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
