from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import friedmanchisquare

from tests.trainables.evaluation.toys import benchmark, parallel, vectors_for
from trainables.data.benchmark import Benchmark
from trainables.errors import UserError
from trainables.evaluation.bias import kendall_w, rank_distances
from trainables.evaluation.evaluate import Evaluation, evaluate_embeddings


def scored(toy: Benchmark, scores: NDArray[np.float32]) -> Evaluation:
    return evaluate_embeddings(toy, *vectors_for(toy, scores))


def random_scores(toy: Benchmark, seed: int = 0) -> NDArray[np.float32]:
    shape = sum(map(len, toy.queries.values())), sum(map(len, toy.corpus.values()))
    return np.random.default_rng(seed).permuted(
        np.tile(np.arange(1, shape[1] + 1, dtype=np.float32), (shape[0], 1)), axis=1
    )


def test_rank_distance_by_hand() -> None:
    toy = benchmark(
        {"de": 1}, {"de": 2, "en": 2, "tr": 2}, {"de:q0": {"de_0": 1, "en_0": 1, "tr_1": 1}}
    )
    found = scored(toy, np.array([[6, 5, 4, 3, 2, 1]], np.float32)).metrics
    assert found["rank_distance/de"] == 6 - 1
    assert found["rank_distance_pair/de"] == pytest.approx((2 + 5 + 3) / 3)
    assert found["rank_distance_normalised/de"] == pytest.approx(5 / (7 * 2 / 4))


def test_random_order_has_the_expected_rank_distance() -> None:
    toy = parallel(["de", "en", "es", "tr"], questions=300, candidates=300)
    found = scored(toy, random_scores(toy)).metrics
    assert found["rank_distance_normalised"] == pytest.approx(1, abs=0.03)
    assert found["rank_distance"] == pytest.approx(1201 * 3 / 5, rel=0.03)
    assert found["kendall_w"] < 0.02
    assert found["share_distance_at_10"] < 0.03
    assert found["same_language_share_at_10"] == pytest.approx(1 / 4, abs=0.03)


def test_partly_parallel_queries_count_where_two_languages_are_relevant() -> None:
    toy = benchmark(
        {"de": 2}, {"de": 3, "en": 3}, {"de:q0": {"de_0": 1, "en_2": 1}, "de:q1": {"de_1": 1}}
    )
    found = scored(toy, np.array([[6, 5, 4, 3, 2, 1]] * 2, np.float32))
    assert found.metrics["rank_distance/de"] == 5
    assert np.isnan(rank_distances(found.ranks)["rank_distance"]).tolist() == [False, True]


def test_kendalls_w_agrees_with_scipy() -> None:
    toy = parallel(["de", "en", "tr"], questions=40, candidates=50)
    scores = random_scores(toy)
    scores[:, 50:100] *= 1.3
    found = scored(toy, scores)
    for language, code in (("de", 0), ("en", 1), ("tr", 2)):
        ranks = found.ranks.pool_rank.reshape(-1, 3)[found.ranks.query_language == code]
        chi2 = float(friedmanchisquare(*ranks.T).statistic)
        w = chi2 / (40 * 2)
        assert found.metrics[f"kendall_w/{language}"] == pytest.approx(w, abs=1e-12)
    ties = np.random.default_rng(3).integers(0, 3, (30, 4)).astype(np.float64)
    chi2 = float(friedmanchisquare(*ties.T).statistic)
    assert kendall_w(ties) == pytest.approx(chi2 / (30 * 3), abs=1e-12)


def test_identical_languages_show_no_preference() -> None:
    """The null world: every translation scores the same, so law 7 alone orders the languages."""
    toy = parallel(["de", "en", "es", "tr"], questions=30, candidates=40)
    one = np.random.default_rng(0).permuted(np.tile(np.arange(1.0, 41), (120, 1)), axis=1)
    found = scored(toy, np.tile(one, 4).astype(np.float32))
    assert found.metrics["kendall_w"] == 0
    assert found.metrics["share_distance_at_10"] == pytest.approx(0, abs=1e-12)


def test_places_in_the_top_shared_by_ties() -> None:
    """Six candidates stand above; four places are left for eight tied ones, three of them de."""
    toy = benchmark({"de": 1}, {"de": 7, "en": 7}, {"de:q0": {"de_0": 1, "en_0": 1}})
    scores = np.array([[5, 5, 5, 5, 1, 1, 1, 5, 5, 1, 1, 1, 1, 1]], np.float32)
    ranks = scored(toy, scores).ranks
    assert ranks.language_counts(10).tolist() == [[7, 3]]
    assert ranks.language_counts(10, fair=True).tolist() == [[4 + 3 / 2, 2 + 5 / 2]]
    assert ranks.language_counts(100).tolist() == [[7, 7]]
    assert [str(ranks.candidate_ids[code]) for code in ranks.top[0]] == [
        *(f"de_{i}" for i in range(4)),
        *("en_0", "en_1", "de_4", "de_5", "de_6", "en_2"),
    ]


def test_a_preferred_language_is_found() -> None:
    toy = parallel(["de", "en", "tr"], questions=40, candidates=50)
    scores = random_scores(toy)
    scores[:, 50:100] += 200
    found = scored(toy, scores)
    assert found.metrics["share_at_10/en"] == 1
    assert found.metrics["same_language_share_at_10/en"] == 1
    assert found.metrics["same_language_share_at_10/de"] == 0
    assert found.metrics["share_distance_at_10"] == pytest.approx(2 / 3)
    assert found.metrics["relevant_share/en"] == pytest.approx(1 / 3)


def test_a_pool_judged_in_one_language_has_no_bias_measures() -> None:
    qrels = {f"{la}:q{i}": {f"{la}_{i}": 1.0} for la in ("de", "en") for i in range(5)}
    toy = benchmark({"de": 5, "en": 5}, {"de": 9, "en": 9}, qrels, judged_in_all_languages=False)
    found = scored(toy, random_scores(toy))
    assert "map/pool_same_language/de" in found.metrics
    assert "map/pool_same_language" in found.metrics
    unwanted = ("rank_distance", "kendall", "share", "map/multi", "map/cross", "map_gap/multi")
    assert not [name for name in found.metrics if name.startswith(unwanted)]
    with pytest.raises(UserError, match="only in the query's own language"):
        rank_distances(found.ranks)


def test_adding_language_identity_raises_such_a_pool() -> None:
    """Why the pool is no measure of multilingual retrieval: identity alone improves it."""
    rng = np.random.default_rng(0)
    qrels = {f"{la}:q{i}": {f"{la}_{i}": 1.0} for la in ("de", "en") for i in range(60)}
    toy = benchmark({"de": 60, "en": 60}, {"de": 60, "en": 60}, qrels, False)
    meaning = rng.standard_normal((60, 16))
    plain = [(meaning + 0.8 * rng.standard_normal((60, 16))).astype(np.float32) for _ in range(4)]

    def pool_map(identity: float) -> float:
        parts = [
            np.hstack([x, np.tile([identity, 0] if i % 2 == 0 else [0, identity], (60, 1))])
            for i, x in enumerate(plain)
        ]
        q, p = ([x.astype(np.float32) for x in part] for part in (parts[:2], parts[2:]))
        names = ("de", "en")
        return evaluate_embeddings(
            toy, dict(zip(names, q, strict=True)), dict(zip(names, p, strict=True))
        ).metrics["map/pool_same_language"]

    assert pool_map(6) > pool_map(0) + 0.05


def test_gaps_over_languages() -> None:
    toy = parallel(["de", "en", "tr"], questions=10, candidates=12)
    found = scored(toy, random_scores(toy)).metrics
    mono = [found[f"map/mono/{la}"] for la in ("de", "en", "tr")]
    assert found["map_gap/mono"] == pytest.approx(max(mono) - min(mono))
    assert found["map_spread/mono"] == pytest.approx(np.std(mono))
    assert found["map_worst/mono"] == min(mono)
    into = {
        c: np.mean([found[f"map/cross/{q}-{c}"] for q in ("de", "en", "tr") if q != c])
        for c in ("de", "en", "tr")
    }
    assert found["map_worst/cross_by_corpus"] == pytest.approx(min(into.values()))
    assert found["map_gap/mono_cross"] == pytest.approx(found["map/mono"] - found["map/cross"])
