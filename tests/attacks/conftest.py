"""A finished study to attack, made once; each test has a copy of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from study.cli.app import main
from study.launch import launch as launcher
from tests.study.inline import launch_inline, write_space


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_space(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, space: Path) -> Path:
    root = tmp_path_factory.mktemp("finished") / "root"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launcher, "launch", launch_inline)
        words = ["run", "--space", str(space), "--root", str(root), "--name", "s"]
        assert main(words) == 0
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "root"))


@pytest.fixture
def rerun(root: Path, space: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The study's command again, its trials in this process."""
    monkeypatch.setattr(launcher, "launch", launch_inline)
    return lambda: main(["run", "--space", str(space), "--root", str(root), "--name", "s"])
