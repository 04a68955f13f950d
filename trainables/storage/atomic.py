"""Atomic files: a reader finds all of a file or nothing, and only one of several writers wins.

Local disks, NFS and object stores give the same guarantees by different means.
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
"""Key of the checksum that a JSON file holds of itself."""

READ_BYTES = 65_536
"""Size in bytes of one read of a small file."""

SMALL_BYTES = 1_000_000
"""Size in bytes below which a file is read in one piece."""

BLOCK_BYTES = 16_000_000
"""Bytes of an object that are read at a time."""

SPARE_BYTES = 50_000_000
"""Bytes that a save leaves free on the disk, for results and databases."""


class NoRoomError(OSError):
    """The disk is too full to save."""


def write(path: AnyPath, content: bytes | memoryview) -> None:
    """Replace the file at `path` atomically; a crash leaves the old content or the new."""
    if not isinstance(path, Path):
        places.put(path, content)
        return
    temporary = _write_beside(path, content)
    os.replace(temporary, path)


def create(path: AnyPath, content: bytes) -> bool:
    """Create the file at `path` with all of `content`, unless it exists.

    A hard link to a finished file is atomic on local disks and NFS, a conditional PUT in stores.

    Returns:
        Whether this call created it: exactly one of many concurrent callers gets True.
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
    """Write `value` atomically as JSON with sorted keys."""
    write(path, to_json(value))


def create_json(path: AnyPath, value: Any) -> bool:
    """Create a file of JSON with sorted keys unless it exists; return whether this call did."""
    return create(path, to_json(value))


def to_json(value: Any) -> bytes:
    """Encode JSON with sorted keys, one per line, and without NaN."""
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def seal(value: dict[str, Any]) -> bytes:
    """Encode JSON so that a later change of the file is detected.

    The first line holds the SHA-256 of all others.
    """
    return seal_lines(to_json(value))


def seal_lines(content: bytes) -> bytes:
    """Seal a JSON object that is already encoded with one key per line."""
    rest = content.partition(b"\n")[2]
    return f'{{"{SEAL}": "{hashlib.sha256(rest).hexdigest()}",\n'.encode() + rest


def unseal(content: bytes) -> dict[str, Any]:
    """Decode what `seal` encoded; JSON without a seal is read unchecked.

    Raises:
        ValueError: The content is no JSON object, or not what was written.
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
    """Parse JSON.

    Raises:
        ValueError: It is invalid, or nested too deeply for anything this project writes.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("values within values without end") from None


def set_aside(path: AnyPath, into: AnyPath | None = None) -> AnyPath | None:
    """Move a damaged file or folder out of the way, to a name that is not in use.

    Args:
        path: Damaged file or folder.
        into: Folder to move it to; its own by default.

    Returns:
        New path; None if it no longer existed.
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
    """Rename; an object store copies first, so that a crash leaves two copies rather than none."""
    if isinstance(path, Path):
        path.rename(str(target))
        return
    path.fs.copy(path.path, str(target), recursive=path.is_dir())
    path.fs.rm(path.path, recursive=True)


def remove_leftovers(folder: AnyPath) -> None:
    """Remove temporary files that killed writers (`write`, `create`) left in a folder."""
    if not isinstance(folder, Path):
        return  # an interrupted PUT leaves nothing
    for path in folder.glob(".*"):
        if re.fullmatch(r"\..+\.[0-9a-f]{32}", path.name):
            path.unlink(missing_ok=True)


def ensure_room(folder: AnyPath, size: int) -> None:
    """Check that a disk has room for a file of `size` bytes and `SPARE_BYTES` more.

    Raises:
        NoRoomError: The disk is too full; an object store never is.
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
    """Open a file that others may have put there, unless reading it could block or never end.

    Raises:
        IsADirectoryError: It is a folder, pipe or device.
    """
    file = os.open(name, flags | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EISDIR, "it is no plain file", name)
    return file


def unlinked(name: str, flags: int) -> int:
    """Open for writing like `plain`, refusing symbolic links, which could lead anywhere."""
    return plain(name, flags | os.O_NOFOLLOW)


def read(path: AnyPath | str) -> bytes:
    """Read a small file."""
    if not isinstance(path, (Path, str)):
        return bytes(path.read_bytes())
    # without a file object, which takes longer than reading does: a study has a hundred thousand
    file = plain(os.fspath(path), os.O_RDONLY)
    try:
        blocks = []
        while block := os.read(file, READ_BYTES):
            blocks.append(block)
        return b"".join(blocks)
    finally:
        os.close(file)


def sha256(path: AnyPath | str) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    if not isinstance(path, (Path, str)):
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()
    if os.stat(path).st_size < SMALL_BYTES:
        return hashlib.sha256(read(path)).hexdigest()
    with open(path, "rb", buffering=0, opener=plain) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(files: dict[str, Path]) -> str:
    """Return 20 hexadecimal digits that identify files by relative name and content."""
    lines = [f"{sha256(files[name])}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:20]


def ensure_writable(folder: AnyPath, free_bytes: int, option: str = "--root") -> None:
    """Create `folder` and check that files can be written there.

    Args:
        folder: Local folder, or prefix in an object store.
        free_bytes: Bytes that its disk must have free.
        option: Command-line option to choose another folder, for messages.

    Raises:
        UserError: It cannot be created or written, its disk has less than `free_bytes` free, or
            it is in a store where two writers could create the same object.
    """
    if not isinstance(folder, Path):
        places.ensure_exclusive(folder)
        return
    parents = Path(os.path.realpath(folder)).parents
    existing = next((path for path in (folder, *parents) if path.is_dir()), folder)
    try:
        disk = os.statvfs(existing)
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
    """Write and flush `content` to a new hidden file in the folder of `path`."""
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
