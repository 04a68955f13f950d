"""Real searches on Ray, killed again and again: nothing is asked, run or decided anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from study.cli.reproduce import _committed as committed
from study.cli.reproduce import differences, train_again
from study.state.record import Record
from study.state.study_folder import StudyFolder
from tests.study.inline import mlflow_trials, optuna_rows, results, states, write_space
from trainables import faults
from trainables.trial.trial_folder import TrialFolder

ROOT = Path(__file__).resolve().parents[2]

SPACE = """
question: Is anything asked or decided twice?
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
optimize: {OPTIMIZE}
tiers:
  demo: {}
  full: {}
"""

OPTIMIZE = {
    "asha": "{sampler: random, trials: 10, confirm: {top: 0}, "
    "fidelity: {kind: asha, first: 12, factor: 2}}",
    "tpe": "{sampler: tpe, trials: 13, confirm: {top: 1, seeds: 2}}",
    "nsga2": "{sampler: nsga2, population: 2, trials: 6, confirm: {top: 1, seeds: 2}, "
    "objectives: [map/multi, rank_distance]}",
}
SEARCHED = ("asked.written hit=3", "start.noted hit=2", "trial.ended hit=2", "completion.noted")
KILLS = {
    "asha": (
        *("rung.noted hit=2", "pruning.noted", "trial.ended hit=2", "rung.noted"),
        "completion.noted",
    ),
    "tpe": SEARCHED,
    "nsga2": SEARCHED,
}
"""Where the driver is killed, by SIGKILL."""


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


@pytest.fixture(scope="module", params=list(OPTIMIZE))
def studies(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Roots of a study that nobody disturbed, and of one killed at every point of its `KILLS`.

    The worker of its second trial is killed too.
    """
    folder = tmp_path_factory.mktemp(request.param)
    space = write_space(folder, SPACE.replace("{OPTIMIZE}", OPTIMIZE[request.param]))
    whole, killed = folder / "whole", folder / "killed"
    assert run(whole, space) == 0
    second = record(whole).proposals[1].digest
    worker = f"; kill point=step attempt=1 digest={second}"
    for point in KILLS[request.param]:
        assert run(killed, space, point + worker) == -9, f"{point} is never passed"
    assert run(killed, space) == 0
    assert (TrialFolder(killed / "trials" / second).latest_attempt()) > 1
    return whole, killed


def record(root: Path) -> Record:
    return StudyFolder.of(root, "s").record()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_decisions_and_ends_are_those_of_a_study_that_nobody_killed(
    studies: tuple[Path, Path],
) -> None:
    whole, killed = studies
    assert record(killed).rungs == record(whole).rungs
    assert record(killed).proposals == record(whole).proposals
    assert record(killed).marks == record(whole).marks == []
    assert states(killed) == states(whole)
    assert results(killed) == results(whole)
    ends = list(states(killed).values())
    assert ends.count("pruned") + ends.count("complete") == len(ends)
    assert (ends.count("pruned") >= 2) == bool(record(whole).rungs)
    assert dict(optuna_rows(killed)) == {d: state.upper() for d, state in states(killed).items()}
    assert {d: s for d, (s, _) in mlflow_trials(killed).items()} == {
        digest: "KILLED" if state == "pruned" else "FINISHED"
        for digest, state in states(killed).items()
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_pruned_trials_keep_a_checkpoint_and_have_no_result(studies: tuple[Path, Path]) -> None:
    for root in studies:
        for digest, state in states(root).items():
            folder = TrialFolder(root / "trials" / digest)
            assert folder.is_committed == (state == "complete")
            saved = list(folder.path.glob("attempts/*/checkpoint/step-*.pt"))
            # killed after the decision and before the attempt was closed, seconds of work are lost
            assert bool(saved) == (state == "pruned") or (root == studies[1] and not saved)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_complete_trial_is_reproduced_to_the_last_digit(
    studies: tuple[Path, Path], tmp_path: Path
) -> None:
    _, killed = studies
    for digest, state in states(killed).items():
        if state == "complete":
            folder = TrialFolder(killed / "trials" / digest)
            now = committed(train_again(folder, folder.spec(), tmp_path))
            before = committed(folder)
            assert before is not None
            assert now is not None
            assert differences(before, now) == []
