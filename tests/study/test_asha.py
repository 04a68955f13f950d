"""A real search with ASHA on Ray, its driver killed again and again: nothing is decided anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.commands.reproduce import _committed as committed
from study.commands.reproduce import differences, train_again
from tests.study.inline import ledger_rows, mlflow_trials, results, write_space
from trainables import faults
from trainables.trial_folder import TrialFolder

ROOT = Path(__file__).resolve().parents[2]

SPACE = """
question: Is anything decided twice?
fixed:
  sampling: hybrid
  languages: [qaa, qad]
  eval_languages: [qaa, qad]
  batch_size: 8
  reference_batch_size: 8
  steps: 6
search:
  alpha: [0, 0.25, 0.5, 0.75, 1]
  learning_rate: [0.0001, 0.002, 0.02]
optimize:
  sampler: random
  trials: 10
  confirm: {top: 0}
  fidelity: {kind: asha, first: 12, factor: 2}
tiers:
  demo: {}
  full: {}
"""

KILLS = ("rung.noted hit=2", "ledger.pruned", "trial.ended hit=2", "rung.noted", "ledger.completed")


def run(root: Path, space: Path, fault: str = "") -> int:
    """Drive the study in one worker; -9 where it was killed."""
    words = ["--space", str(space), "--name", "s", "--workers", "1", "--root", str(root)]
    done = subprocess.run(
        [sys.executable, "study/run.py", *words],
        cwd=ROOT,
        env=os.environ | {faults.VARIABLE: fault and f"kill point={fault}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -9), done.stdout + done.stderr
    return done.returncode


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Roots of a study that nobody disturbed, and of one killed at every point of `KILLS`."""
    folder = tmp_path_factory.mktemp("asha")
    space = write_space(folder, SPACE)
    whole, killed = folder / "whole", folder / "killed"
    assert run(whole, space) == 0
    for point in KILLS:
        assert run(killed, space, point) == -9, f"{point} is never passed"
    assert run(killed, space) == 0
    return whole, killed


def lines(root: Path, name: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (root / f"studies/s/{name}.jsonl").read_bytes().splitlines()
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_decisions_and_ends_are_those_of_a_study_that_nobody_killed(
    studies: tuple[Path, Path],
) -> None:
    whole, killed = studies
    assert lines(killed, "rungs") == lines(whole, "rungs")
    assert lines(killed, "asked") == lines(whole, "asked")
    assert sorted(ledger_rows(killed)) == sorted(ledger_rows(whole))
    assert results(killed) == results(whole)
    states = [state for _, state in ledger_rows(killed)]
    assert states.count("PRUNED") + states.count("COMPLETE") == len(states)
    assert states.count("PRUNED") >= 2
    assert {d: s for d, (s, _) in mlflow_trials(killed).items()} == {
        digest: "KILLED" if state == "PRUNED" else "FINISHED"
        for digest, state in ledger_rows(killed)
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_pruned_trials_keep_a_checkpoint_and_have_no_result(studies: tuple[Path, Path]) -> None:
    for root in studies:
        for digest, state in ledger_rows(root):
            folder = TrialFolder(root / "trials" / digest)
            assert folder.is_committed == (state == "COMPLETE")
            saved = list(folder.path.glob("attempts/*/checkpoint/step-*.pt"))
            assert bool(saved) == (state == "PRUNED")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_complete_trial_is_reproduced_to_the_last_digit(
    studies: tuple[Path, Path], tmp_path: Path
) -> None:
    _, killed = studies
    for digest, state in ledger_rows(killed):
        if state == "COMPLETE":
            folder = TrialFolder(killed / "trials" / digest)
            now = committed(train_again(folder, folder.spec(), tmp_path))
            before = committed(folder)
            assert before is not None
            assert now is not None
            assert differences(before, now) == []
