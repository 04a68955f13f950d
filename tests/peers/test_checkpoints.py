"""Checkpoint folders encoded by sentence-transformers 6 and by this project: the same vectors."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.peers.folders import FOLDERS, REFUSED
from tests.peers.refused import REFUSED as REASONS
from trainables.encoders.text import TextEncoder
from trainables.errors import DataError

PEERS = Path(__file__).parents[2] / ".peers" / "bin" / "python"

pytestmark = pytest.mark.slow

TEXTS = [
    "A man is eating food.",
    "a MAN is eating FOOD!",
    "The quick brown fox jumps over the lazy dog. " * 6,
    "Ein Mann isst Brot; die STRASSE heißt Straße, der Fluß endet im Meer.",
    "Человек ЕСТ хлеб. Река впадает в море.",  # noqa: RUF001
    "مرحبا بالعالم",
    "水は海に入る。",
    " ",
    "🦊 fox",
    "ﬁne \u200b\u00a0 e\u0301tude\tof\nlines",
    "fox",
]
ROLES = ("q", "d")


def ours(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Vectors of queries and documents."""
    encoder = TextEncoder.load(folder)
    return {"q": encoder.encode_queries(TEXTS, "en"), "d": encoder.encode_passages(TEXTS, "en")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """All folders that load, by name."""
    root = tmp_path_factory.mktemp("folders")
    return {name: make(root / str(i)) for i, (name, make) in enumerate(FOLDERS.items())}


def theirs(folders: Mapping[str, Path], place: Path) -> dict[str, NDArray[np.float32]]:
    """What sentence-transformers makes of these folders: `q name` and `d name` to vectors."""
    if not PEERS.exists():
        pytest.skip(f"the peers' environment is absent ({PEERS}): make peers")
    task = {"folders": {k: str(v) for k, v in folders.items()}, "texts": TEXTS, "out": str(place)}
    (place / "task.json").write_text(json.dumps(task), encoding="utf-8")
    script = Path(__file__).with_name("peers_encode.py")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    command = [str(PEERS), str(script), str(place / "task.json")]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    assert json.loads((place / "errors.json").read_text(encoding="utf-8")) == {}
    with np.load(place / "vectors.npz") as vectors:
        return dict(vectors)


@pytest.fixture(scope="module")
def expected(
    made: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, NDArray[np.float32]]:
    """What sentence-transformers makes of the folders."""
    return theirs(made, tmp_path_factory.mktemp("theirs"))


@pytest.mark.parametrize("name", FOLDERS)
def test_vectors_equal_those_of_sentence_transformers(
    name: str, made: Mapping[str, Path], expected: Mapping[str, NDArray[np.float32]]
) -> None:
    for role, vectors in ours(made[name]).items():
        np.testing.assert_allclose(vectors, expected[f"{role} {name}"], rtol=0, atol=1e-5)


def test_folders_differ_so_a_setting_that_is_passed_over_would_be_noticed(
    expected: Mapping[str, NDArray[np.float32]],
) -> None:
    both = {name: [expected[f"{role} {name}"] for role in ROLES] for name in FOLDERS}
    alike = [
        (first, second)
        for first, second in combinations(both, 2)
        if np.shape(both[first]) == np.shape(both[second])
        and np.abs(np.subtract(both[first], both[second])).max() < 1e-3
    ]
    assert alike == []


def test_saved_folders_are_read_alike_by_both(
    made: Mapping[str, Path], expected: Mapping[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    saved = {}
    for number, (name, folder) in enumerate(made.items()):
        saved[name] = tmp_path / str(number)
        TextEncoder.load(folder).save(saved[name])
    again = theirs(saved, tmp_path)
    for name, folder in saved.items():
        for role, vectors in ours(folder).items():
            reference = expected[f"{role} {name}"]
            np.testing.assert_allclose(vectors, reference, rtol=0, atol=1e-5, err_msg=name)
            key = f"{role} {name}"
            np.testing.assert_allclose(again[key], reference, rtol=0, atol=1e-5, err_msg=name)


def test_there_are_as_many_as_promised() -> None:
    assert len(FOLDERS) >= 52
    assert len(FOLDERS) + len(REFUSED) >= 60
    assert len(REFUSED) <= 8
    assert REFUSED.keys() == REASONS.keys()


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_a_file(name: str, tmp_path: Path) -> None:
    folder = REFUSED[name](tmp_path / "folder")
    with pytest.raises(DataError) as refused:
        TextEncoder.load(folder)
    assert Path(refused.value.file).is_relative_to(folder)
