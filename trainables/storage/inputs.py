"""Inputs (data and checkpoints) for machines that lack them: published once under the root.

inputs/<digest>/0/…          files of a folder; `1/…` those of a second one, where two are joined
inputs/<digest>/files.json   digest, names and SHA-256, written last: without it, or with another
                             digest in it, the input is not there
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainables.errors import UserError
from trainables.storage import atomic as storage
from trainables.storage.cache import Cache
from trainables.storage.paths import AnyPath, files_under, is_within, name_of_folder

JOINT = "+"
"""Separator between the folders of a text tower and of an image tower."""

LIST = "files.json"


def folders_of(place: str) -> list[Path]:
    """Split a place into its folder, or the two folders that it joins."""
    return [Path(place)] if Path(place).is_dir() else [Path(part) for part in place.split(JOINT)]


def absent(places: Mapping[str, str]) -> list[str]:
    """List the digests whose folders are not on this machine."""
    return [
        digest
        for digest, place in places.items()
        if not all(folder.exists() for folder in folders_of(place))
    ]


def publish(root: AnyPath, digest: str, place: str) -> bool:
    """Copy the files of an input under the root, unless they are there.

    Returns:
        Whether this call copied them.
    """
    target = _folder(root, digest)
    if _read_list(target) is not None:
        return False
    files: dict[str, str] = {}
    for number, folder in enumerate(folders_of(place)):
        for name in files_under(folder):
            source, relative = folder / name, f"{number}/{name}"
            files[relative] = storage.sha256(source)
            _copy_up(source, target / relative)
    storage.write(target / LIST, storage.seal({"digest": digest, "files": files}))
    return True


def fetched(root: AnyPath, digest: str, cache: Cache) -> str:
    """Return an input's folder, or two joined, in this machine's cache; fetch it on first use.

    Raises:
        UserError: It was not published under the root, or was changed there.
    """
    source = _folder(root, digest)
    files = _read_list(source)
    if files is None:
        raise UserError(
            f"data or checkpoint {digest} is not on this machine and not in {source}: copy or "
            "mount its folder here, under the path that it has where the study was started"
        )

    def build(draft: Path) -> None:
        for name, expected in files.items():
            file = draft / name
            if file.exists() and storage.sha256(file) == expected:
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError, IsADirectoryError):
                _copy_down(source / name, file)
            if not file.is_file() or storage.sha256(file) != expected:
                raise UserError(
                    f"{source / name} is not as it was put there; remove {source} and run the "
                    "command again where the study was started"
                )

    entry = cache.take(f"input-{digest}", build)
    count = len({name.partition("/")[0] for name in files})
    return JOINT.join(str(entry / str(number)) for number in range(count))


def _folder(root: AnyPath, digest: str) -> AnyPath:
    return root / "inputs" / name_of_folder(digest, "input")


def _read_list(folder: AnyPath) -> dict[str, str] | None:
    """Read the SHA-256 of an input's files by name; None if absent or of another digest."""
    try:
        value = storage.unseal(storage.read(folder / LIST))
        named, files = value["digest"], dict(value["files"])
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None
    return files if named == folder.name and files and all(map(is_within, files)) else None


def at_hand(
    places: Mapping[str, str], spec: str, root: AnyPath, cache: Cache | None
) -> dict[str, str]:
    """Return the folders of a trial's inputs on this machine, fetching the missing ones.

    Args:
        places: Folders by digest, on the machine where the study was started.
        spec: The trial's spec as JSON, which contains the digests that it reads.
        root: Root under which inputs were published.
        cache: Cache of this machine; None fetches nothing.
    """
    needed: dict[str, Any] = {name: place for name, place in places.items() if name in spec}
    for digest in absent(needed) if cache else ():
        assert cache is not None
        needed[digest] = fetched(root, digest, cache)
    return {**places, **needed}


def _copy_up(source: Path, target: AnyPath) -> None:
    if isinstance(target, Path):
        storage.write(target, storage.read(source))
    else:
        target.fs.put_file(str(source), target.path)


def _copy_down(source: AnyPath, target: Path) -> None:
    if isinstance(source, Path):
        storage.write(target, storage.read(source))
    else:
        source.fs.get_file(source.path, str(target))
