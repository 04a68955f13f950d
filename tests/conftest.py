"""What all tests share: a quiet, offline, one-thread process, the shared data, a time budget."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.postgres import Server, server

if TYPE_CHECKING:
    from trainables.storage.paths import AnyPath

# Set before any test imports a library that reads them; torch takes its threads from OMP.
for name, value in {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
}.items():
    os.environ.setdefault(name, value)
# Set, it would make every run that tracking opens a child of another one.
os.environ.pop("MLFLOW_RUN_ID", None)

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parent.parent
STARTED = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--budget",
        type=float,
        metavar="SECONDS",
        help="start no further test once this many seconds have passed; the rest is skipped",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)


def pytest_runtest_setup(item: pytest.Item) -> None:
    budget = item.config.getoption("--budget")
    if budget is not None and time.monotonic() - STARTED > budget:
        pytest.skip(f"the time budget of {budget:.0f} s is used up")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the shared data (`shared / "data"`): $SHARED, or ../shared of this clone."""
    named = os.environ.get("SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        source = "SHARED" if named else "../shared (SHARED names another place)"
        pytest.skip(f"no shared data: {source} has no folder data")
    return folder.resolve()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a bucket on an S3 server of this machine; the environment says how to reach it."""
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    pytest.importorskip("moto.server", reason="moto, of the extra dev, is not installed")
    from tests.objects import make_bucket, s3_server

    log = tmp_path_factory.mktemp("s3") / "log"
    with s3_server(log) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        make_bucket()
        yield "s3://bucket"


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> AnyPath:
    """An empty folder of each kind of place, in turn."""
    from trainables.storage.paths import parse_root

    if request.param == "local":
        return tmp_path
    return parse_root(f"{request.getfixturevalue('s3')}/{uuid.uuid4().hex}")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of a module's own."""
    with server() as running:
        yield running
