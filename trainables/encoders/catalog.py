"""Names of encoders, their references by content, and how each is opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.data import catalog
from trainables.encoders import embedded
from trainables.encoders.families import (
    checkpoint_digest,
    encoder_ref,
    find_checkpoint,
    named_defaults,
)
from trainables.errors import UserError
from trainables.spec import EncoderRef, Execution

if TYPE_CHECKING:
    from trainables.encoders.text import TextEncoder


def is_embedded(name: str) -> bool:
    """Whether the encoder is one of the tiny ones that live in the embedded world."""
    return name.startswith("embedded/")


def reference(name: str, data: str, overrides: Mapping[str, Any]) -> tuple[EncoderRef, str | None]:
    """Name an encoder by content.

    Args:
        name: `embedded/<rung>`, a checkpoint folder, or a hub id in the hub's local cache.
        data: Name of the benchmark: an embedded encoder knows only the languages of its world.
        overrides: Fields of `EncoderRef` to set instead of the encoder's own values.

    Returns:
        The reference, and the folder it was read from (None for embedded encoders).

    Raises:
        UserError: No such encoder, or one that cannot read these data.
    """
    if is_embedded(name):
        if not catalog.is_embedded(data):
            raise UserError(
                f"encoder {name!r} knows only the embedded world, not {data}; "
                "name a checkpoint folder or a hub id with --encoder"
            )
        ref, folder = embedded.embedded_ref(name, catalog.world(data)), None
    else:
        found = find_checkpoint(
            Path(name).expanduser() if Path(name).expanduser().is_dir() else name
        )
        label = (
            name if not Path(name).expanduser().is_dir() else "/".join(found.resolve().parts[-2:])
        )
        ref, folder = encoder_ref(found, label), str(found.resolve())
    return EncoderRef.model_validate(ref.model_dump() | dict(overrides)), folder


def absent(name: str, overrides: Mapping[str, Any]) -> EncoderRef:
    """Name an encoder whose files are not at hand: its name decides what its files usually say."""
    defaults = named_defaults(name)
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
    """Load the very encoder that `ref` names, on the execution's device.

    Raises:
        UserError: The checkpoint is not the one that `ref` was made from.
    """
    if is_embedded(ref.name):
        encoder = embedded.build_embedded(ref, catalog.world(data)).to(execution.device)
        encoder.encode_tokens, encoder.precision = execution.encode_tokens, execution.precision
    else:
        encoder = _load(ref, places, execution)
    if execution.recompute_layers:
        encoder.recompute_layers()
    return encoder


def _load(ref: EncoderRef, places: Mapping[str, str], execution: Execution) -> TextEncoder:
    """Load a checkpoint from its folder."""
    from trainables.encoders.text import TextEncoder

    folder = Path(places[ref.digest])
    if (digest := checkpoint_digest(folder)) != ref.digest:
        raise UserError(
            f"encoder {ref.name}: {folder} now has content {digest}, but the study was planned "
            f"with {ref.digest}; restore the files, or start a new study with another --name"
        )
    return TextEncoder.load(
        folder,
        ref,
        device=execution.device,
        encode_tokens=execution.encode_tokens,
        precision=execution.precision,
    )
