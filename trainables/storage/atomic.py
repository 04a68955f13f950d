"""Writing files so that a reader finds all of one or none of it, and only one writer wins.

The same on local disks, on NFS and in object stores; only how it is done differs.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import re
import stat
import time
import uuid
from pathlib import Path
from typing import Any

from trainables.errors import NotNowError, UserError
from trainables.failures import lacking
from trainables.storage import paths as places
from trainables.storage.paths import AnyPath

SEAL = "seal"
"""The key that holds a JSON file's checksum of itself."""

SMALL_BYTES = 1_000_000
"""A file below this is read whole."""

BLOCK_BYTES = 16_000_000
"""What is read at once of an object."""

SPARE_BYTES = 50_000_000
"""Left free by a save, for results and databases."""


class NoRoomError(OSError):
    """The disk is too full to save."""


def write(path: AnyPath, content: bytes | memoryview) -> None:
    """Replace the file at `path` in one step; a crash leaves the old content or the new."""
    if not isinstance(path, Path):
        places.put(path, content)
        return
    temporary = _write_beside(path, content)
    os.replace(temporary, path)


def create(path: AnyPath, content: bytes) -> bool:
    """Create the file at `path` with all of `content`, unless it exists.

    Returns:
        Whether this call created it: of many concurrent callers exactly one gets True. A hard
        link of a finished file is atomic on local disks and on NFS, a conditional PUT in stores.
    """
    if not isinstance(path, Path):
        return places.put_new(path, content)
    temporary = _write_beside(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def write_json(path: AnyPath, value: Any) -> None:
    """Write `value` as sorted JSON in one step."""
    write(path, to_json(value))


def create_json(path: AnyPath, value: Any) -> bool:
    """Create the file with `value` as sorted JSON, unless it exists; say whether it was created."""
    return create(path, to_json(value))


def to_json(value: Any) -> bytes:
    """The bytes of a JSON file: sorted keys, a line each, no NaN."""
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def seal(value: dict[str, Any]) -> bytes:
    """The bytes of a JSON file that can tell whether it is still as it was written.

    Its first line holds the SHA-256 of all others.
    """
    return seal_lines(to_json(value))


def seal_lines(content: bytes) -> bytes:
    """As `seal`, of a JSON object already written with a line for each key."""
    rest = content.partition(b"\n")[2]
    return f'{{"{SEAL}": "{hashlib.sha256(rest).hexdigest()}",\n'.encode() + rest


def unseal(content: bytes) -> dict[str, Any]:
    """What `seal` was given; JSON without a seal is read as it is.

    Raises:
        ValueError: The content is not what was written.
    """
    value = parsed(content)
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    if content.startswith(f'{{"{SEAL}"'.encode()):
        rest = content.partition(b"\n")[2]
        if value.pop(SEAL, None) != hashlib.sha256(rest).hexdigest():
            raise ValueError("its content is not what was written (checksum)")
    return value


def parsed(content: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: It is none, or nested as nothing is that this project writes.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("values within values without end") from None


def set_aside(path: AnyPath, into: AnyPath | None = None) -> AnyPath | None:
    """Move a damaged file or folder out of the way, under a name that nothing else has.

    Args:
        path: What is damaged.
        into: Where to; its own folder by default.

    Returns:
        Where it is now; None where it was gone.
    """
    folder = into or path.parent
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count():
        target = folder / f"{path.name}.damaged-{stamp}{f'-{number}' if number else ''}"
        if target.exists():
            continue
        try:
            _move(path, target)
        except FileNotFoundError:
            return None
        return target
    raise AssertionError


def _move(path: AnyPath, target: AnyPath) -> None:
    """Rename; a store copies first, so that a crash leaves two rather than none."""
    if isinstance(path, Path):
        path.rename(str(target))
        return
    path.fs.copy(path.path, str(target), recursive=path.is_dir())
    path.fs.rm(path.path, recursive=True)


def remove_leftovers(folder: AnyPath) -> None:
    """Remove what writers killed in the middle of `write` or `create` left in a folder."""
    if not isinstance(folder, Path):
        return  # a PUT that was cut short leaves nothing
    for path in folder.glob(".*"):
        if re.fullmatch(r"\..+\.[0-9a-f]{32}", path.name):
            path.unlink(missing_ok=True)


def ensure_room(folder: AnyPath, size: int) -> None:
    """Check that a file of `size` bytes can be written and something is left.

    Raises:
        NoRoomError: It cannot; a store has room.
    """
    if not isinstance(folder, Path):
        return
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < size + SPARE_BYTES:
        raise NoRoomError(
            f"{free / 1e6:,.0f} MB free, {(size + SPARE_BYTES) / 1e6:,.0f} MB needed in {folder}"
        )


def plain(name: str, flags: int) -> int:
    """Open a file that others may have put there: nothing that waits, or that has no end.

    Raises:
        IsADirectoryError: It is a folder, or a pipe or a device.
    """
    file = os.open(name, flags | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EISDIR, "it is no plain file", name)
    return file


def unlinked(name: str, flags: int) -> int:
    """As `plain`, to be written to: no link either, which could lead anywhere."""
    return plain(name, flags | os.O_NOFOLLOW)


def read(path: AnyPath | str) -> bytes:
    """All bytes of a small file."""
    if not isinstance(path, (Path, str)):
        return bytes(path.read_bytes())
    with open(path, "rb", buffering=0, opener=plain) as file:
        return file.readall()


def sha256(path: AnyPath | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    if not isinstance(path, (Path, str)):
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()
    with open(path, "rb", buffering=0, opener=plain) as file:
        if os.fstat(file.fileno()).st_size < SMALL_BYTES:
            return hashlib.sha256(file.readall()).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(files: dict[str, Path]) -> str:
    """20 hexadecimal digits that name these files by relative name and content."""
    lines = [f"{sha256(files[name])}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:20]


def ensure_writable(folder: AnyPath, free_bytes: int, option: str = "--root") -> None:
    """Make `folder` and check that files can be written there.

    Args:
        folder: Local or remote.
        free_bytes: That its disk must have left.
        option: Of the command line, which chooses another folder.

    Raises:
        UserError: It cannot be made or written, or its disk has less than `free_bytes` left, or
            it is a store where two could create the same object.
    """
    if not isinstance(folder, Path):
        places.ensure_exclusive(folder)
        return
    above = Path(os.path.realpath(folder)).parents
    there = next((path for path in (folder, *above) if path.is_dir()), folder)
    try:
        disk = os.statvfs(there)
        if (free := disk.f_bavail * disk.f_frsize) < free_bytes:
            raise NotNowError(
                f"{option} {folder}: {free / 1e6:,.0f} MB free, {free_bytes / 1e6:,.0f} MB needed; "
                f"free some space or choose another disk with {option}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{uuid.uuid4().hex}"
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        raise (NotNowError if lacking(error) else UserError)(
            f"{option} {folder}: cannot write there ({error.strerror}); "
            f"choose another folder with {option} or mend its permissions"
        ) from None


def _write_beside(path: Path, content: bytes | memoryview) -> Path:
    """Write and flush `content` to a new file in the folder of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = error.filename or str(path)
        raise
    return temporary
