"""Question-passage pairs, each judged alone, as a benchmark or as training data.

For sources that are not parallel: a passage is judged for its own questions, and it is unknown
whether other passages, in this language or another, answer them too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainables.data.benchmark import Benchmark, Candidate, Query, TrainingSet
from trainables.errors import UserError

HELD_OUT_SHARE = 5
"""One article in this many is held out of training."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and a passage that answers it.

    Attributes:
        question: Id, shared by translations of the question.
        language: BCP-47 code of the query.
        query: The question's text.
        passage_language: BCP-47 code of the passage.
        passage: Its text; pairs with equal text share a candidate.
        cluster: The article, if known.
        answer_end: End of the answer in the passage, in code points; None if unknown.
    """

    question: str
    language: str
    query: str
    passage_language: str
    passage: str
    cluster: str
    answer_end: int | None = None


def benchmark_of(
    pairs: Iterable[Pair],
    name: str,
    dropped: Mapping[str, int] | None = None,
) -> Benchmark:
    """Build a benchmark of every question against all passages of a language.

    Args:
        pairs: In any order; a question may recur with another passage.
        name: Name of the benchmark.
        dropped: Reason to number of items that were left out.

    Returns:
        Query ids `{language}:{question}`, candidate ids `{language}_{number}` in order of first
        occurrence; questions of equal text are not merged.

    Raises:
        UserError: A question has two texts in one language, or there is no pair.
    """
    queries: dict[str, dict[str, Query]] = {}
    corpus: dict[str, dict[str, Candidate]] = {}
    qrels: dict[str, dict[str, float]] = {}
    answers: dict[str, tuple[str, int]] = {}
    for pair in pairs:
        identity = f"{pair.language}:{pair.question}"
        query = Query(identity, pair.query, pair.question, pair.cluster)
        known = queries.setdefault(pair.language, {}).setdefault(identity, query)
        if known.text != pair.query:
            raise UserError(f"{name}: question {identity!r} has two texts; make ids unique")
        table = corpus.setdefault(pair.passage_language, {})
        fresh = Candidate(f"{pair.passage_language}_{len(table)}", pair.passage)
        gold = table.setdefault(pair.passage, fresh).id
        qrels.setdefault(identity, {})[gold] = 1.0
        if pair.answer_end is not None:
            answers.setdefault(identity, (gold, pair.answer_end))
    if not queries:
        raise UserError(f"{name}: no pair of question and passage is left; look at its files")
    return Benchmark(
        name=name,
        queries={language: list(queries[language].values()) for language in sorted(queries)},
        corpus={language: list(corpus[language].values()) for language in sorted(corpus)},
        qrels=qrels,
        judged_in_all_languages=False,
        dropped=dict(dropped or {}),
        answers=answers,
    )


def training_of(pairs: Iterable[Pair], name: str) -> TrainingSet:
    """Build training data with one row per question; texts only in the languages that it has.

    Returns:
        Golds are `{language}_{number}` by unique passage. A question with several passages has
        the first as gold, the rest as `other_golds`.
    """
    numbers: dict[tuple[str, str], str] = {}
    golds: dict[str, list[str]] = {}
    clusters: dict[str, str] = {}
    queries: dict[str, dict[str, str]] = {}
    passages: dict[str, dict[str, str]] = {}
    for pair in pairs:
        key = (pair.passage_language, pair.passage)
        gold = numbers.setdefault(key, f"{pair.passage_language}_{len(numbers)}")
        golds.setdefault(pair.question, []).append(gold)
        clusters.setdefault(pair.question, pair.cluster)
        queries.setdefault(pair.language, {}).setdefault(pair.question, pair.query)
        passages.setdefault(pair.passage_language, {}).setdefault(pair.question, pair.passage)
    languages = sorted(queries.keys() | passages.keys())

    def columns(tables: Mapping[str, Mapping[str, str]]) -> dict[str, list[str | None]]:
        return {la: [tables.get(la, {}).get(question) for question in golds] for la in languages}

    return TrainingSet(
        name=name,
        questions=list(golds),
        golds=[first for first, *_ in golds.values()],
        clusters=list(clusters.values()),
        queries=columns(queries),
        passages=columns(passages),
        other_golds=[
            [gold for gold in others if gold != first] for first, *others in golds.values()
        ],
    )


def divide(pairs: Iterable[Pair], held_out: bool) -> list[Pair]:
    """Return the pairs whose article is held out of training, or the others.

    Articles that share a passage stay together, and so do articles with the same title in
    several languages. A hash of the group's first title decides, so another language moves only
    articles that it joins to a group.
    """
    known = list(pairs)
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for pair in known:
        ends = root(f"article {pair.cluster}"), root(f"text {pair.passage}")
        parent[max(ends)] = min(ends)  # a title sorts before a text, and so names the group
    return [
        pair
        for pair in known
        if (zlib.crc32(root(f"article {pair.cluster}").encode()) % HELD_OUT_SHARE == 0) == held_out
    ]
