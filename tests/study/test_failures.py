"""Five failures planted in one real study on Ray: each told by its right name, none contagious."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.cli.status import describe
from study.cli.workspace import Workspace
from study.launch.failures import FailureClassifier
from study.planning.build import make_plan
from study.spaces.schema import load_space
from study.state.committed import committed_results
from tests.samples import values
from tests.study.inline import SPACE, mlflow_trials, write_space
from trainables import faults
from trainables.failures import reason_of
from trainables.spec import build_spec
from trainables.trial.trial_folder import TrialFolder

ROOT = Path(__file__).resolve().parents[2]
EIGHT = SPACE.replace("[0, 0.5]", "[0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1]")
TIMEOUT = 90
"""Seconds: longer than any healthy trial of three steps takes on a busy machine."""

PLANTED = {
    "out of memory": "oom point=step step=2",
    "killed": "kill point=step step=2",
    "nan": "nan point=step step=1",
    "error": "error point=step step=2",
    "timed out": "hang point=step step=2",
}


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], str]:
    """A root whose study met all five, the digest that met each, and what was printed.

    Three more trials meet trouble once only: killed, out of memory, or asked to end.
    """
    root = tmp_path_factory.mktemp("root")
    space = write_space(root, EIGHT)
    plan, _ = make_plan(load_space(str(space)), str(space), "demo", {}, name="s")
    trained = [digest for digest, spec in plan.specs.items() if spec.steps]
    victims = dict(zip([*PLANTED, "killed once", "memory once", "preempted"], trained, strict=True))
    planted = [f"{fault} digest={victims[reason]}" for reason, fault in PLANTED.items()]
    planted += [f"save point=step step=1 digest={victims['killed once']}"]
    planted += [f"kill point=step step=2 attempt=1 digest={victims['killed once']}"]
    planted += [f"oom point=step step=2 attempt=1 digest={victims['memory once']}"]
    planted += [f"term point=step step=2 attempt=1 digest={victims['preempted']}"]
    done = subprocess.run(
        [
            sys.executable,
            "study/run.py",
            "--space",
            str(space),
            "--name",
            "s",
            "--workers",
            "2",
            "--root",
            str(root),
            "--trial-timeout",
            str(TIMEOUT),
        ],
        cwd=ROOT,
        env=os.environ | {faults.VARIABLE: ";".join(planted)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return root, victims, done.stdout


Failed = tuple[Path, dict[str, str], str]


def trials(root: Path) -> dict[str, dict[str, Any]]:
    home = Workspace.open(str(root))
    plan, record = home.plan("s"), home.study("s").record()
    report = describe(plan, home, record, committed_results(root, plan.specs))
    return {t["digest"]: t for t in report["trials"]}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_failure_has_its_reason_everywhere(failed: Failed) -> None:
    root, victims, _ = failed
    found, shown = trials(root), mlflow_trials(root)
    for reason in PLANTED:
        digest = victims[reason]
        assert found[digest]["state"] == "failed"
        assert found[digest]["reason"].startswith(f"{reason}: "), found[digest]
        assert shown[digest][0] == "FAILED"
        files = sorted((root / "trials" / digest).glob("attempts/*/failure.json"))
        assert json.loads(files[-1].read_bytes())["reason"] == reason


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_other_trials_are_complete(failed: Failed) -> None:
    root, victims, _ = failed
    lost = {victims[reason] for reason in PLANTED}
    for digest, trial in trials(root).items():
        assert (trial["state"] == "complete") == (digest not in lost)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_trial_goes_on_from_its_checkpoint(failed: Failed) -> None:
    root, victims, _ = failed
    folder = root / "trials" / victims["killed once"] / "attempts"
    environment = json.loads(next(folder.glob("*/environment.json")).read_bytes())
    assert (environment["attempt"], environment["resumed_at"]) == (2, 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_trial_asked_to_end_saves_at_once(failed: Failed) -> None:
    root, victims, _ = failed
    folder = root / "trials" / victims["preempted"] / "attempts"
    environment = json.loads(next(folder.glob("*/environment.json")).read_bytes())
    assert (environment["attempt"], environment["resumed_at"]) == (2, 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_lost_again_and_again_is_tried_three_times(failed: Failed) -> None:
    root, victims, _ = failed
    attempts = root / "trials" / victims["killed"] / "attempts"
    assert sorted(path.name for path in attempts.iterdir()) == ["001", "002", "003"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_out_of_memory_is_tried_once_more_in_another_layout(failed: Failed) -> None:
    root, victims, printed = failed
    attempts = root / "trials" / victims["out of memory"] / "attempts"
    assert sorted(path.name for path in attempts.iterdir()) == ["001", "002"]
    once = victims["memory once"]
    assert trials(root)[once]["layout_changed"] is True
    result = json.loads(next((root / "trials" / once).glob("*/*/result.json")).read_bytes())
    assert result["execution"]["micro_batch_tokens"] == 512
    assert re.search(r"layout changed:.* 1 trial ", printed)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hanging_trial_says_where_it_hung(failed: Failed) -> None:
    root, victims, _ = failed
    file = root / "trials" / victims["timed out"] / "attempts/001/failure.json"
    assert any("faults.py" in line for line in json.loads(file.read_bytes())["trace"])


def test_memory_lost_twice_outside_of_the_trial_is_given_up(tmp_path: Path) -> None:
    from study.launch.actor import given_up

    spec = build_spec(values())
    folder = TrialFolder.of(tmp_path, spec.digest)
    for number in range(2):
        folder.claim(spec, {"launch": "l"}).fail({"reason": "out of memory", "detail": "kernel"})
        found = given_up(folder, "l")
        assert found is None if number == 0 else found and found[0] == "out of memory"
    assert given_up(folder, "a later launch") is None


def test_a_lost_worker_is_out_of_memory_only_with_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray.exceptions import (
        ActorDiedError,
        ActorUnavailableError,
        NodeDiedError,
        OutOfMemoryError,
        RayError,
    )

    losses = FailureClassifier(kernel_kills=None, local=True)
    assert losses.explain(ActorDiedError())[0] == "killed"
    gone: RayError = NodeDiedError("gone")  # type: ignore[no-untyped-call]
    monitored: RayError = OutOfMemoryError("x")  # type: ignore[no-untyped-call]
    assert losses.explain(gone)[0] == "node lost"
    assert losses.explain(monitored)[0] == "out of memory"
    cut: RayError = ActorUnavailableError("socket closed", None)
    assert losses.explain(cut)[0] == "killed"
    assert FailureClassifier(kernel_kills=None, local=False).explain(cut)[0] == "node lost"
    monkeypatch.setattr("study.launch.failures.kernel_kills", lambda: 4)
    counted = FailureClassifier(kernel_kills=3, local=True)
    assert counted.explain(ActorDiedError())[0] == "out of memory"
    assert counted.explain(ActorDiedError())[0] == "killed", "that kill was told of before"
    assert FailureClassifier(kernel_kills=3, local=False).explain(ActorDiedError())[0] == "killed"


def test_reasons_of_exceptions() -> None:
    import torch

    assert reason_of(torch.OutOfMemoryError("x")) == "out of memory"
    assert reason_of(MemoryError()) == "out of memory"
    allocator = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")
    assert reason_of(allocator) == "out of memory"
    assert reason_of(RuntimeError("size mismatch")) == "error"
