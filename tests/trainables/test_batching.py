"""Composition, independence, reproducibility and coverage of batches."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2_contingency, chisquare

from trainables.errors import UserError
from trainables.spec import Rows, Sampling
from trainables.training.availability import LanguageAvailability, limited
from trainables.training.batching import Batch, Batches, SamplingWeights

SAMPLINGS = get_args(Sampling)


def make(sampling: Sampling = "hybrid", **changes: object) -> Batches:
    values = {"rows": 50, "languages": 4, "alpha": 0.5, "batch_size": 8, "seed": 3} | changes
    return Batches(sampling=sampling, **values)  # type: ignore[arg-type]


def partial(rows: int, languages: int, seed: int, *, sides: bool = False) -> LanguageAvailability:
    """Rows that lack some languages, each with two at least; with `sides`, on one side only."""
    random = np.random.default_rng(seed)
    tables = []
    for _ in range(2 if sides else 1):
        table = random.random((rows, languages)) < np.linspace(0.25, 0.9, languages)
        table[
            np.arange(rows)[:, None],
            random.permuted(np.tile(np.arange(languages), (rows, 1)), axis=1)[:, :2],
        ] = True
        tables.append(table)
    return LanguageAvailability(tables[0], tables[-1])


LACKING = {"rows": 200, "languages": 4, "presence": partial(200, 4, 0)}


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
    arguments: dict[str, Any] = {
        "rows": data.draw(st.integers(size, 40)),
        "batch_size": size,
        "sampling": data.draw(st.sampled_from(SAMPLINGS)),
        "seed": data.draw(st.integers(0, 2**31 - 1)),
        "laws": SamplingWeights(languages_per_batch=data.draw(st.sampled_from([None, 2, 3]))),
    }
    if data.draw(st.booleans()):
        arguments |= {**LACKING, "batch_size": 8, "laws": SamplingWeights(0.5, 2.0)}
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


@pytest.mark.parametrize("sides", [False, True])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_row_is_read_only_in_languages_that_it_has(sampling: Sampling, sides: bool) -> None:
    presence = partial(200, 4, 1, sides=sides)
    batches = make(sampling, rows=200, presence=presence, laws=SamplingWeights(0.5, 0.5))
    read = set()
    for t in range(3000 if sampling == "X-Y-fixed" else 300):
        batch = batches[t]
        assert len(set(batch.rows)) == len(batch.rows) == 8
        assert presence.queries[batch.rows, batch.query_languages].all()
        assert presence.passages[batch.rows, batch.passage_languages].all()
        read |= set(batch.rows)
        if sampling in ("X-X", "X-Y-fixed") or (sampling == "hybrid" and batch.kind == "X-X"):
            assert len({*zip(batch.query_languages, batch.passage_languages, strict=True)}) == 1
    mono, crossed = presence.same.any(1), presence.crossed
    select_rows = {
        "X-X": mono,
        "X-X-mixed": mono,
        "row-hybrid": mono & crossed,
        "hybrid": mono | crossed,
    }
    assert read == set(np.flatnonzero(select_rows.get(sampling, crossed)))


def test_batches_of_several_languages_read_the_same_rows_whatever_rows_lack() -> None:
    """Every row exists in two languages here, so every arm that mixes languages can read it."""
    arms = [make(sampling, **LACKING) for sampling in ("X-Y", "X-X-mixed", "row-hybrid")]
    whole = make("X-Y", rows=200)
    for t in range(60):
        assert all(np.array_equal(arm[t].rows, whole[t].rows) for arm in arms)


def test_a_hybrid_batch_is_one_of_the_pure_arms_where_rows_lack_languages_too() -> None:
    hybrid, mono, cross = (make(x, **LACKING) for x in ("hybrid", "X-X", "X-Y"))
    for t in range(100):
        assert equal(hybrid[t], (mono if hybrid[t].kind == "X-X" else cross)[t])


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_languages_follow_their_law(power: float) -> None:
    """Batches of one language; each exists in another number of rows."""
    batches = make("X-X", **LACKING, laws=SamplingWeights(language=power))
    sizes = LACKING["presence"].same.sum(0)  # type: ignore[attr-defined]
    assert len(set(sizes)) == 4
    drawn = np.bincount([batches[t].query_languages[0] for t in range(3000)], minlength=4)
    expected = sizes**power / (sizes**power).sum() * 3000
    assert chisquare(drawn, expected).pvalue > 1e-4


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_pairs_follow_their_law(power: float) -> None:
    presence = partial(200, 3, 2, sides=True)
    batches = make(
        "X-Y-fixed", rows=200, languages=3, presence=presence, laws=SamplingWeights(pair=power)
    )
    sizes = presence.pair_sizes()
    drawn = np.zeros((3, 3), dtype=np.int64)
    for t in range(3000):
        drawn[batches[t].query_languages[0], batches[t].passage_languages[0]] += 1
    off = ~np.eye(3, dtype=bool)
    expected = sizes[off] ** power / (sizes[off] ** power).sum() * 3000
    assert drawn[~off].sum() == 0
    assert chisquare(drawn[off], expected).pvalue > 1e-4


def test_a_row_draws_its_languages_by_the_law_among_those_that_it_has() -> None:
    presence = LanguageAvailability(
        *2 * [np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1], [1, 0, 1]], dtype=bool)]
    )
    presence = LanguageAvailability(
        *2 * [np.concatenate([presence.queries] * 5 + [presence.queries[:1]] * 9)]
    )
    mono, cross = (
        make(
            x,
            rows=29,
            languages=3,
            presence=presence,
            laws=SamplingWeights(2.0, 2.0),
            batch_size=29,
        )
        for x in ("X-X-mixed", "X-Y")
    )
    of_row_1 = np.zeros((2, 3, 3), dtype=np.int64)
    for t in range(3000):
        for arm, batches in enumerate((mono, cross)):
            batch = batches[t]
            [at] = np.flatnonzero(batch.rows == 1)
            of_row_1[arm, batch.query_languages[at], batch.passage_languages[at]] += 1
    sizes, pairs = presence.same.sum(0) ** 2.0, presence.pair_sizes() ** 2.0
    assert chisquare(np.diag(of_row_1[0]), 3000 * sizes / sizes.sum()).pvalue > 1e-4
    off = ~np.eye(3, dtype=bool)
    assert chisquare(of_row_1[1][off], (3000 * pairs / pairs.sum())[off]).pvalue > 1e-4


@pytest.mark.parametrize("sampling", ["X-Y", "X-X-mixed", "row-hybrid", "hybrid"])
def test_no_more_languages_than_allowed_are_in_a_batch(sampling: Sampling) -> None:
    batches = make(sampling, rows=200, batch_size=32, laws=SamplingWeights(languages_per_batch=2))
    alone = make(sampling, rows=200, batch_size=32)
    subsets = np.zeros((4, 4), dtype=np.int64)
    for t in range(1500):
        batch = batches[t]
        found = sorted({*batch.query_languages, *batch.passage_languages})
        assert np.array_equal(batch.rows, alone[t].rows), "content is drawn by itself"
        if sampling == "hybrid" and batch.kind == "X-X":
            assert equal(batch, make("X-X", rows=200, batch_size=32)[t])
        else:
            assert len(found) == 2
            subsets[tuple(found)] += 1
    assert chisquare(subsets[np.triu_indices(4, 1)]).pvalue > 1e-4


def test_with_every_row_in_every_language_all_laws_are_the_uniform_one() -> None:
    for sampling in SAMPLINGS:
        uniform, proportional = make(sampling), make(sampling, laws=SamplingWeights(1.0, 1.0))
        assert all(equal(uniform[t], proportional[t]) for t in range(50))


def test_a_smaller_training_set_of_a_seed_is_part_of_a_larger_one() -> None:
    rows = np.arange(0, 100, 2)
    few, more = (limited(rows, most, seed=1) for most in (10, 30))
    assert set(few) < set(more) < set(rows)
    assert list(few) == sorted(few)
    assert set(few) != set(limited(rows, 10, seed=2))
    assert np.array_equal(limited(rows, 50, seed=1), rows)
    assert limited(rows, None, seed=1) is rows


def test_rows_are_kept_by_the_languages_that_they_have() -> None:
    queries = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
    passages = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 0], [1, 0, 0], [1, 1, 1]], dtype=bool)
    presence = LanguageAvailability(queries, passages)
    kept = {rule: presence.follow(rule).tolist() for rule in get_args(Rows)}
    assert kept == {"in_all": [0], "in_two": [0, 1], "in_any": [0, 1, 2, 3]}
    with pytest.raises(UserError, match="rows=in_two"):
        presence.keep(np.array([2, 3])).follow("in_two")


def test_mistakes_say_what_to_do() -> None:
    with pytest.raises(UserError, match=r"max_rows 60.*50 rows"):
        limited(np.arange(50), 60, seed=0)
    with pytest.raises(UserError, match=r"languages_per_batch 2.*rows=in_all"):
        make("X-Y", **LACKING, laws=SamplingWeights(languages_per_batch=2))
    with pytest.raises(UserError, match=r"batch_size 199.*smallest has \d+ rows"):
        make("X-X", **LACKING, batch_size=199)
    with pytest.raises(UserError, match=r"batch_size 8.*smallest has 0 rows"):
        make(
            "X-Y",
            rows=50,
            presence=LanguageAvailability(*2 * [np.eye(4, dtype=bool)[np.arange(50) % 4]]),
        )
    with pytest.raises(UserError, match=r"batch_size 51.*50 rows"):
        make(batch_size=51)
    with pytest.raises(UserError, match="at least two"):
        make("X-Y", languages=1)
    with pytest.raises(UserError, match="needs alpha"):
        make("hybrid", alpha=None)
    assert make("X-X", languages=1, alpha=None)[0].kind == "X-X"


def test_a_golden_batch_pins_the_streams() -> None:
    """Fails when the draws change; raise `RECIPE` in trainables/spec/spec.py with it."""
    batch = make("row-hybrid")[7]
    assert batch.rows.tolist() == [43, 24, 36, 7, 40, 23, 3, 1]
    assert batch.query_languages.tolist() == [0, 2, 0, 0, 1, 3, 3, 1]
    assert batch.passage_languages.tolist() == [3, 2, 2, 0, 0, 3, 3, 2]
