"""A collapsed encoder says so beside its number, with its best and worst value under ties."""

from __future__ import annotations

import numpy as np
import pytest

from trainables.data.corpus import Benchmark, Candidate, Query
from trainables.evaluation.evaluate import evaluate_embeddings
from trainables.evaluation.metrics import MEASURES, retrieval_metrics
from trainables.evaluation.ties import reordered


def benchmark(gains: dict[str, float], size: int) -> Benchmark:
    queries = {"en": [Query("q", "which", "q", "q")]}
    corpus = {"en": [Candidate(str(i), f"text {i}") for i in range(size)]}
    return Benchmark("own", queries, corpus, {"q": gains}, judged_in_all_languages=True)


@pytest.mark.parametrize("gains", [{"3": 1.0}, {"0": 1.0, "4": 3.0}, {"1": 2.0, "2": 1.0}])
def test_best_and_worst_of_a_constant_encoder(gains: dict[str, float]) -> None:
    size = 6
    data = benchmark(gains, size)
    same = {"en": np.ones((size, 4), np.float32)}
    ranks = evaluate_embeddings(data, {"en": np.ones((1, 4), np.float32)}, same).ranks
    names = sorted(gains, key=lambda name: -gains[name])
    others = [str(i) for i in range(size) if str(i) not in gains]
    for best, order in ((True, [*names, *others]), (False, [*others, *names[::-1]])):
        # the same order, of scores that differ
        falling = np.zeros((size, 4), np.float32)
        for place, name in enumerate(order):
            falling[int(name), 0] = 1.0 - place / 10
            falling[int(name), 1] = 0.5
        asked = {"en": np.array([[1, 0, 0, 0]], np.float32)}
        expected = evaluate_embeddings(data, asked, {"en": falling}).ranks
        found = retrieval_metrics(reordered(ranks, best=best), MEASURES)
        assert found == pytest.approx(retrieval_metrics(expected, MEASURES))
