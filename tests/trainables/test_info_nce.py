"""The loss against a brute force, one query at a time."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from tests.trainables.test_gradcache import apart, objective, sharing
from trainables.spec import Negatives
from trainables.training.info_nce import info_nce


def brute_force(scores: NDArray[Any], *kinds: NDArray[Any]) -> tuple[float, float]:
    """Mean loss over queries, one at a time, in float64; and the share of masked negatives."""
    n, losses, masked = len(scores), [], 0
    for i in range(n):
        total = np.exp(scores[i, i])
        for j in range(n):
            if j == i:
                continue
            if any(ids[j] == ids[i] for ids in kinds):
                masked += 1
            else:
                total += np.exp(scores[i, j])
        losses.append(np.log(total) - scores[i, i])
    return float(np.mean(losses)), masked / (n * (n - 1))


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 9),
    groups=st.integers(1, 9),
    symmetric=st.booleans(),
    temperature=st.sampled_from([0.05, 0.2, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_masked_loss_equals_a_brute_force_over_queries(
    n: int, groups: int, symmetric: bool, temperature: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(2, n, 5)).astype(np.float32)
    kinds = random.integers(groups, size=(3, n))
    loss = info_nce(
        *torch.from_numpy(vectors),
        temperature=temperature,
        symmetric=symmetric,
        false_negatives=sharing(n, *torch.from_numpy(kinds)),
    )
    units = vectors.astype(np.float64)
    units /= np.linalg.norm(units, axis=-1, keepdims=True)
    scores = units[0] @ units[1].T / temperature
    value, masked = brute_force(scores, *kinds)
    if symmetric:
        value = (value + brute_force(scores.T, *kinds)[0]) / 2
    assert loss.value.item() == pytest.approx(value, rel=1e-4, abs=1e-5)
    assert loss.masked_fraction == pytest.approx(masked)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("side", ["queries", "passages"])
def test_of_several_vectors_the_nearest_counts(side: str, symmetric: bool) -> None:
    """As of BLIP-2, whose pictures have a vector for each query token."""
    random = np.random.default_rng(3)
    one, several = random.normal(size=(6, 5)), random.normal(size=(6, 4, 5))
    units = [v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (one, several)]
    scores = np.einsum("qd,pkd->qpk", *units).max(-1) / 0.2
    given = [torch.from_numpy(v.astype(np.float32)) for v in (one, several)]
    if side == "queries":
        scores, given = scores.T, given[::-1]
    loss = info_nce(*given, temperature=0.2, symmetric=symmetric)
    value, _ = brute_force(scores)
    if symmetric:
        value = (value + brute_force(scores.T)[0]) / 2
    assert loss.value.item() == pytest.approx(value, rel=1e-5)


def test_without_collisions_the_masked_loss_is_plain_info_nce_to_the_bit() -> None:
    queries, passages = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(0))
    masked, unmasked = (
        info_nce(queries, passages, temperature=0.05, symmetric=False, false_negatives=pairs)
        for pairs in (torch.empty((2, 0), dtype=torch.int64), None)
    )
    scores = F.normalize(queries) @ F.normalize(passages).T / 0.05
    plain = F.cross_entropy(scores, torch.arange(12))
    assert torch.equal(masked.value, plain)
    assert torch.equal(unmasked.value, plain)
    assert masked.masked_fraction == 0


def test_masking_off_keeps_false_negatives_in_the_denominator() -> None:
    queries, passages = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    losses = [
        info_nce(queries, passages, temperature=0.5, symmetric=False, false_negatives=pairs)
        for pairs in (sharing(6, torch.arange(6) // 2), None)
    ]
    assert losses[0].value < losses[1].value
    assert losses[0].masked_fraction == pytest.approx(6 / 30)
    assert losses[1].masked_fraction == 0


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_loss_in_blocks_equals_the_loss_in_one(
    symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = torch.randn(2, 50, 8, generator=torch.Generator().manual_seed(0))
    found = []
    for block in (1024, 16):
        monkeypatch.setattr("trainables.training.info_nce.BLOCK", block)
        leaf = vectors.clone().requires_grad_()
        loss = objective(50, symmetric=symmetric)(leaf[0], leaf[1])
        (gradient,) = torch.autograd.grad(loss.value, leaf)
        found.append((loss, gradient))
    assert found[0][0].value.item() == pytest.approx(found[1][0].value.item(), rel=1e-6)
    assert found[0][0].masked_fraction == found[1][0].masked_fraction > 0
    assert apart(found[1][1], found[0][1]) < 1e-6


def test_scores_are_float32_under_autocast() -> None:
    queries, passages = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0))
    expected = objective(8)(queries, passages).value
    with torch.autocast("cpu", torch.bfloat16):
        found = objective(8)(queries, passages).value
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def each_query(
    scores: NDArray[Any], owners: list[int], mode: Negatives, ids: NDArray[Any]
) -> tuple[float, int]:
    """Mean loss of the queries in float64 by the definitions, and how many are masked.

    Args:
        scores: (B, B + N), hard negatives last.
        owners: The row of each hard negative.
        mode: Which negatives count.
        ids: (kinds, B + N), what makes two passages the same.
    """
    n, losses, masked = len(scores), [], 0
    for i in range(n):
        counted = {
            "in_batch": [j for j in range(n) if j != i],
            "both": [j for j in range(n) if j != i] + [n + m for m in range(len(owners))],
            "hard": [n + m for m, owner in enumerate(owners) if owner == i],
            "paper_eq1": [n + m for m in range(len(owners))],
        }[mode]
        same = {j for j in counted if (ids[:, j] == ids[:, i]).any()}
        masked += len(same)
        terms = [scores[i, i]] + [scores[i, j] for j in counted if j not in same]
        losses.append(np.log(np.exp(terms).sum()) - scores[i, i])
    return float(np.mean(losses)), masked


@pytest.mark.parametrize("mode", get_args(Negatives))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_each_kind_of_negatives_equals_a_brute_force_over_queries(
    mode: Negatives, data: st.DataObject
) -> None:
    n = data.draw(st.integers(2, 8))
    owners = [] if mode == "in_batch" else data.draw(st.lists(st.integers(0, n - 1), max_size=12))
    groups, seed = data.draw(st.integers(1, 20)), data.draw(st.integers(0, 10**6))
    symmetric = mode in ("in_batch", "both") and data.draw(st.booleans())
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(2 * n + len(owners), 5)).astype(np.float32)
    questions = np.arange(n) if data.draw(st.booleans()) else random.integers(groups, size=n)
    golds, texts = random.integers(groups, size=(2, n + len(owners)))
    unasked = -1 - np.arange(len(owners))
    ids = np.stack([np.concatenate([questions, unasked]), golds, texts])
    loss = info_nce(
        torch.from_numpy(vectors[:n]),
        torch.from_numpy(vectors[n:]),
        temperature=0.2,
        symmetric=symmetric,
        false_negatives=sharing(n, *torch.from_numpy(ids)),
        negatives=mode,
        owners=torch.tensor(owners, dtype=torch.int64),
    )
    units = vectors.astype(np.float64)
    units /= np.linalg.norm(units, axis=-1, keepdims=True)
    scores = units[:n] @ units[n:].T / 0.2
    value, masked = each_query(scores, owners, mode, ids)
    if symmetric:
        value = (value + each_query(scores[:, :n].T, [], "in_batch", ids[:, :n])[0]) / 2
    assert loss.value.item() == pytest.approx(value, rel=1e-4, abs=1e-5)
    counted = {
        "in_batch": n * (n - 1),
        "both": n * (n - 1 + len(owners)),
        "hard": len(owners),
        "paper_eq1": n * len(owners),
    }
    assert loss.masked_fraction == pytest.approx(masked / max(1, counted[mode]))


@pytest.mark.parametrize("mode", get_args(Negatives))
def test_hard_negatives_in_blocks_equal_those_in_one(
    mode: Negatives, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = torch.arange(0 if mode == "in_batch" else 60) // 2 + 5
    vectors = torch.randn(100 + len(owners), 8, generator=torch.Generator().manual_seed(0))
    found = []
    for block in (1024, 16):
        monkeypatch.setattr("trainables.training.info_nce.BLOCK", block)
        leaf = vectors.clone().requires_grad_()
        temperature = torch.tensor(0.1, requires_grad=True)
        loss = info_nce(
            leaf[:50],
            leaf[50:],
            temperature=temperature,
            symmetric=False,
            false_negatives=sharing(50, torch.arange(50 + len(owners)) % 37),
            negatives=mode,
            owners=owners,
        )
        of_leaf, of_temperature = torch.autograd.grad(loss.value, (leaf, temperature))
        found.append((loss, of_leaf, of_temperature))
    (one, of_one, temperature_of_one), (blocks, of_blocks, temperature_of_blocks) = found
    assert one.value.item() == pytest.approx(blocks.value.item(), rel=1e-6)
    assert one.masked_fraction == blocks.masked_fraction > 0
    assert apart(of_blocks, of_one) < 1e-6
    assert temperature_of_blocks.item() == pytest.approx(temperature_of_one.item(), rel=1e-5)


def test_without_masking_every_hard_negative_counts() -> None:
    """And a query whose only negatives are its own has no others in its denominator."""
    queries, passages = torch.eye(2), torch.eye(2)
    arguments: dict[str, Any] = {
        "temperature": 1.0,
        "symmetric": False,
        "owners": torch.tensor([0]),
    }
    candidates = torch.cat([passages, queries[:1]])
    own = np.log(2 * np.e) - 1
    hard = info_nce(queries, candidates, negatives="hard", **arguments)
    assert hard.value.item() == pytest.approx(own / 2)
    every = info_nce(queries, candidates, negatives="paper_eq1", **arguments)
    assert every.value.item() == pytest.approx((own + np.log(np.e + 1) - 1) / 2)
