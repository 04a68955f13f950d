"""Locate the image files that captions name; refuse names that lead out of the data folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from trainables.data.formats.reading import BadRowError
from trainables.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""File name extensions of images, in either case."""


def file_name(text: str) -> str:
    """Return the name of an image file, checked to stay in its folder.

    Raises:
        BadRowError: It is absolute, climbs out of its folder, or is not a name at all.
    """
    path = PurePosixPath(text.replace("\\", "/"))
    if not path.name or path.is_absolute() or ".." in path.parts or ":" in text or "\0" in text:
        raise BadRowError(f"image {text!r} is not the name of a file inside the data folder")
    return str(path)


def photograph(name: str) -> str:
    """Return the name of a Flickr30k or COCO photograph that all sources share.

    `COCO_val2014_000000184386.jpg` is `coco:184386`, `1007129816.jpg` is `flickr:1007129816`.
    """
    stem = PurePosixPath(name).stem
    number = stem.rpartition("_")[2]
    if stem.startswith("COCO_") and number.isdigit():
        return f"coco:{int(number)}"
    return f"flickr:{stem}"


def find_images(
    names: Sequence[str], starts: Sequence[Path], roots: Sequence[Path], source: str
) -> dict[str, Path]:
    """Find image files: by their names relative to one of `starts`, else anywhere in a root.

    Args:
        names: As `file_name` returns them.
        starts: Folders that names may be relative to, tried in this order.
        roots: Folders searched to any depth for the remaining names, in this order.
        source: Name of the source, for messages.

    Returns:
        Name to path, for those that exist.

    Raises:
        UserError: A link leads to a file outside the roots, or two files match one name.
    """
    paths = {}
    for name in names:
        if (path := _direct(name, starts, roots)) is not None:
            paths[name] = path
    for root in roots:
        if missing := [name for name in names if name not in paths]:
            index = image_files(root)
            for name in missing:
                if (path := _indexed(name, index, source)) is not None:
                    paths[name] = path
    return paths


def image_files(folder: Path) -> dict[str, list[Path]]:
    """Return image files below a folder by their base names, without hidden ones."""
    files: dict[str, list[Path]] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and PurePosixPath(name).suffix.lower() in SUFFIXES:
                files.setdefault(name, []).append(Path(place, name))
    return files


def _direct(name: str, starts: Sequence[Path], roots: Sequence[Path]) -> Path | None:
    """Return the file that a name leads to from the first of `starts` that has it."""
    path = next((start / name for start in starts if os.path.isfile(start / name)), None)
    if path is None:
        return None
    target = Path(os.path.realpath(path))
    if not any(target.is_relative_to(root.resolve()) for root in roots):
        raise UserError(
            f"image {path} leads to {target}, outside of {roots[-1]}; copy the file there, or name "
            "the folder that holds both with --data-dir"
        )
    return path


def _indexed(name: str, index: Mapping[str, Sequence[Path]], source: str) -> Path | None:
    """Return the only file whose path ends with `name`."""
    parts = PurePosixPath(name).parts
    paths = [
        path
        for path in index.get(parts[-1], ())
        if path.parts[-len(parts) :] == parts and not path.is_symlink()
    ]
    if len(paths) > 1:
        raise UserError(
            f"{source}: image {name} lies in {paths[0]} and in {paths[1]}; keep the right one"
        )
    return paths[0] if paths else None
