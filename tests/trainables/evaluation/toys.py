"""Small benchmarks with known scores, and the naive way to rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.benchmark import Benchmark, Candidate, Query
from trainables.encoders.encoder import Embeddings

Floats = NDArray[np.float64]


def benchmark(
    queries: Mapping[str, int],
    corpus: Mapping[str, int],
    qrels: Mapping[str, Mapping[str, float]],
    judged_in_all_languages: bool = True,
) -> Benchmark:
    """Queries `de:q0`, `de:q1`, ... and candidates `de_0`, `de_1`, ... of these numbers."""
    return Benchmark(
        name="toy",
        queries={
            language: [
                Query(f"{language}:q{i}", f"question {i} {language}", f"q{i}", f"c{i // 2}")
                for i in range(number)
            ]
            for language, number in queries.items()
        },
        corpus={
            language: [Candidate(f"{language}_{i}", f"text {i} {language}") for i in range(number)]
            for language, number in corpus.items()
        },
        qrels=qrels,
        judged_in_all_languages=judged_in_all_languages,
    )


def parallel(
    languages: Sequence[str], questions: int, candidates: int, relevant: int = 1
) -> Benchmark:
    """Every question in all languages, with `relevant` candidates in each."""
    qrels = {
        f"{language}:q{i}": {
            f"{other}_{(i + step) % candidates}": 1.0
            for other in languages
            for step in range(relevant)
        }
        for language in languages
        for i in range(questions)
    }
    sizes = dict.fromkeys(sorted(languages), questions)
    return benchmark(sizes, dict.fromkeys(sizes, candidates), qrels)


def vectors_for(
    toy: Benchmark, scores: NDArray[Any]
) -> tuple[dict[str, Embeddings], dict[str, Embeddings]]:
    """Vectors whose dot products are exactly `scores` (all queries, whole pool)."""
    queries, passages = {}, {}
    identity = np.eye(scores.shape[1], dtype=np.float32)
    at = 0
    for language, items in toy.queries.items():
        queries[language] = scores[at : at + len(items)].astype(np.float32)
        at += len(items)
    at = 0
    for language, corpus in toy.corpus.items():
        passages[language] = identity[at : at + len(corpus)]
        at += len(corpus)
    return queries, passages


def order(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Law 7: score descending, then index ascending."""
    return np.lexsort((np.arange(len(scores)), -scores))


def naive_map(
    toy: Benchmark, queries: Mapping[str, Embeddings], passages: Mapping[str, Embeddings]
) -> dict[str, float]:
    """mAP of every setting by sorting every list and walking down it."""
    pool = np.concatenate(list(passages.values()))
    index = {
        item.id: i for i, item in enumerate(item for items in toy.corpus.values() for item in items)
    }
    bounds = np.cumsum([0, *map(len, toy.corpus.values())])
    parts = {la: slice(*bounds[i : i + 2]) for i, la in enumerate(toy.corpus)}
    found: dict[str, list[float]] = {}
    for language, items in toy.queries.items():
        scores = queries[language] @ pool.T
        for row, query in enumerate(items):
            relevant = np.zeros(len(index), dtype=bool)
            relevant[[index[name] for name in toy.qrels.get(query.id, {})]] = True
            targets = {f"multi/{language}": slice(None)} | {
                f"mono/{c}" if c == language else f"cross/{language}-{c}": part
                for c, part in parts.items()
            }
            for name, inside in targets.items():
                wanted = relevant[inside][order(scores[row][inside])]
                if wanted.any():
                    at = np.flatnonzero(wanted) + 1
                    value = float(np.mean(np.arange(1, len(at) + 1) / at))
                    found.setdefault(f"map/{name}", []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


@dataclass
class TableEncoder:
    """Looks texts up in tables of vectors; remembers what it was asked."""

    queries: Mapping[str, Embeddings]
    passages: Mapping[str, Embeddings]
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    @classmethod
    def of(cls, toy: Benchmark, dimension: int = 8, seed: int = 0) -> TableEncoder:
        """Random vectors for every text of a benchmark."""
        rng = np.random.default_rng(seed)

        def table(roles: Mapping[str, Sequence[Query | Candidate]]) -> dict[str, Embeddings]:
            texts = {item.text for items in roles.values() for item in items}
            return {
                text: rng.standard_normal(dimension).astype(np.float32) for text in sorted(texts)
            }

        return cls(table(toy.queries), table(toy.corpus))

    def encode_queries(self, texts: Sequence[str], language: str) -> Embeddings:
        self.asked.append(("queries", language, len(texts)))
        return np.stack([self.queries[text] for text in texts])

    def encode_passages(self, texts: Sequence[str], language: str) -> Embeddings:
        self.asked.append(("passages", language, len(texts)))
        return np.stack([self.passages[text] for text in texts])
