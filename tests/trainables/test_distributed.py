"""Two ranks are one process with the whole batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainables.second_rank import ROWS, Case, ask, golds_of, gradients, passages_of
from tests.trainables.test_gradcache import apart, random_tokens
from trainables.distributed.group import Group, fingerprint
from trainables.distributed.rank0 import Leader, order_of, refuse_missing_devices, start
from trainables.errors import UserError
from trainables.spec import Execution
from trainables.training import gradcache
from trainables.training.gradcache import longest_first

TWO = Execution(ranks=2)
LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp."""


@pytest.fixture(scope="module")
def group() -> Iterator[Group]:
    """Two ranks on this machine; the other one does what `second_rank` can do."""
    before, threads = gradcache.FORWARD_TOKENS, torch.get_num_threads()
    torch.set_num_threads(1)
    group = Group.lead(2, torch.device("cpu"))
    everyone = Leader(group, [start(order_of(group, 1), ["-m", "tests.trainables.second_rank"])])
    try:
        everyone.form(group)
        yield group
    finally:
        everyone.close()
        gradcache.FORWARD_TOKENS = before
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
    assert group.unequal_processes([torch.tensor([5])]) == []
    assert group.noted("shared", 1) == str(len(data))
    group.announce("apart 6")
    assert group.unequal_processes([torch.tensor([5])]) == [1]


def test_a_fingerprint_sees_a_changed_bit_and_an_exchange() -> None:
    one, other = torch.randn(5), torch.randn(5)
    assert fingerprint([one, other]) == fingerprint([one.clone(), other])
    assert fingerprint([one, other]) != fingerprint([other, one])
    assert fingerprint([one * (1 + 1e-7), other]) != fingerprint([one, other])
    rows = torch.arange(3_000_000)
    assert fingerprint([rows.roll(1)]) != fingerprint([rows])
    assert fingerprint([rows.flip(0)]) != fingerprint([rows])


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
        refuse_missing_devices("cuda", 2)
    refuse_missing_devices("cpu", 2)


def test_training_goes_on_with_as_many_ranks_as_it_began_with() -> None:
    assert TWO.resumes(TWO)
    assert not Execution().resumes(TWO)
    assert not TWO.resumes(Execution())
