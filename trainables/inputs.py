"""Data and checkpoints for machines that do not have them: put under the root once, fetched once.

inputs/<digest>/0/…          the files of a folder, and of a second one where two are joined
inputs/<digest>/files.json   names and sizes, created last: without it the input is not there
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables import storage
from trainables.cache import Cache
from trainables.errors import UserError
from trainables.places import Place, files_under

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


def publish(root: Place, digest: str, place: str) -> bool:
    """Put the files of an input under the root, unless they are there.

    Returns:
        Whether they were put there by this call.
    """
    target = root / "inputs" / digest
    if (target / LIST).exists():
        return False
    sizes: dict[str, int] = {}
    for number, folder in enumerate(folders_of(place)):
        for name in files_under(folder):
            source, relative = folder / name, f"{number}/{name}"
            sizes[relative] = source.stat().st_size
            _copy_up(source, target / relative)
    return storage.create_json(target / LIST, sizes)


def fetched(root: Place, digest: str, cache: Cache) -> str:
    """The folder, or two joined, of an input of this machine's cache; fetched by the first caller.

    Raises:
        UserError: It was not put under the root.
    """
    source = root / "inputs" / digest
    if not (source / LIST).exists():
        raise UserError(
            f"data or checkpoint {digest} is not on this machine and not in {source}: copy or "
            "mount its folder here, under the path that it has where the study was started"
        )
    sizes: dict[str, int] = storage.unseal(storage.read(source / LIST))

    def build(draft: Path) -> None:
        for name, size in sizes.items():
            file = draft / name
            if not (file.exists() and file.stat().st_size == size):
                file.parent.mkdir(parents=True, exist_ok=True)
                _copy_down(source / name, file)

    entry = cache.take(f"input-{digest}", build)
    count = len({name.partition("/")[0] for name in sizes})
    return JOINT.join(str(entry / str(number)) for number in range(count))


def at_hand(
    places: Mapping[str, str], spec: str, root: Place, cache: Cache | None
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


def _copy_up(source: Path, target: Place) -> None:
    if isinstance(target, Path):
        storage.write(target, source.read_bytes())
    else:
        target.fs.put_file(str(source), target.path)


def _copy_down(source: Place, target: Path) -> None:
    if isinstance(source, Path):
        storage.write(target, source.read_bytes())
    else:
        source.fs.get_file(source.path, str(target))
