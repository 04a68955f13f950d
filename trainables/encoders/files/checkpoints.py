"""Checkpoints of an encoder: one, or those of a text tower and an image tower joined by `+`.

Imports neither torch nor transformers; only checks of a checkpoint's configuration load them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trainables.encoders.families import checkpoint_digest, encoder_ref, find_checkpoint
from trainables.errors import UserError
from trainables.spec import EncoderRef

JOINT = "+"
"""Separator between the checkpoints of a text tower and an image tower."""


def parts_of(source: str | Path, *, download: bool = False) -> list[Path]:
    """Return the folders of text tower and image tower, or one folder that holds both.

    Args:
        source: Folder, packaged name or hub id, or two joined by `+`.
        download: Whether to ask the hub for what the cache lacks.

    Raises:
        UserError: More than two are named, or there is no such checkpoint.
    """
    names = [str(source)] if os.path.isdir(os.path.expanduser(source)) else str(source).split(JOINT)
    if len(names) > 2 or not all(names):
        raise UserError(
            f"encoder {str(source)!r}: name a text tower and an image tower as TEXT{JOINT}IMAGES, "
            "each a folder or a hub id"
        )
    folders = [Path(os.path.expanduser(name)) for name in names]
    return [
        find_checkpoint(folder if os.path.isdir(folder) else name, download=download)
        for folder, name in zip(folders, names, strict=True)
    ]


def pair_digest(folders: Sequence[Path]) -> str:
    """Return 20 hexadecimal digits that identify one checkpoint, or two in this order."""
    digests = [checkpoint_digest(folder) for folder in folders]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:20]


def pair_ref(
    folders: Sequence[Path],
    name: str | None = None,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> EncoderRef:
    """Return the reference of an encoder of one or two checkpoints, with the text tower's defaults.

    Args:
        folders: As returned by `parts_of`.
        name: Name that was requested; None for the folders' own names.
        given: Fields of `EncoderRef` that replace the text tower's own.
    """
    named = name or JOINT.join(folder.resolve().name for folder in folders)
    ref = encoder_ref(folders[0], named.split(JOINT)[0], given)
    return ref.model_copy(update={"name": named, "digest": pair_digest(folders)})
