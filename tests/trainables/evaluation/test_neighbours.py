from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import pytest

from trainables.data.contamination import contamination
from trainables.data.corpus import Benchmark, Candidate, Query, TrainingSet
from trainables.encoders.encoder import Embeddings
from trainables.errors import UserError
from trainables.evaluation.neighbours import CHANCE, neighbours


class Meaning:
    """Texts `la:number:...` of equal number lie close, whatever the language."""

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def encode(self, texts: Sequence[str]) -> Embeddings:
        rows = []
        for text in texts:
            meaning = np.random.default_rng(int(text.split(":")[1])).standard_normal(64)
            own = np.random.default_rng([*text.encode()]).standard_normal(64)
            rows.append(meaning + self.noise * own)
        return np.array(rows, dtype=np.float32)

    def encode_queries(self, texts: Sequence[str], language: str) -> Embeddings:
        return self.encode(texts)

    def encode_passages(self, texts: Sequence[str], language: str) -> Embeddings:
        return self.encode(texts)


def evaluated(articles: int = 200) -> Benchmark:
    languages = ["de", "en"]
    return Benchmark(
        name="toy",
        queries={
            la: [Query(f"{la}:{i}", f"{la}:{i}:asked", f"q{i}", f"c{i}") for i in range(articles)]
            for la in languages
        },
        corpus={
            la: [Candidate(f"{la}_{i}", f"{la}:{5000 + i}:told") for i in range(articles)]
            for la in languages
        },
        qrels={
            f"{la}:{i}": {f"{other}_{i}": 1 for other in languages}
            for la in languages
            for i in range(articles)
        },
    )


def trained(numbers: Sequence[int]) -> TrainingSet:
    """In French, of which the benchmark has nothing."""
    ids = [f"t{number}" for number in numbers]
    queries = {"fr": [f"fr:{number}:asked" for number in numbers]}
    passages = {"fr": [f"fr:{5000 + number}:told" for number in numbers]}
    return TrainingSet("train", ids, ids, ids, queries, passages)


def test_translations_are_found_where_texts_share_nothing() -> None:
    toy, training = evaluated(), trained(range(150, 400))
    assert contamination(training, toy).verdict == "not checkable"
    found = contamination(training, toy, neighbours(training, toy, Meaning(0.3)))
    assert found.verdict == "overlap"
    near = {finding.method: finding for finding in found.findings if "nearest" in finding.method}
    assert set(near) == {"nearest queries", "nearest passages"}
    for finding in near.values():
        assert (finding.of, finding.chance) == (400, round(CHANCE * 400))
        assert 100 <= finding.found <= 100 + 3 * finding.chance
        assert " ~ fr:" in finding.examples[0]
    assert "100% found" in found.blind[0]
    json.dumps(found.to_json(), allow_nan=False)


def test_chance_is_no_overlap() -> None:
    toy, training = evaluated(), trained(range(1000, 1200))
    found = contamination(training, toy, neighbours(training, toy, Meaning(0.3)))
    assert found.verdict == "none found by these methods"
    assert all(finding.found <= 2 * finding.chance for finding in found.findings)


def test_a_blind_encoder_says_so() -> None:
    toy, training = evaluated(), trained(range(150, 400))
    found = contamination(training, toy, neighbours(training, toy, Meaning(30)))
    assert found.verdict == "none found by these methods"
    shares = [int(share) for share in re.findall(r"own: (\d+)% found", found.blind[0])]
    assert len(shares) == 2
    assert max(shares) <= 5


def test_a_threshold_of_ones_own() -> None:
    toy, training = evaluated(), trained([3])
    assert neighbours(training, toy, Meaning(0.3), threshold=0.8).findings[0].found == 2
    assert neighbours(training, toy, Meaning(0.3), threshold=0.999).findings[0].found == 0
    with pytest.raises(UserError, match="all texts belong to one article"):
        neighbours(training, evaluated(1), Meaning(0.3))
