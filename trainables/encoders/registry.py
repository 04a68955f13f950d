"""Encoders by name: making their references (`EncoderRef`) and loading them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.data import catalog
from trainables.encoders import embedded
from trainables.encoders.architectures import known_values
from trainables.encoders.embedded import is_embedded
from trainables.encoders.families import named_defaults, sees
from trainables.encoders.files.checkpoints import JOINT, pair_digest, pair_ref, parts_of
from trainables.encoders.files.modules import UNBOUNDED, positions
from trainables.errors import UserError
from trainables.spec import EncoderRef, Execution

if TYPE_CHECKING:
    from trainables.encoders.text import TextEncoder


def reference(name: str, data: str, overrides: Mapping[str, Any]) -> tuple[EncoderRef, str | None]:
    """Make the reference of an encoder, which identifies it by content.

    Args:
        name: `embedded/<size>`, a checkpoint folder, a packaged encoder (`packaged`), or a hub id
            in the hub's local cache; or two checkpoints joined by `+`: one that reads text and one
            with an image tower.
        data: Name of the benchmark: an embedded encoder needs its own world, and images need an
            image tower.
        overrides: Fields of `EncoderRef` that replace the encoder's own values.

    Returns:
        The reference, and the checkpoint's folder (two joined by `+` for two checkpoints; None for
        an embedded encoder).

    Raises:
        UserError: No such encoder, or one that cannot encode these data.
    """
    if is_embedded(name):
        if not catalog.is_embedded(data):
            raise UserError(
                f"encoder {name!r} knows only the embedded world, not {data}; "
                "name a checkpoint folder or a hub id with --encoder"
            )
        if catalog.has_pictures(data) and name not in embedded.PICTURED:
            raise UserError(_no_image_tower(name, data, ", ".join(embedded.PICTURED)))
        ref, folder = embedded.embedded_ref(name, catalog.world(data)), None
    else:
        parts = parts_of(name)
        if catalog.has_pictures(data) and not sees(parts[-1]):
            example = "openai/clip-vit-base-patch32"
            raise UserError(_no_image_tower(name, data, f"{example}, or {name}{JOINT}{example}"))
        ref = pair_ref(parts, _label(name, parts), overrides)
        folder = JOINT.join(str(part.resolve()) for part in parts)
    ref = EncoderRef.model_validate(ref.model_dump() | dict(overrides))
    if folder is None:
        embedded.check_limits(ref)
    return ref, folder


def _label(name: str, parts: Sequence[Path]) -> str:
    """Return the hub ids as given, and the last two parts of paths of folders, joined by `+`."""
    names = [name] if len(parts) == 1 else name.split(JOINT)
    return JOINT.join(
        "/".join(folder.resolve().parts[-2:]) if os.path.isdir(os.path.expanduser(part)) else part
        for part, folder in zip(names, parts, strict=True)
    )


def _no_image_tower(name: str, data: str, instead: str) -> str:
    return (
        f"encoder {name!r} reads only text, and {data} has pictures; name one that sees: {instead}"
    )


def absent(name: str, overrides: Mapping[str, Any]) -> EncoderRef:
    """Make a provisional reference of an encoder without files, from the defaults of its name.

    Raises:
        UserError: A token limit exceeds the encoder's known number of positions.
    """
    defaults = named_defaults(name)
    try:
        limit = positions(Path(name), known_values(name)) or UNBOUNDED
    except UserError:  # not in the table of known encoders
        limit = UNBOUNDED
    for key in ("max_query_tokens", "max_passage_tokens"):
        if overrides.get(key, 0) > limit:
            raise UserError(
                f"encoder {name!r}: {key} is {overrides[key]}, but this encoder has positions for "
                f"{limit} tokens; allowed are 3 to {limit}"
            )
    values = {
        "name": name,
        "digest": f"{catalog.ABSENT} {name}",
        "pooling": defaults.pooling,
        "query_prefix": defaults.query_prefix,
        "passage_prefix": defaults.passage_prefix,
        "max_query_tokens": defaults.tokens,
        "max_passage_tokens": defaults.tokens,
    }
    return EncoderRef.model_validate(values | dict(overrides))


def open_encoder(
    ref: EncoderRef, data: str, places: Mapping[str, str], execution: Execution
) -> TextEncoder:
    """Load the encoder of a reference on the execution's device.

    It is an `ImageTextEncoder` for benchmarks with images, and for any `embedded/clip-...`.

    Args:
        ref: Reference made by `reference`.
        data: Name of the benchmark.
        places: Folders of checkpoints by digest.
        execution: Device, precision and memory layout.

    Raises:
        UserError: The files have changed since the reference was made.
    """
    if is_embedded(ref.name):
        encoder = embedded.build_embedded(ref, catalog.world(data)).to(execution.device)
        encoder.encode_tokens, encoder.precision = execution.encode_tokens, execution.precision
    else:
        encoder = _load(ref, places, execution, catalog.has_pictures(data))
    if execution.recompute_layers:
        encoder.recompute_layers()
    return encoder


def _load(
    ref: EncoderRef, places: Mapping[str, str], execution: Execution, pictures: bool
) -> TextEncoder:
    """Load the checkpoint (or two) of a reference, after checking its digest."""
    from trainables.encoders.images.image_text import ImageTextEncoder
    from trainables.encoders.text import TextEncoder

    path = places[ref.digest]
    folders = parts_of(path)
    if (digest := pair_digest(folders)) != ref.digest:
        raise UserError(
            f"encoder {ref.name}: {path} now has content {digest}, but the study was planned "
            f"with {ref.digest}; restore the files, or start a new study with another --name"
        )
    kind = ImageTextEncoder if pictures else TextEncoder
    return kind.load(
        path if pictures else folders[0],
        ref,
        device=execution.device,
        encode_tokens=execution.encode_tokens,
        precision=execution.precision,
    )
