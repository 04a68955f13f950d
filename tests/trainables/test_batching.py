"""Composition, independence, reproducibility and coverage of batches."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2_contingency, chisquare

from trainables.batching import Batch, Batches
from trainables.errors import UserError
from trainables.spec import Sampling

SAMPLINGS = get_args(Sampling)


def make(sampling: Sampling = "hybrid", **changes: object) -> Batches:
    values = {"rows": 50, "languages": 4, "alpha": 0.5, "batch_size": 8, "seed": 3} | changes
    return Batches(sampling=sampling, **values)  # type: ignore[arg-type]


def equal(one: Batch, other: Batch) -> bool:
    return one.kind == other.kind and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("rows", "query_languages", "passage_languages")
    )


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_rows_form_epochs_without_a_row_twice_in_a_batch(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 12))
    rows = data.draw(st.integers(size, 40))
    batches = make(rows=rows, batch_size=size, seed=data.draw(st.integers(0, 2**31 - 1)))
    drawn = [batches[t].rows for t in range(2 * rows)]
    assert all(len(set(batch)) == size for batch in drawn)
    flat = np.concatenate(drawn)
    # 2 * size whole epochs lie in the stream, and each holds every row exactly once
    for epoch in flat.reshape(-1, rows):
        assert sorted(epoch) == list(range(rows))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_batch_is_a_pure_function_of_seed_and_number(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 12))
    arguments = {
        "rows": data.draw(st.integers(size, 40)),
        "batch_size": size,
        "sampling": data.draw(st.sampled_from(SAMPLINGS)),
        "seed": data.draw(st.integers(0, 2**31 - 1)),
    }
    order = data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=8))
    used = make(**arguments)
    for t in order:
        assert equal(used[t], make(**arguments)[t])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_composition_is_what_the_sampling_promises(sampling: Sampling) -> None:
    batches = make(sampling)
    for t in range(100):
        batch = batches[t]
        same = batch.query_languages == batch.passage_languages
        one_query = len(set(batch.query_languages)) == 1
        one_passage = len(set(batch.passage_languages)) == 1
        if sampling == "X-X":
            assert batch.kind == "X-X"
            assert all([*same, one_query])
        elif sampling == "X-Y":
            assert batch.kind == "X-Y"
            assert not same.any()
        elif sampling == "X-X-mixed":
            assert batch.kind == "X-X"
            assert same.all()
        elif sampling == "X-Y-fixed":
            assert batch.kind == "X-Y"
            assert not same.any()
            assert all([one_query, one_passage])
        elif sampling == "row-hybrid":
            assert batch.kind == "mixed"
        else:
            assert same.all() if batch.kind == "X-X" else not same.any()
            assert one_query or batch.kind == "X-Y"


def test_mixed_arms_do_mix_languages_in_a_batch() -> None:
    for sampling in ("X-X-mixed", "X-Y", "row-hybrid"):
        batches = make(sampling)
        mixed = [len(set(batches[t].query_languages)) > 1 for t in range(50)]
        assert np.mean(mixed) > 0.95


def test_all_arms_of_a_seed_read_the_same_rows() -> None:
    arms = [make(sampling, alpha=alpha) for sampling in SAMPLINGS for alpha in (0.1, 0.9)]
    for t in range(30):
        first, *others = (arm[t].rows for arm in arms)
        assert all(np.array_equal(first, other) for other in others)


def test_another_seed_changes_rows_and_languages() -> None:
    one, other = make("X-X", seed=1), make("X-X", seed=2)
    assert not np.array_equal(one[0].rows, other[0].rows)
    languages = [[arm[t].query_languages[0] for t in range(40)] for arm in (one, other)]
    assert languages[0] != languages[1]


def test_a_hybrid_batch_is_the_batch_of_one_of_the_pure_arms() -> None:
    hybrid, mono, cross = make("hybrid"), make("X-X"), make("X-Y")
    kinds = {hybrid[t].kind for t in range(100)}
    assert kinds == {"X-X", "X-Y"}
    for t in range(100):
        assert equal(hybrid[t], (mono if hybrid[t].kind == "X-X" else cross)[t])


def test_a_higher_alpha_keeps_every_monolingual_batch_of_a_lower_one() -> None:
    kinds = {
        alpha: [make("hybrid", alpha=alpha)[t].kind for t in range(200)]
        for alpha in (0.0, 0.3, 0.7, 1.0)
    }
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0)):
        pairs = zip(kinds[low], kinds[high], strict=True)
        assert all(more == "X-X" for less, more in pairs if less == "X-X")
    assert (set(kinds[0.0]), set(kinds[1.0])) == ({"X-Y"}, {"X-X"})


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("sampling", ["hybrid", "row-hybrid"])
def test_the_ratio_lies_within_binomial_bounds(sampling: Sampling, alpha: float) -> None:
    batches = make(sampling, alpha=alpha)
    same = [batches[t].query_languages == batches[t].passage_languages for t in range(1500)]
    flips = np.concatenate(same) if sampling == "row-hybrid" else np.array([s[0] for s in same])
    low, high = binom.interval(0.9999, len(flips), alpha)
    assert low <= flips.sum() <= high


def test_languages_and_ordered_pairs_are_drawn_uniformly() -> None:
    mono = [make("X-X", batch_size=1)[t].query_languages[0] for t in range(2000)]
    assert chisquare(np.bincount(mono, minlength=4)).pvalue > 1e-4
    cross = make("X-Y")
    pairs = np.zeros((4, 4), dtype=np.int64)
    for t in range(500):
        np.add.at(pairs, (cross[t].query_languages, cross[t].passage_languages), 1)
    assert (np.diag(pairs) == 0).all()
    assert chisquare(pairs[~np.eye(4, dtype=bool)]).pvalue > 1e-4


def test_languages_are_independent_of_content_and_of_the_coin() -> None:
    batches = make("hybrid", rows=4, batch_size=1, languages=3)
    by_row = np.zeros((4, 3), dtype=np.int64)
    by_coin = np.zeros((2, 3), dtype=np.int64)
    for t in range(3000):
        batch = batches[t]
        by_row[batch.rows[0], batch.query_languages[0]] += 1
        by_coin[int(batch.kind == "X-X"), batch.query_languages[0]] += 1
    assert chi2_contingency(by_row).pvalue > 1e-4
    assert chi2_contingency(by_coin).pvalue > 1e-4


def test_every_row_is_read_in_every_pair_of_languages() -> None:
    batches = make("X-Y", rows=10, languages=3, batch_size=5)
    seen = {
        triple
        for t in range(300)
        for triple in zip(
            batches[t].rows, batches[t].query_languages, batches[t].passage_languages, strict=True
        )
    }
    assert len(seen) == 10 * 3 * 2


def test_mistakes_say_what_to_do() -> None:
    with pytest.raises(UserError, match=r"batch_size 51.*50 rows"):
        make(batch_size=51)
    with pytest.raises(UserError, match="at least two"):
        make("X-Y", languages=1)
    with pytest.raises(UserError, match="needs alpha"):
        make("hybrid", alpha=None)
    assert make("X-X", languages=1, alpha=None)[0].kind == "X-X"


def test_a_golden_batch_pins_the_streams() -> None:
    """Fails when the draws change; raise `RECIPE` in trainables/spec.py with it."""
    batch = make("row-hybrid")[7]
    assert batch.rows.tolist() == [43, 24, 36, 7, 40, 23, 3, 1]
    assert batch.query_languages.tolist() == [0, 2, 0, 0, 1, 3, 3, 1]
    assert batch.passage_languages.tolist() == [3, 2, 2, 0, 0, 3, 3, 2]
