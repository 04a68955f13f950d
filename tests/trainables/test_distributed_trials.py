"""Whole trials on two ranks; what fails on one of them fails the trial."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.test_golden import KNOWN, known_spec
from tests.trainables.test_pictures import spec_of as picture_spec
from tests.trainables.test_training_options import curve, spec_of
from trainables import faults
from trainables.distributed import group as distributed
from trainables.distributed import rank0 as leader
from trainables.failures import TrialFailedError
from trainables.finetune import finetune
from trainables.spec import Execution, Spec
from trainables.trial.trial_folder import TrialFolder

TWO = Execution(ranks=2)


def run(spec: Spec, root: Path, execution: Execution = TWO) -> tuple[TrialFolder, list[float]]:
    folder = TrialFolder.of(root, spec.digest)
    events = finetune(spec, folder, places={}, execution=execution)
    return folder, [event.loss or 0 for event in events if event.kind == "stepped"]


def test_a_known_trial_gives_known_numbers_on_two_ranks(tmp_path: Path) -> None:
    spec = known_spec("hybrid")
    folder = TrialFolder.of(tmp_path, spec.digest)
    events = finetune(spec, folder, places={}, execution=TWO)
    losses, mono, cross = KNOWN["hybrid"]
    assert [e.loss for e in events if e.kind == "stepped"] == pytest.approx(losses, abs=1e-4)
    result = folder.result()
    assert result["metrics"]["map/mono"] == pytest.approx(mono, abs=1e-4)
    assert result["metrics"]["map/cross"] == pytest.approx(cross, abs=1e-4)
    assert result["execution"]["ranks"] == 2
    assert result["layout_changed"] is False


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"negatives": "both", "hard_negatives": 2, "symmetric": True, "learn_temperature": True},
        {"negatives": "hard", "max_grad_norm": 0.1, "symmetric": False},
        {"evaluate_every": 2, "select": "best", "select_metric": "map/mono"},
    ],
    ids=["both", "hard", "best"],
)
def test_a_trial_on_two_ranks_is_that_on_one(tmp_path: Path, changes: dict[str, object]) -> None:
    spec = spec_of(**changes)
    one, losses = run(spec, tmp_path / "one", Execution(micro_batch_tokens=256))
    two, found = run(spec, tmp_path / "two", Execution(micro_batch_tokens=256, ranks=2))
    assert found == pytest.approx(losses, abs=1e-4)
    for mine, theirs in zip(curve(two), curve(one), strict=True):
        assert_close(mine, theirs)
    results = two.result(), one.result()
    assert_close(*(result["metrics"] for result in results))
    assert_close(*(result["training"] for result in results))


class Beside:
    """Machines beside this one that are this one."""

    host = distributed.LOOPBACK

    def __init__(self) -> None:
        self.started: list[tuple[int, int, int]] = []
        self.closed = 0

    def start(self, machine: int, order: Mapping[str, Any]) -> leader.Follower:
        self.started.append((machine, order["rank"], order["index"]))
        return leader.start(order)

    def close(self) -> None:
        self.closed += 1


@pytest.mark.slow
def test_a_trial_goes_on_over_other_machines_than_it_began_on(tmp_path: Path) -> None:
    spec = spec_of(learn_temperature=True)
    four = Execution(ranks=4)
    whole, _ = run(spec, tmp_path / "whole", four)
    folder = TrialFolder.of(tmp_path / "moved", spec.digest)
    for nodes in (1, 4, 2):
        beside = Beside()
        execution = replace(four, nodes=nodes)
        events = finetune(
            spec, folder, places={}, execution=execution, machines=beside if nodes > 1 else None
        )
        for event in events:
            if event.kind == "stepped" and nodes != 2:
                break
        events.close()  # type: ignore[attr-defined]
        dealt = [(rank // (4 // nodes), rank, rank % (4 // nodes)) for rank in range(1, 4)]
        assert beside.started == [one for one in dealt if one[0]]
        assert beside.closed == (nodes > 1)
    result = folder.result()
    assert result["execution"] == replace(four, nodes=2).to_json()
    for name in ("metrics", "training"):
        assert result[name] == whole.result()[name]


def assert_close(mine: Mapping[str, float | str], theirs: Mapping[str, float | str]) -> None:
    """Equal within 1e-4; of distances between ranks, which near ties move by whole ones, 0.1 %."""
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        found = mine[name]
        if isinstance(value, str) or isinstance(found, str):
            assert found == value, name
            continue
        far = 1e-3 * abs(value) if "rank_distance" in name else 1e-4
        assert abs(found - value) <= far, name


@pytest.mark.slow
def test_a_trial_on_two_ranks_closed_on_the_way_ends_with_the_same_bytes(tmp_path: Path) -> None:
    spec = spec_of(learn_temperature=True)
    whole, _ = run(spec, tmp_path / "whole")
    folder = TrialFolder.of(tmp_path / "stopped", spec.digest)
    before = children()
    events = finetune(spec, folder, places={}, execution=TWO)
    while (event := next(events)).kind != "stepped" or event.step < 3:
        pass
    assert len(children() - before) == 1
    events.close()  # type: ignore[attr-defined]
    assert children() == before
    resumed, losses = run(spec, tmp_path / "stopped")
    assert len(losses) == spec.steps - 3
    for name in ("result.json", "history.json", "ranks-test.npz"):
        assert (whole.committed() / name).read_bytes() == (resumed.committed() / name).read_bytes()


def children() -> set[int]:
    """Processes that this one started, but for those that are ended."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.add(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason", "said"),
    [
        ("kill point=rank.step step=2", "killed", "rank 1 was ended by SIGKILL"),
        ("error point=rank.step step=2", "error", "rank 1: PlantedError"),
        ("oom point=rank.step step=2", "out of memory", "rank 1: OutOfMemoryError"),
        ("nan point=step step=1", "nan", "the loss of step 1"),
        ("hang point=rank.step step=2", "timed out", "did not answer within 5 s"),
    ],
    ids=lambda value: value.split()[0] if "point" in value else "",
)
def test_a_rank_that_fails_fails_the_trial_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, reason: str, said: str
) -> None:
    before = children()
    monkeypatch.setattr(distributed, "PATIENCE", 5.0)
    monkeypatch.setattr(leader, "ENDING_SECONDS", 2.0)
    monkeypatch.setenv(faults.VARIABLE, f"save point=step step=1; {fault}")
    spec = spec_of()
    with pytest.raises(TrialFailedError, match=said) as caught:
        run(spec, tmp_path)
    assert caught.value.reason == reason
    failures = [attempt.failure() for attempt in TrialFolder.of(tmp_path, spec.digest).attempts()]
    assert [failure["reason"] for failure in failures if failure] == (
        [reason] * (2 if reason == "out of memory" else 1)
    ), "out of memory is tried once more with smaller micro-batches"
    assert children() == before
    monkeypatch.delenv(faults.VARIABLE)
    assert run(spec, tmp_path)[0].result()


@pytest.mark.slow
def test_a_rank_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TrialFailedError, match="rank 1 ended with code 1"):
        run(spec_of(), tmp_path)


SCRIPT = """
import sys
from pathlib import Path
from tests.trainables.test_pictures import spec_of as picture_spec
from tests.trainables.test_training_options import spec_of
from tests.trainables.test_distributed_trials import children
from trainables.finetune import finetune
from trainables.spec import Execution
from trainables.trial.trial_folder import TrialFolder
spec = spec_of(steps=100_000)
folder = TrialFolder.of(Path(sys.argv[1]), spec.digest)
for event in finetune(spec, folder, places={}, execution=Execution(ranks=3)):
    if event.step == 2:
        print(*children(), flush=True)
"""


@pytest.mark.slow
def test_no_rank_outlives_a_killed_leader(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        ranks = [int(word) for word in process.stdout.readline().split()]
        process.send_signal(signal.SIGKILL)
    assert len(ranks) == 2
    until = time.monotonic() + 30
    while any(lives(rank) for rank in ranks) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(lives(rank) for rank in ranks)


def lives(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.parametrize("tower", ["frozen", "live"])
def test_pictures_are_trained_on_by_two_ranks(tmp_path: Path, tower: str) -> None:
    spec = picture_spec(sampling="hybrid", pairs="caption", image_tower=tower)
    one, losses = run(spec, tmp_path / "one", Execution())
    two, found = run(spec, tmp_path / "two")
    assert found == pytest.approx(losses, abs=1e-4)
    assert two.result()["metrics"]["map/t2i"] == pytest.approx(
        one.result()["metrics"]["map/t2i"], abs=1e-4
    )
