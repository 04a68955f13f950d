"""Data and checkpoints for machines that do not have them: put under the root once, fetched once.

inputs/<digest>/0/…          the files of a folder, and of a second one where two are joined
inputs/<digest>/files.json   the digest, names and SHA-256, written last: without it, or with
                             another digest in it, the input is not there
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
"""Between the folders of a text tower and of an image tower."""

LIST = "files.json"


def folders_of(place: str) -> list[Path]:
    """The folder of some data or checkpoint, or the two that are joined."""
    return [Path(place)] if Path(place).is_dir() else [Path(part) for part in place.split(JOINT)]


def absent(places: Mapping[str, str]) -> list[str]:
    """Digests of those whose folders are not on this machine."""
    return [
        digest
        for digest, place in places.items()
        if not all(folder.exists() for folder in folders_of(place))
    ]


def publish(root: AnyPath, digest: str, place: str) -> bool:
    """Put the files of an input under the root, unless they are there.

    Returns:
        Whether they were put there by this call.
    """
    target = _folder(root, digest)
    if _listed(target) is not None:
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
    """The folder, or two joined, of an input of this machine's cache; fetched by the first caller.

    Raises:
        UserError: It was not put under the root, or is not as it was put there.
    """
    source = _folder(root, digest)
    files = _listed(source)
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


def _listed(folder: AnyPath) -> dict[str, str] | None:
    """SHA-256 by name of the files of an input; None where it is not there, or another's."""
    try:
        value = storage.unseal(storage.read(folder / LIST))
        named, files = value["digest"], dict(value["files"])
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None
    return files if named == folder.name and files and all(map(is_within, files)) else None


def at_hand(
    places: Mapping[str, str], spec: str, root: AnyPath, cache: Cache | None
) -> dict[str, str]:
    """The folders of a trial's inputs on this machine; those that are not here are fetched.

    Args:
        places: Digest to folder, where the study was started.
        spec: Of the trial, as JSON: it names the digests that it reads.
        root: Under which they were put.
        cache: Of this machine; None where it can have none.
    """
    mine: dict[str, Any] = {name: place for name, place in places.items() if name in spec}
    for digest in absent(mine) if cache else ():
        assert cache is not None
        mine[digest] = fetched(root, digest, cache)
    return {**places, **mine}


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
