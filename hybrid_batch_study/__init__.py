"""The installed package, with `study` and `trainables` inside so that they clash with no others.

In a checkout they lie beside this folder. `hybrid-batch-study COMMAND` and `python -m
hybrid_batch_study COMMAND` do what `python -m study COMMAND` does in a checkout.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
HOME = _HERE if (_HERE / "study").is_dir() else _HERE.parent
"""Folder with `study` and `trainables`, which is put on `sys.path`."""

if str(HOME) not in sys.path:
    sys.path.insert(0, str(HOME))


PUBLIC = {
    "TextEncoder": "trainables.encoders.text",
    "evaluate": "trainables.evaluation.evaluate",
    "finetune": "trainables.finetune",
    "load_benchmark": "trainables.data.catalog",
}
"""Modules of the public names, which are imported on first use."""


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(PUBLIC[name]), name)


def main() -> None:
    """Run a command line; PYTHONPATH makes its subprocesses import this copy."""
    paths = [str(HOME), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    from study.cli.entry import command

    sys.exit(command(sys.argv[1:]))
