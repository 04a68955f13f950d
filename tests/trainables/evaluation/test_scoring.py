from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata

from tests.trainables.evaluation.toys import naive_map, order, parallel
from trainables.data.benchmark import Benchmark
from trainables.data.catalog import load_benchmark
from trainables.encoders.encoder import Embeddings
from trainables.evaluation import scoring
from trainables.evaluation.evaluate import evaluate_embeddings
from trainables.evaluation.ranks import DEPTHS, TOP


def check(queries: Embeddings, corpora: list[Embeddings], relevant: NDArray[np.int64]) -> None:
    """Compare everything `score` returns with a full sort; `relevant` is (n, k) pool indices."""
    n, k = relevant.shape
    starts = (np.arange(n + 1) * k).astype(np.int32)
    found = scoring.score(queries, corpora, starts, relevant.ravel())
    bounds = np.cumsum([0, *map(len, corpora)])
    scores = queries @ np.concatenate(corpora).T
    for row in range(n):
        ranking = order(scores[row])
        first = ranking[:TOP]
        assert found.top[row].tolist() == [*first, *[-1] * (TOP - len(first))]
        rank_of = {int(index): place for place, index in enumerate(ranking, 1)}
        for pair in range(row * k, row * k + k):
            index = relevant.ravel()[pair]
            language = np.searchsorted(bounds, index, side="right") - 1
            own = slice(bounds[language], bounds[language + 1])
            place = int(index - bounds[language])
            expected = [
                int(np.flatnonzero(order(scores[row, own]) == place)[0]) + 1,
                int(np.count_nonzero(scores[row, own] == scores[row, index])) - 1,
                int(np.count_nonzero(scores[row, own][:place] == scores[row, index])),
                rank_of[int(index)],
                int(np.count_nonzero(scores[row] == scores[row, index])) - 1,
                int(np.count_nonzero(scores[row, :index] == scores[row, index])),
            ]
            assert found.pairs[:, pair].tolist() == expected
        for place, depth in enumerate(DEPTHS):
            last = scores[row, ranking[min(depth, len(ranking)) - 1]]
            for language, (low, high) in enumerate(pairwise(bounds)):
                part = scores[row, low:high]
                assert found.above[row, place, language] == np.count_nonzero(part > last)
                assert found.tied[row, place, language] == np.count_nonzero(part == last)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 70), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 1),
    levels=st.sampled_from([1, 2, 4, 30]),
    block=st.sampled_from([1, 300, 10**6]),
)
def test_equals_a_full_sort_with_any_ties(
    seed: int, sizes: list[int], levels: int, block: int
) -> None:
    rng = np.random.default_rng(seed)
    # Small integers: their products are exact, whatever the order of addition.
    queries = rng.integers(-levels, levels + 1, (11, 5)).astype(np.float32)
    corpora = [rng.integers(-levels, levels + 1, (size, 5)).astype(np.float32) for size in sizes]
    total = sum(sizes)
    relevant = np.stack(
        [np.sort(rng.choice(total, min(3, total), replace=False)) for _ in queries]
    ).astype(np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_BLOCK", block)
        check(queries, corpora, relevant)
        patch.setattr(scoring, "_JOINED", -1)
        check(queries, corpora, relevant)


def test_the_midrank_is_the_mean_over_all_orders_of_ties() -> None:
    toy = parallel(["de", "en", "tr"], questions=6, candidates=8)
    rng = np.random.default_rng(4)
    queries, corpus = rng.integers(1, 3, (18, 4)), rng.integers(1, 3, (24, 4))
    corpora = dict(zip(toy.corpus, np.split(corpus.astype(np.float32), 3), strict=True))
    asked = dict(zip(toy.queries, np.split(queries.astype(np.float32), 3), strict=True))
    ranks = evaluate_embeddings(toy, asked, corpora).ranks
    scores = queries @ corpus.T
    pool = [candidate.id for items in toy.corpus.values() for candidate in items]
    expected = [
        rankdata(-scores[query], "average")[pool.index(name)]
        for query, name in zip(ranks.pair_query, ranks.candidate_ids[ranks.candidate], strict=True)
    ]
    assert ranks.pool_midrank.tolist() == expected
    assert (ranks.pool_ties > 0).any()


def test_equal_vectors_tie_exactly_in_every_column() -> None:
    rng = np.random.default_rng(1)
    queries = rng.standard_normal((40, 96)).astype(np.float32)
    first = rng.standard_normal((501, 96)).astype(np.float32)
    second = rng.standard_normal((333, 96)).astype(np.float32)
    first[[17, 500]] = first[3]
    second[332] = first[3]
    pool = np.array([3, 17, 500, 501 + 332])
    found = scoring.score(
        queries,
        [first, second],
        np.arange(0, 161, 4, dtype=np.int32),
        np.tile(pool, 40).astype(np.int64),
    )
    pool_rank = found.pairs[3].reshape(40, 4)
    assert (pool_rank - pool_rank[:, :1] == [0, 1, 2, 3]).all()
    assert (found.pairs[4] == 3).all()
    assert found.pairs[1].reshape(40, 4).tolist() == [[2, 2, 2, 0]] * 40


def test_a_product_that_differs_by_column_does_not_part_equal_vectors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some libraries compute the last columns of a matrix in another order of addition."""
    product = scoring._product

    def uneven(queries: Embeddings, matrices: Sequence[Embeddings], block: Embeddings) -> None:
        product(queries, matrices, block)
        block += np.arange(block.shape[1], dtype=np.float32) * 1e-3

    monkeypatch.setattr(scoring, "_product", uneven)
    corpus = np.eye(6, dtype=np.float32)[[0, 1, 0, 2, 0]]
    queries = np.ones((1, 6), np.float32)
    found = scoring.score(queries, [corpus], np.array([0, 3], np.int32), np.array([0, 2, 4]))
    assert found.pairs[4].tolist() == [2, 2, 2]
    assert found.pairs[5].tolist() == [0, 1, 2]


def test_a_memory_mapped_corpus_is_only_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    corpus = rng.standard_normal((300, 16)).astype(np.float32)
    np.save(tmp_path / "corpus.npy", corpus)
    mapped = np.load(tmp_path / "corpus.npy", mmap_mode="r")
    queries = rng.standard_normal((20, 16)).astype(np.float32)
    starts, relevant = np.arange(21, dtype=np.int32), np.arange(20, dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_JOINED", -1)
        from_map = scoring.score(queries, [mapped], starts, relevant)
    np.testing.assert_array_equal(
        from_map.pairs, scoring.score(queries, [corpus], starts, relevant).pairs
    )


def integer_world(
    toy: Benchmark, dimension: int = 48, seed: int = 0
) -> tuple[dict[str, Embeddings], dict[str, Embeddings]]:
    """Translations share a direction, each language has its own; products are exact integers."""
    rng = np.random.default_rng(seed)
    meaning: dict[str, NDArray[np.float64]] = {}
    named = {
        candidate: query.question
        for items in toy.queries.values()
        for query in items
        for candidate in toy.qrels[query.id]
    }

    def vectors(keys: list[str], noise: float) -> Embeddings:
        own = rng.standard_normal(dimension)
        rows = [meaning.setdefault(key, rng.standard_normal(dimension)) for key in keys]
        noisy = np.stack(rows) + 0.5 * own + noise * rng.standard_normal((len(keys), dimension))
        return np.round(4 * noisy).astype(np.float32)

    queries = {la: vectors([q.question for q in items], 1.0) for la, items in toy.queries.items()}
    passages = {
        la: vectors([named.get(c.id, c.id) for c in items], 1.5) for la, items in toy.corpus.items()
    }
    return queries, passages


@pytest.mark.parametrize("relevant", [1, 3])
def test_map_of_every_setting_equals_the_naive_sort(relevant: int) -> None:
    toy = parallel(["de", "en", "tr"], questions=25, candidates=60, relevant=relevant)
    queries, passages = integer_world(toy, dimension=12)
    found = evaluate_embeddings(toy, queries, passages).metrics
    expected = naive_map(toy, queries, passages)
    assert len(expected) == 12
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12, rel=0)


@pytest.mark.slow
def test_map_on_xquad_r_equals_the_naive_sort(shared: Path) -> None:
    toy = load_benchmark("xquad_r", shared / "data" / "xquad-r")
    queries, passages = integer_world(toy)
    found = evaluate_embeddings(toy, queries, passages).metrics
    expected = naive_map(toy, queries, passages)
    assert len(expected) == 11 + 110 + 11
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12, rel=0)
