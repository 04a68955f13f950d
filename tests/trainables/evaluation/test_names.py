"""What the names of metrics say."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trainables.evaluation.toys import parallel, vectors_for
from trainables.evaluation.evaluate import evaluate_embeddings
from trainables.evaluation.metric_names import best_value, digits_of, lower_is_better

LANGUAGES = ["de", "en", "tr"]

SIGNLESS = ("same_language_share", "share_at")
"""Shares that say which language is ahead, and are best at that of chance."""


def test_lower_is_better_of_what_grows_with_a_bias() -> None:
    toy = parallel(LANGUAGES, questions=30, candidates=30)
    rng = np.random.default_rng(0)
    # every translation of the right candidate ahead, in no language's order
    right = np.tile(np.eye(30, dtype=np.float32), (3, 3))
    fair = 10 * right + rng.permuted(np.tile(np.arange(90) / 90, (90, 1)), axis=1)
    # English candidates ahead of all others, and Turkish questions that find nothing
    biased = fair.copy()
    biased[:, 30:60] += 20
    biased[60:] = rng.permuted(biased[60:], axis=1)
    one, other = (
        evaluate_embeddings(toy, *vectors_for(toy, scores.astype(np.float32))).metrics
        for scores in (fair, biased)
    )
    for metric, value in one.items():
        if not metric.startswith(SIGNLESS) and abs(other[metric] - value) > 0.05:
            assert lower_is_better(metric) is (other[metric] > value), metric
    grown = {metric.partition("/")[0] for metric in one if other[metric] - one[metric] > 0.05}
    assert {"rank_distance", "rank_distance_median", "kendall_w", "map_gap", "map_spread"} <= grown
    assert lower_is_better("tydiqa:rank_distance/sw")


def test_values_in_ranks_have_one_digit() -> None:
    assert digits_of("rank_distance/en") == digits_of("mlqa_r:rank_distance_median") == 1
    assert digits_of("rank_distance_normalised") == digits_of("map/multi") == 4


@pytest.mark.parametrize(("metric", "best"), [("map/multi", 3.0), ("kendall_w", 1.0)])
def test_the_best_value(metric: str, best: float) -> None:
    assert best_value(metric, [2.0, 1.0, 3.0]) == best
