"""A trial over two machines, which are two raylets: its numbers, and the loss of one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.state.journal import Reading
from tests.study.inline import SPACE, write_space
from trainables import faults

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[2]
STEPS, SAVED = 300, 20
"""Of a trial; and the step after which it saves, and a machine may go away."""


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = SPACE.replace("steps: 3", f"steps: {STEPS}").replace("[0, 0.5]", "[0.5]")
    declared = text.index("hypotheses:"), text.index("tiers:")
    return write_space(tmp_path_factory.mktemp("space"), text[: declared[0]] + text[declared[1] :])


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, space: Path) -> dict[str, Any]:
    """Results of two ranks on one machine."""
    root = tmp_path_factory.mktemp("one")
    done = subprocess.run(words(root, space), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return results(root)


def words(root: Path, space: Path) -> list[str]:
    study = ["study/run.py", "--space", str(space), "--name", "s", "--root", str(root)]
    return [sys.executable, *study, "--ranks", "2", "--workers", "1"]


def over_two(root: Path, space: Path, fault: str = "", **options: Any) -> str:
    """Run the study with a rank on each of two raylets; what it printed."""
    study = [*words(root, space)[1:], "--nodes", "2"]
    command = [sys.executable, "tests/two_raylets.py", json.dumps({"words": study, **options})]
    environment = os.environ | ({faults.VARIABLE: fault} if fault else {})
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def results(root: Path) -> dict[str, Any]:
    found = {}
    for path in root.glob("trials/*/manifest.json"):
        number = json.loads(path.read_bytes())["attempt"]
        result = json.loads((path.parent / f"attempts/{number:03d}/result.json").read_bytes())
        found[path.parent.name] = result
    return found


def test_ranks_on_two_machines_give_the_numbers_of_ranks_on_one(
    tmp_path: Path, space: Path, one: dict[str, Any]
) -> None:
    over_two(tmp_path, space, seen="")
    two = results(tmp_path)
    assert two.keys() == one.keys()
    assert len(two) == 2
    for digest, result in two.items():
        assert (result["execution"]["ranks"], result["execution"]["nodes"]) == (2, 2)
        assert result["metrics"] == one[digest]["metrics"]
        assert result["training"] == one[digest]["training"]


@pytest.mark.parametrize("victim", ["first", "other"])
def test_a_machine_that_goes_away_is_no_failure(
    tmp_path: Path, space: Path, one: dict[str, Any], victim: str
) -> None:
    fault = f"save point=step step={SAVED}"
    saved = "trials/*/attempts/*/checkpoint/manifest.json"
    over_two(tmp_path, space, fault, seen=saved, victim=victim)
    two = results(tmp_path)
    assert {d: r["metrics"] for d, r in two.items()} == {d: r["metrics"] for d, r in one.items()}
    (lost,) = [line for line in Reading(tmp_path / "studies/s") if line["event"] == "lost"]
    assert lost["reason"] == "node lost"
    assert ("machine 1 of the trial" in lost["detail"]) == (victim == "other")
    (ended,) = (tmp_path / "trials" / lost["trial"]).glob("attempts/*/environment.json")
    assert json.loads(ended.read_bytes())["resumed_at"] >= SAVED
