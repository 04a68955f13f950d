"""Names of encoders, their references by content, and how each is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables import storage
from trainables.data import catalog
from trainables.encoders import embedded, families
from trainables.errors import UserError
from trainables.spec import EncoderRef, Execution

if TYPE_CHECKING:
    from trainables.encoders.text import TextEncoder

IGNORED = re.compile(r"(^|/)(\.[^/]*|onnx|openvino|README\.md|.*\.h5|.*\.msgpack|.*\.ot)(/|$)")
"""Files of a checkpoint folder that cannot change a vector made with torch."""


def is_embedded(name: str) -> bool:
    """Whether the encoder is one of the tiny ones that live in the embedded world."""
    return name.startswith("embedded/")


def reference(name: str, data: str, overrides: Mapping[str, Any]) -> tuple[EncoderRef, str | None]:
    """Name an encoder by content.

    Args:
        name: `embedded/<rung>`, a checkpoint folder, or a hub id.
        data: Name of the benchmark: an embedded encoder knows only the languages of its world.
        overrides: Fields of `EncoderRef` to set instead of the family's own values.

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
        ref = embedded.embedded_ref(name, catalog.world(data))
        return EncoderRef.model_validate(ref.model_dump() | dict(overrides)), None
    folder, digest = _checkpoint(name)
    defaults = families.family_defaults(folder, name)
    fields = {field: getattr(defaults, field) for field in EncoderRef.model_fields.keys() - LABELS}
    label = Path(name).name or name if Path(name).expanduser().is_dir() else name
    return EncoderRef(name=label, digest=digest, **(fields | dict(overrides))), str(folder)


LABELS = {"name", "digest"}
"""Fields of `EncoderRef` that say which encoder it is, not how it reads a text."""


def open_encoder(
    ref: EncoderRef, data: str, places: Mapping[str, str], execution: Execution
) -> TextEncoder:
    """Load the very encoder that `ref` names, in evaluation mode on the execution's device.

    Raises:
        UserError: The checkpoint is not the one that `ref` was made from.
    """
    if is_embedded(ref.name):
        encoder = embedded.build_embedded(ref, catalog.world(data))
        encoder.encode_tokens = execution.encode_tokens
        return encoder.to(execution.device)
    from trainables.encoders.text import TextEncoder

    folder, digest = _checkpoint(places[ref.digest])
    if digest != ref.digest:
        raise UserError(
            f"encoder {ref.name}: {folder} now has content {digest}, but the study was planned "
            f"with {ref.digest}; restore the files, or start a new study with another --name"
        )
    return TextEncoder.load(
        folder, ref, device=execution.device, encode_tokens=execution.encode_tokens
    )


def _checkpoint(name: str) -> tuple[Path, str]:
    """The local folder of a checkpoint and the digest of the files in it that matter."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _hub_folder(name)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"--encoder {name}: {folder} holds no config.json; name a folder as saved by "
            "transformers or sentence-transformers, or a hub id"
        )
    files = {
        relative: path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not IGNORED.search(relative := path.relative_to(folder).as_posix())
    }
    return folder.resolve(), storage.tree_digest(files)


def _hub_folder(name: str) -> Path:
    """The local copy of a hub checkpoint, downloaded with an announcement where it is missing."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise UserError(f"--encoder {name}: neither a folder nor a hub id such as org/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
            raise UserError(
                f"--encoder {name}: no such folder, not in the local hub cache, and "
                "HF_HUB_OFFLINE is set; name a checkpoint folder, or unset it to download"
            ) from None
    print(f"Downloading {name} from the Hugging Face hub (once; kept in its cache) …", flush=True)
    try:
        return Path(
            snapshot_download(name, ignore_patterns=["onnx/*", "openvino/*", "*.h5", "*.msgpack"])
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"--encoder {name}: no such folder, and the hub did not give it "
            f"({type(error).__name__}); check the name and the network, or name a folder"
        ) from None
