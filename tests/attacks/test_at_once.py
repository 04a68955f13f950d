"""Commands that begin in the same moment, on a root that none of them has seen before."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from study.cli.app import main
from study.launch import launch as launcher
from study.state.study_folder import StudyFolder
from tests.study.inline import forked, launch_inline, results, states

ROOT = Path(__file__).resolve().parents[2]
STEPS = ["--set", "steps=4", "--set", "reference_batch_size=8"]


def at_once(commands: Sequence[Sequence[str]]) -> list[int]:
    """Exit codes of commands, each in a forked process; 99 is a traceback."""
    go, blocked = os.pipe()

    def run(words: Sequence[str]) -> int:
        os.close(blocked)
        os.read(go, 1)  # ends for all of them in the moment in which the pipe is closed
        launcher.launch = launch_inline
        return main(["run", *words])

    codes: dict[int, int] = {}

    def wait(number: int, words: Sequence[str]) -> None:
        codes[number] = forked(lambda: run(words), {})

    waiting = [threading.Thread(target=wait, args=each) for each in enumerate(commands)]
    for thread in waiting:
        thread.start()
    threading.Timer(0.5, os.close, (blocked,)).start()
    for thread in waiting:
        thread.join()
    os.close(go)
    return [codes[number] for number in range(len(commands))]


def assert_one_attempt_each(root: Path, trials: int) -> None:
    assert len(results(root)) == trials
    for folder in root.glob("trials/*"):
        assert (folder / "manifest.json").exists()
        assert len(list(folder.glob("attempts/*"))) == 1
    assert not list(root.rglob("*.damaged-*"))


@pytest.mark.slow
def test_eight_drivers_of_one_study(tmp_path: Path, finished: Path, space: Path) -> None:
    root = tmp_path / "root"
    words = ["--space", str(space), "--root", str(root), "--name", "s"]
    codes = at_once([words] * 8)
    assert Counter(codes) == {0: 1, 2: 7}
    assert results(root) == results(finished)
    assert_one_attempt_each(root, 3)
    plan = StudyFolder.of(root, "s").plan()
    assert plan is not None
    assert states(root) == dict.fromkeys(plan.specs, "complete")
    assert main(["run", *words]) == 0


@pytest.mark.slow
def test_eight_studies_on_one_new_root(tmp_path: Path, finished: Path, space: Path) -> None:
    """Four share their trials, four have their own."""
    root = tmp_path / "root"
    names = [f"{kind}{number}" for kind in ("same", "own") for number in range(4)]
    commands = []
    for name in names:
        rate = [] if name.startswith("same") else ["--set", f"learning_rate=0.00{name[-1]}1"]
        commands.append(["--space", str(space), "--root", str(root), "--name", name, *rate])
    assert at_once(commands) == [0] * 8
    for name in names:
        plan = StudyFolder.of(root, name).plan()
        assert plan is not None
        assert states(root, name) == dict.fromkeys(plan.specs, "complete")
    # the untrained trial is everybody's
    trials = len(results(root))
    assert trials == 3 + 4 * 2
    assert results(root).items() >= results(finished).items()
    for folder in root.glob("trials/*"):
        assert (folder / "manifest.json").exists()
    assert not list(root.rglob("*.damaged-*"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("names", [["s"] * 8, ["a", "b"]])
def test_real_commands_at_once(tmp_path: Path, space: Path, names: list[str]) -> None:
    root = tmp_path / "root"
    words = [sys.executable, "study/run.py", "--space", str(space), "--root", str(root)]
    words += ["--workers", "1", *STEPS]
    output = [(tmp_path / f"said {number}").open("w+") for number in range(len(names))]
    running = [
        subprocess.Popen([*words, "--name", name], cwd=ROOT, stdout=file, stderr=file)
        for name, file in zip(names, output, strict=True)
    ]
    codes = [process.wait() for process in running]
    for file in output:
        file.seek(0)
        assert "Traceback" not in file.read()
        file.close()
    assert sorted(codes) == [0] * len(set(names)) + [2] * (len(names) - len(set(names)))
    assert_one_attempt_each(root, 3)
    for name in set(names):
        assert set(states(root, name).values()) == {"complete"}
        (sealed,) = root.glob(f"studies/{name}/plan.json")
        assert json.loads(sealed.read_bytes())["name"] == name
    token = root / "ray.token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text().strip()) >= 32
