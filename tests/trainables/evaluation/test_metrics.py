from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.trainables.evaluation.toys import benchmark, parallel, vectors_for
from tests.trainables.evaluation.trec import Trec, open_trec
from trainables.data.benchmark import Benchmark
from trainables.evaluation.evaluate import Evaluation, evaluate_embeddings
from trainables.evaluation.metrics import (
    MEASURES,
    Lists,
    average_precision_at,
    by_query,
    hit_at,
    ndcg_at,
    recall_at,
    reciprocal_rank,
)


@pytest.fixture(scope="module")
def trec() -> Iterator[Trec]:
    yield from open_trec()


def scored(toy: Benchmark, scores: NDArray[np.float32]) -> Evaluation:
    return evaluate_embeddings(toy, *vectors_for(toy, scores))


def one_list(gains: Mapping[int, float], size: int = 200) -> Evaluation:
    """One query whose candidate i has rank i + 1."""
    toy = benchmark({"de": 1}, {"de": size}, {"de:q0": {f"de_{i}": g for i, g in gains.items()}})
    return scored(toy, np.arange(size, 0, -1, dtype=np.float32)[None])


def test_measures_by_hand() -> None:
    found = one_list({1: 1, 4: 1, 150: 1}).metrics
    assert found["map/mono/de"] == pytest.approx((1 / 2 + 2 / 5 + 3 / 151) / 3, abs=1e-15)
    assert found["map_at_20/mono/de"] == pytest.approx((1 / 2 + 2 / 5) / 3, abs=1e-15)
    assert found["mrr/mono/de"] == 1 / 2
    assert found["recall_at_1/mono/de"] == 0
    assert found["recall_at_10/mono/de"] == pytest.approx(2 / 3)
    assert found["recall_at_100/mono/de"] == pytest.approx(2 / 3)


def test_a_cut_off_includes_its_depth() -> None:
    """Ranks 10; 11; 5 and 10."""
    lists = Lists(np.arange(3), np.array([0, 1, 2, 4]), np.array([10, 11, 5, 10]), np.ones(4))
    assert hit_at(10)(lists).tolist() == [1, 0, 1]
    assert recall_at(10)(lists).tolist() == [1, 0, 1]
    assert recall_at(5)(lists).tolist() == [0, 0, 0.5]
    assert average_precision_at(10)(lists).tolist() == pytest.approx([0.1, 0, 0.2])
    last, second = 1 / np.log2(11), 1 / np.log2(3)
    expected = [last, 0, (1 / np.log2(6) + last) / (1 + second)]
    assert ndcg_at(10)(lists).tolist() == pytest.approx(expected)
    assert reciprocal_rank(lists).tolist() == pytest.approx([1 / 10, 1 / 11, 1 / 5])


def test_queries_without_a_relevant_candidate_are_counted() -> None:
    toy = benchmark({"de": 3}, {"de": 4}, {"de:q0": {"de_1": 1.0}, "de:q2": {"de_0": 1.0}})
    scores = np.arange(12, dtype=np.float32).reshape(3, 4)
    counts = scored(toy, scores).counts
    assert (counts["queries/mono/de"], counts["dropped/mono/de"]) == (2, 1)


def test_ndcg_is_linear_in_the_gain_and_ideal_over_all_judgements() -> None:
    found = one_list({0: 1, 2: 3, 40: 2}).metrics["ndcg_at_10/mono/de"]
    ideal = 3 / np.log2(2) + 2 / np.log2(3) + 1 / np.log2(4)
    assert found == pytest.approx((1 / np.log2(2) + 3 / np.log2(4)) / ideal, abs=1e-15)


def test_map_at_20_divides_by_at_most_20() -> None:
    found = one_list(dict.fromkeys(range(30), 1.0)).metrics
    assert found["map_at_20/mono/de"] == 1
    assert found["map/mono/de"] == 1


def trec_id(index: int) -> str:
    """Law 7 in trec_eval's words: it breaks ties by document id, descending."""
    return f"{999_999 - index:06d}"


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    levels=st.sampled_from([2, 5, 1000]),
    relevant=st.integers(1, 30),
    sizes=st.sampled_from([(40, 40), (150, 1), (7, 130)]),
)
def test_agrees_with_trec_eval(
    trec: Trec, seed: int, levels: int, relevant: int, sizes: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    names = [f"de_{i}" for i in range(sizes[0])] + [f"en_{i}" for i in range(sizes[1])]
    queries = [f"{language}:q{i}" for language in ("de", "en") for i in range(4)]
    qrels = {
        query: {
            names[i]: float(rng.integers(1, 4))
            for i in rng.choice(len(names), min(relevant, len(names)), replace=False)
        }
        for query in queries
    }
    toy = benchmark({"de": 4, "en": 4}, {"de": sizes[0], "en": sizes[1]}, qrels)
    scores = rng.integers(1, levels + 1, (8, len(names))).astype(np.float32)
    ranks = scored(toy, scores).ranks
    index = {name: i for i, name in enumerate(names)}
    slices = {"multi": range(len(names)), "de": range(sizes[0]), "en": range(sizes[0], len(names))}
    for target, inside in slices.items():
        kept = {
            query: {trec_id(index[n]): int(g) for n, g in gains.items() if index[n] in inside}
            for query, gains in qrels.items()
        }
        kept = {query: gains for query, gains in kept.items() if gains}
        run = {
            query: {trec_id(i): float(scores[queries.index(query), i]) for i in inside}
            for query in kept
        }
        theirs = trec(kept, run) if kept else {}
        for measure in MEASURES:
            ours = {
                str(ranks.query_ids[query]): value
                for name, (which, values) in by_query(ranks, measure).items()
                if name.startswith("multi/") == (target == "multi")
                and (target == "multi" or name.endswith(("/" + target, "-" + target)))
                for query, value in zip(which, values, strict=True)
            }
            if measure == "map_at_20":
                expected = {
                    # LAReQA divides by min(relevant, 20), trec_eval by all relevant.
                    query: value * len(kept[query]) / min(20, len(kept[query]))
                    for query, value in theirs.get("map_cut_20", {}).items()
                }
            else:
                expected = theirs.get(measure, {})
            assert ours == pytest.approx(expected, abs=1e-9)


def test_trec_eval_breaks_ties_by_id_and_ours_by_index(trec: Trec) -> None:
    toy = benchmark({"de": 1}, {"de": 2}, {"de:q0": {"de_0": 1.0}})
    assert scored(toy, np.ones((1, 2), np.float32)).metrics["map/mono/de"] == 1
    assert trec({"q": {"de_0": 1}}, {"q": {"de_0": 1.0, "de_1": 1.0}})["map"]["q"] == 0.5


def test_a_query_without_relevant_candidates_is_dropped_here_and_there(trec: Trec) -> None:
    toy = benchmark({"de": 2}, {"de": 2}, {"de:q0": {"de_0": 1.0}})
    found = scored(toy, np.array([[2, 1], [1, 2]], np.float32))
    assert found.metrics["map/mono/de"] == 1
    assert found.counts["dropped/no relevant candidate"] == 1
    theirs = trec({"q0": {"a": 1}}, {"q0": {"a": 2.0, "b": 1.0}, "q1": {"a": 1.0, "b": 2.0}})
    assert list(theirs["map"]) == ["q0"]


def test_settings_of_a_parallel_benchmark() -> None:
    toy = parallel(["de", "en", "tr"], questions=4, candidates=6)
    found = scored(toy, np.random.default_rng(0).random((12, 18)).astype(np.float32)).metrics
    assert {name for name in found if name.startswith("mrr/mono/")} == {
        "mrr/mono/de",
        "mrr/mono/en",
        "mrr/mono/tr",
    }
    assert sum(name.startswith("map/cross/") for name in found) == 6
    assert sum(name.startswith("map/multi/") for name in found) == 3
    for kind in ("mono", "cross", "multi"):
        members = [value for name, value in found.items() if name.startswith(f"map/{kind}/")]
        assert found[f"map/{kind}"] == pytest.approx(np.mean(members), abs=1e-15)


def test_one_language_has_neither_cross_nor_multi() -> None:
    toy = parallel(["de"], questions=4, candidates=6)
    found = scored(toy, np.random.default_rng(0).random((4, 6)).astype(np.float32)).metrics
    assert {name.split("/")[1] for name in found} == {"mono"}


def test_queries_of_languages_without_a_corpus_are_cross() -> None:
    qrels = {"ha:q0": {"en_1": 1.0}, "yo:q0": {"en_0": 1.0}}
    toy = benchmark({"ha": 1, "yo": 1}, {"en": 3}, qrels)
    found = scored(toy, np.array([[1, 3, 2], [1, 3, 2]], np.float32)).metrics
    assert found["map/cross/ha-en"] == 1
    assert found["map/cross/yo-en"] == pytest.approx(1 / 3)
    assert not [name for name in found if "/mono" in name or "/multi" in name]


def test_macro_and_micro_differ_when_languages_have_different_numbers_of_queries() -> None:
    qrels = {f"de:q{i}": {"de_0": 1.0, "en_0": 1.0} for i in range(3)}
    toy = benchmark({"de": 3, "en": 1}, {"de": 1, "en": 2}, qrels | {"en:q0": {"en_1": 1.0}})
    scores = np.array([[3, 2, 1]] * 3 + [[3, 2, 1]], np.float32)
    found = scored(toy, scores).metrics
    assert found["map/multi"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["map/multi_micro"] == pytest.approx((3 + 1 / 3) / 4)
