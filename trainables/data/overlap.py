"""Questions that a benchmark shares with training data, and the benchmark without them.

What is left out is decided by all of the training data, whatever part of it an arm trains on, so
that every arm of a study, the untrained encoder too, is evaluated on the same questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import replace

from trainables.data.contamination import is_long, normalise
from trainables.data.corpus import Benchmark, TrainingSet
from trainables.data.languages import base_language

LEFT_OUT = "queries whose question is in the training data"
"""What `Benchmark.dropped` calls them."""

SHORTEST_ID = 12
"""Shorter ids, such as `p3-q1`, are alike in unrelated data."""

COUNTER = re.compile(r"[^\W\d]*[\W_]*(?:[^\W\d]+[\W_]+)*\d{0,9}")
"""Ids that only number something, such as `question-000017`: alike in unrelated data too."""


def shared_questions(training: TrainingSet, benchmark: Benchmark) -> frozenset[str]:
    """Questions of a benchmark (`Query.question`) that the training data hold.

    A question is shared where, in any language, its text equals that of a training query (NFKC,
    case folded, letters and digits only; texts of less than 20 bytes in the same language only),
    or where its id is one of theirs and long enough to be no accident.
    """
    trained = {key for la, texts in training.queries.items() for t in texts for key in _keys(la, t)}
    ids = {identity for identity in training.questions if names_question(identity)}
    return frozenset(
        query.question
        for language, queries in benchmark.queries.items()
        for query in queries
        if query.question in ids or not trained.isdisjoint(_keys(language, query.text))
    )


def names_question(identity: str) -> bool:
    """Whether equal ids in two sources mean the same question, rather than the same number."""
    return len(identity) >= SHORTEST_ID and not COUNTER.fullmatch(identity)


def without_questions(benchmark: Benchmark, questions: Set[str]) -> Benchmark:
    """The benchmark without the queries of these questions, counted; its corpus stays whole."""
    queries = {
        language: [query for query in items if query.question not in questions]
        for language, items in benchmark.queries.items()
    }
    left = {query.id for items in queries.values() for query in items}
    number = sum(map(len, benchmark.queries.values())) - len(left)
    return replace(
        benchmark,
        queries=queries,
        qrels={query: gains for query, gains in benchmark.qrels.items() if query in left},
        answers={query: where for query, where in benchmark.answers.items() if query in left},
        dropped={**benchmark.dropped, **({LEFT_OUT: number} if number else {})},
    )


def _keys(language: str, text: str | None) -> Iterator[tuple[str, str]]:
    """What texts are compared by: short ones together with their language."""
    if text is None:
        return
    normal = normalise(text) or text.strip()
    yield base_language(language), normal
    if is_long(normal):
        yield "", normal
