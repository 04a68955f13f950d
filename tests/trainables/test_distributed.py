"""Two ranks are one process with the whole batch; what fails on one of them fails the trial."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainables.second_rank import ROWS, Case, ask, golds_of, gradients, passages_of
from tests.trainables.test_contrastive import apart, random_tokens
from tests.trainables.test_golden import KNOWN, known_spec
from tests.trainables.test_pictures import spec_of as picture_spec
from tests.trainables.test_training_options import curve, spec_of
from trainables import contrastive, distributed, faults, leader
from trainables.contrastive import longest_first
from trainables.distributed import Group, fingerprint
from trainables.errors import UserError
from trainables.failures import TrialFailedError
from trainables.finetune import finetune, fits
from trainables.leader import Leader, refuse_missing_devices, start
from trainables.spec import Execution, Spec
from trainables.trial_folder import TrialFolder

TWO = Execution(ranks=2)
LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp."""


@pytest.fixture(scope="module")
def group() -> Iterator[Group]:
    """Two ranks on this machine; the other one does what `second_rank` can do."""
    before, threads = contrastive.FORWARD_TOKENS, torch.get_num_threads()
    torch.set_num_threads(1)
    group = Group.lead(2, torch.device("cpu"))
    everyone = Leader(group, [start(group, 1, {}, ["-m", "tests.trainables.second_rank"])])
    try:
        everyone.form(group)
        yield group
    finally:
        everyone.close()
        contrastive.FORWARD_TOKENS = before
        torch.set_num_threads(threads)


@pytest.mark.parametrize("budget", [None, 400, 64])
@pytest.mark.parametrize(
    ("negatives", "symmetric"),
    [("in_batch", False), ("in_batch", True), ("both", True), ("both", False), ("hard", False)],
)
def test_two_ranks_equal_one_process_with_the_whole_batch(
    group: Group, budget: int | None, negatives: str, symmetric: bool
) -> None:
    case = Case(budget=budget, negatives=negatives, symmetric=symmetric)  # type: ignore[arg-type]
    loss, masked, grad, silent = ask(group, case)
    value, share, expected, without = gradients(case, None)
    assert loss == pytest.approx(value, rel=1e-5)
    assert masked == share > 0
    assert apart(grad, expected) < 1e-5
    assert abs(grad[-1] - expected[-1]) < 1e-5 * abs(expected[-1]), "the temperature's"
    assert silent == without, "the optimizer passes over the same parameters"


def test_masks_cross_ranks_and_a_share_is_not_the_whole(group: Group) -> None:
    """What the test above compares could differ."""
    case = Case()
    rows = [*random_tokens(ROWS, 12, 1), *passages_of(case)]
    (side,) = longest_first(rows, np.full(len(rows), "tokens"))
    rank = np.empty(len(side), dtype=np.int64)
    rank[side] = np.arange(len(side)) % 2
    golds = golds_of(ROWS).numpy()
    same = golds[:, None] == golds
    assert (same & (rank[:ROWS, None] != rank[None, ROWS:])).any()
    group.announce('case {"seed": 1}')
    # without adding up, each rank has the gradient of its own rows
    taken: list[torch.Tensor] = []
    original = group.sum_gradients

    def spy(parameters, alike=()):  # type: ignore[no-untyped-def]
        listed = list(parameters)
        taken.append(torch.cat([p.grad.flatten() for p in listed if p.grad is not None]))
        original(listed, alike)

    group.sum_gradients = spy  # type: ignore[method-assign]
    try:
        _, _, whole, _ = gradients(Case(seed=1), group)
    finally:
        del group.sum_gradients
    assert apart(taken[0], whole[: len(taken[0])]) > 0.1


@pytest.mark.parametrize("budget", [None, 64])
def test_texts_pictures_and_vectors_are_dealt_each_by_itself(
    group: Group, budget: int | None
) -> None:
    """One picture: the other rank has none, and does not know how many vectors it is."""
    case = Case(budget=budget, rows="pictures")
    loss, _, grad, silent = ask(group, case)
    value, _, expected, without = gradients(case, None)
    assert loss == pytest.approx(value, rel=1e-5)
    assert apart(grad, expected) < 1e-5
    assert silent == without == ["unused.weight", "unused.bias"]


def test_with_dropout_the_cache_changes_nothing_and_ranks_do(group: Group) -> None:
    whole, cached = Case(dropout=0.3), Case(dropout=0.3, budget=64)
    loss, _, expected, _ = ask(group, whole)
    again, _, grad, _ = ask(group, cached)
    assert again == loss
    assert apart(grad, expected) < 1e-5
    assert ask(group, whole)[0] == loss
    assert abs(gradients(whole, None)[0] - loss) > 1e-4


def test_bfloat16_gradients_add_up(group: Group) -> None:
    case = Case(precision="bfloat16", budget=64)
    loss, _, grad, _ = ask(group, case)
    value, _, expected, _ = gradients(case, None)
    assert grad.dtype == torch.float32
    assert loss == pytest.approx(value, rel=1e-2)
    assert apart(grad, expected) < 0.02


def test_rows_dealt_in_turn_come_back_in_order(group: Group) -> None:
    group.announce("gather 3")
    found = group.gather(torch.tensor([[0.0], [2.0]]).expand(2, 5), 3)
    assert found[:, 0].tolist() == [0, 1, 2]
    group.announce("gather 1")
    assert group.gather(torch.full((1, 3, 2), 4.0), 1).shape == (1, 3, 2)


def test_what_rank_0_shares_arrives_in_pieces(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.announce("share")
    data = bytes(range(256)) * 9
    assert group.share(data) == data
    group.announce("apart 5")
    assert group.apart(5) == []
    assert group.noted("shared", 1) == str(len(data))
    group.announce("apart 6")
    assert group.apart(5) == [1]


def test_a_fingerprint_sees_a_changed_bit_and_an_exchange() -> None:
    one, other = torch.randn(5), torch.randn(5)
    assert fingerprint([one, other]) == fingerprint([one.clone(), other])
    assert fingerprint([one, other]) != fingerprint([other, one])
    assert fingerprint([one * (1 + 1e-7), other]) != fingerprint([one, other])


def test_all_that_listens_is_on_loopback(group: Group) -> None:
    mine = set()
    for path in Path("/proc/self/fd").iterdir():
        try:
            mine.add(os.readlink(path))
        except OSError:
            continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENS and f"socket:[{fields[9]}]" in mine:
                found.append(fields[1].split(":")[0])
    assert len(found) >= 2, "the store and gloo"
    assert set(found) == {"0100007F"}


def test_a_rank_needs_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"sees 1 CUDA devices.*--ranks 1"):
        refuse_missing_devices(Execution(device="cuda", ranks=2))
    refuse_missing_devices(TWO)


def test_training_goes_on_with_as_many_ranks_as_it_began_with() -> None:
    assert fits(TWO, TWO)
    assert not fits(TWO, Execution())
    assert not fits(Execution(), TWO)


def run(spec: Spec, root: Path, execution: Execution = TWO) -> tuple[TrialFolder, list[float]]:
    folder = TrialFolder.of(root, spec.digest)
    events = finetune(spec, folder, places={}, execution=execution)
    return folder, [event.loss or 0 for event in events if event.kind == "stepped"]


def test_a_known_trial_gives_known_numbers_on_two_ranks(tmp_path: Path) -> None:
    spec, places = known_spec("hybrid")
    folder = TrialFolder.of(tmp_path, spec.digest)
    events = finetune(spec, folder, places=places, execution=TWO)
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


def assert_close(mine: dict[str, float], theirs: dict[str, float]) -> None:
    """Equal within 1e-4; of distances between ranks, which near ties move by whole ones, 0.1 %."""
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        far = 1e-3 * abs(value) if "rank_distance" in name else 1e-4
        assert abs(mine[name] - value) <= far, name


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
from tests.trainables.test_distributed import children
from trainables.finetune import finetune
from trainables.spec import Execution
from trainables.trial_folder import TrialFolder
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
