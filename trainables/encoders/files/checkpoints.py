"""Where the towers of an encoder come from: one checkpoint, or two joined by `+`.

Knows no torch and no transformers, so a plan can be made without either.
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
"""Between the text tower's checkpoint and that of the image tower."""


def parts_of(source: str | Path, *, download: bool = False) -> list[Path]:
    """Folders of the text tower and of the image tower, one where both are in the same.

    Args:
        source: A folder or hub id, or two joined by `+`.
        download: Whether the hub may be asked for what the cache lacks.

    Raises:
        UserError: More than two, or no such checkpoint.
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
    """20 hexadecimal digits that name one checkpoint, or two in this order."""
    digests = [checkpoint_digest(folder) for folder in folders]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:20]


def pair_ref(
    folders: Sequence[Path],
    name: str | None = None,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> EncoderRef:
    """The encoder of one or two checkpoints, with the defaults of its text tower.

    Args:
        folders: As `parts_of` gives them.
        name: As it was asked for; the folders' own names where None.
        given: Fields of `EncoderRef` that replace the text tower's own.
    """
    named = name or JOINT.join(folder.resolve().name for folder in folders)
    ref = encoder_ref(folders[0], named.split(JOINT)[0], given)
    return ref.model_copy(update={"name": named, "digest": pair_digest(folders)})
