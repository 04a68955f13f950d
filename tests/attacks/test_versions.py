"""Libraries that change between a study's start and its resuming: said, recorded, never mixed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from study.cli.app import main
from study.launch import launch as launcher
from study.state.study_folder import StudyFolder
from tests.study.inline import forked, launch_inline, results
from trainables import faults
from trainables.spec import Spec

NEWER = "99.0.0"


@pytest.fixture
def run(space: Path, tmp_path: Path) -> Callable[..., int]:
    """A study's command in a process of its own, with the torch of another time if asked for."""

    def run(root: Path, *words: str, newer: bool = False, fault: str = "") -> int:
        overlay = tmp_path / "overlay"
        (overlay / f"torch-{NEWER}.dist-info").mkdir(parents=True, exist_ok=True)
        metadata = f"Metadata-Version: 2.1\nName: torch\nVersion: {NEWER}\n"
        (overlay / f"torch-{NEWER}.dist-info/METADATA").write_text(metadata)

        def command() -> int:
            launcher.launch = launch_inline
            if newer:
                sys.path.insert(0, str(overlay))
                torch.__version__ = NEWER  # type: ignore[assignment]
            return main(["run", "--space", str(space), "--root", str(root), "--name", "s", *words])

        return forked(command, {faults.VARIABLE: fault})

    return run


def answer(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "reports/s/answer.json").read_bytes()))


def torches(root: Path) -> dict[str, list[str]]:
    """The versions of torch that computed each trial, in order."""
    read = {digest: json.loads(content) for digest, content in results(root).items()}
    return {d: [each["torch"] for each in result["versions"]] for d, result in read.items()}


def trained(root: Path) -> Sequence[str]:
    plan = StudyFolder.of(root, "s").plan()
    assert plan is not None
    return [digest for digest, spec in plan.specs.items() if spec.steps]


def test_the_same_libraries_are_no_mixture(root: Path, run: Callable[..., int]) -> None:
    shutil.rmtree(root / "trials" / trained(root)[0])
    assert run(root) == 0
    assert answer(root)["mixed"] is None


def test_arms_of_different_libraries_are_not_compared(
    root: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    again = trained(root)[0]
    before = answer(root)["findings"][0]["comparisons"][0]
    assert before["effect"] is not None
    shutil.rmtree(root / "trials" / again)
    assert run(root, newer=True) == 0
    assert StudyFolder.of(root, "s").record().versions["torch"] == NEWER
    assert {d for d, versions in torches(root).items() if versions == [NEWER]} == {again}
    found = answer(root)
    groups = {tuple(one["differs"]): one["trials"] for one in found["mixed"]["groups"]}
    assert groups[f"torch {NEWER}",] == 1
    assert found["findings"][0]["comparisons"][0]["effect"] is None
    words = ["compare", "s:alpha=0", "s:alpha=0.5", "--json", "--root", str(root)]
    assert main(words) == 0
    assert any(NEWER in line for line in json.loads(capsys.readouterr().out)["differ"])
    assert f"torch {NEWER}" in (root / "reports/s/report.md").read_text().replace("\\", "")


def test_a_checkpoint_of_other_libraries_goes_on_marked(
    run: Callable[..., int], tmp_path: Path, finished: Path
) -> None:
    root = tmp_path / "new"
    first = trained(finished)[0]
    kill = f"save point=step step=1 digest={first};kill point=step step=2 digest={first}"
    assert run(root, fault=kill) == -9
    assert run(root, newer=True) == 0
    (written,) = (root / "trials" / first).glob("attempts/*/environment.json")
    assert json.loads(written.read_bytes())["resumed_at"] == 1
    found = torches(root)
    assert found.pop(first) == [torch.__version__, NEWER]
    assert set(map(len, found.values())) == {1}
    assert answer(root)["mixed"]["resumed"] == 1
    assert results(root).keys() == results(finished).keys()


def test_another_recipe_is_another_experiment(root: Path, run: Callable[..., int]) -> None:
    before = results(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spec.model_fields["recipe"], "default", 99)
        Spec.model_rebuild(force=True)
        for words in ([], ["--extend"]):
            assert run(root, *words) == 2
    Spec.model_rebuild(force=True)
    assert run(root) == 0
    assert results(root) == before
