"""Passages and questions of the embedded world, as pure functions of a `World`.

A passage is a list of concepts and a question names some of them; every language has its own words
for concepts, except for cognates, and every text exists in every language. Questions use other
words for concepts than passages do, so no question can be answered by matching strings: untrained
encoders are at chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainables.data.benchmark import Benchmark, Candidate, Query, TrainingSet
from trainables.data.worlds.worlds import WORLDS, World, lexicon, world_digest
from trainables.errors import UserError

__all__ = [
    "WORLDS",
    "World",
    "synthetic_benchmark",
    "synthetic_training",
    "tokenizer_text",
    "world_digest",
]

REDRAWS = 100
"""Most attempts to draw questions anew for passages that are too similar."""

NEGATIVES = 8
"""Hard negatives of each training question."""

Part = Literal["train", "validation", "test"]

STREAMS: dict[Part, int] = {"train": 1, "validation": 2, "test": 3}
"""Random stream of each part, so that the size of one part does not change another."""


@dataclass(frozen=True)
class Meanings:
    """Content of a part of a world, independent of language.

    Attributes:
        passages: (n, passage_concepts) concepts, different within a row.
        questions: (n, questions_per_passage, question_concepts) concepts of the same row.
    """

    passages: NDArray[np.int64]
    questions: NDArray[np.int64]


@lru_cache(maxsize=8)
def meanings_of(world: World, part: Part) -> Meanings:
    """Draw one part from its own random stream.

    Raises:
        UserError: Passages are too similar for unambiguous questions.
    """
    rng = np.random.default_rng([world.seed, STREAMS[part]])
    n = {"train": world.train, "validation": world.validation, "test": world.test}[part]
    shape = (world.questions_per_passage, world.question_concepts)
    rows = np.stack([rng.permutation(world.concepts)[: world.passage_concepts] for _ in range(n)])
    questions = np.empty((n, *shape), dtype=np.int64)
    ambiguous = np.arange(n)
    for _ in range(REDRAWS):
        drawn = rng.permuted(rows[ambiguous], axis=1)[:, : shape[0] * shape[1]]
        questions[ambiguous] = drawn.reshape(-1, *shape)
        ambiguous = ambiguous[_answered_elsewhere(rows, questions[ambiguous], world.concepts)]
        if not len(ambiguous):
            return Meanings(rows.astype(np.int64), questions)
    raise UserError(
        f"world {world.name}: {len(ambiguous)} of {n} {part} passages have a question that another "
        "passage answers as well; use more concepts, or fewer in a passage"
    )


def _answered_elsewhere(
    passages: NDArray[np.int64], questions: NDArray[np.int64], concepts: int
) -> NDArray[np.bool_]:
    """Tell for m rows of questions whether a second of the n passages answers one of them, (m,)."""
    holds = np.zeros((len(passages), concepts), dtype=np.float32)
    np.put_along_axis(holds, passages, 1.0, axis=1)
    rows, per_passage, names = questions.shape
    named = np.zeros((rows * per_passage, concepts), dtype=np.float32)
    np.put_along_axis(named, questions.reshape(-1, names), 1.0, axis=1)
    answers = (named @ holds.T > names - 0.5).sum(axis=1)
    answered: NDArray[np.bool_] = (answers.reshape(rows, per_passage) > 1).any(axis=1)
    return answered


def _say(words: tuple[str, ...], entries: NDArray[np.int64]) -> str:
    """Write entries of the lexicon as a text of one language."""
    return " ".join(words[entry] for entry in entries)


def _questions(
    world: World, part: Part, meanings: Meanings
) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
    """Yield question id, passage id and words of all questions of a part, passage by passage."""
    for row, block in enumerate(meanings.questions):
        for index, concepts in enumerate(block):
            passage = f"{world.name}-{part}-{row:05d}"
            yield f"{passage}-{index}", passage, world.concepts + concepts


def synthetic_training(world: World, *, negatives: bool = False) -> TrainingSet:
    """Return the training part: every question with its passage, in all languages of `world`.

    With `negatives`, each question has `NEGATIVES` hard ones: the passages that contain most of
    its concepts, and among equals those most similar to its own passage.
    """
    words = lexicon(world)
    meanings = meanings_of(world, "train")
    questions = list(_questions(world, "train", meanings))
    repeats = world.questions_per_passage
    passages = {
        language: [_say(forms, concepts) for concepts in meanings.passages]
        for language, forms in sorted(words.items())
    }
    golds = [passage for _, passage, _ in questions]
    return TrainingSet(
        name="synthetic",
        questions=[question for question, _, _ in questions],
        golds=golds,
        clusters=golds,
        queries={
            language: [_say(forms, concepts) for _, _, concepts in questions]
            for language, forms in sorted(words.items())
        },
        passages={
            language: [text for text in texts for _ in range(repeats)]
            for language, texts in passages.items()
        },
        negatives=_negatives(world, meanings, passages) if negatives else {},
    )


def _negatives(
    world: World, meanings: Meanings, passages: Mapping[str, Sequence[str]]
) -> dict[str, list[list[Candidate]]]:
    """Return the hard negatives of every question by language; no other passage answers it."""
    n, repeats, _ = meanings.questions.shape
    holds = np.zeros((n, world.concepts), dtype=np.float32)
    np.put_along_axis(holds, meanings.passages, 1.0, axis=1)
    named = np.zeros((n * repeats, world.concepts), dtype=np.float32)
    np.put_along_axis(named, meanings.questions.reshape(n * repeats, -1), 1.0, axis=1)
    own_passage = np.repeat(np.arange(n), repeats)
    similarity = (named * (world.passage_concepts + 1) + holds[own_passage]) @ holds.T
    similarity[np.arange(n * repeats), own_passage] = -1
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :NEGATIVES].tolist()
    negatives = {}
    for language, texts in passages.items():
        candidates = [
            Candidate(f"{world.name}-train-{row:05d}", text) for row, text in enumerate(texts)
        ]
        negatives[language] = [[candidates[row] for row in rows] for rows in nearest]
    return negatives


def synthetic_benchmark(world: World, part: Literal["validation", "test"]) -> Benchmark:
    """Return a held-out part: every passage is a candidate, relevant only to its own questions.

    Relevance is judged in all languages: a question's passage is relevant in each of them.
    """
    words = sorted(lexicon(world).items())
    meanings = meanings_of(world, part)
    questions = list(_questions(world, part, meanings))
    ids = [f"{world.name}-{part}-{row:05d}" for row in range(len(meanings.passages))]
    return Benchmark(
        name="synthetic",
        queries={
            language: [
                Query(f"{language}:{question}", _say(forms, concepts), question, passage)
                for question, passage, concepts in questions
            ]
            for language, forms in words
        },
        corpus={
            language: [
                Candidate(f"{language}:{passage}", _say(forms, concepts))
                for passage, concepts in zip(ids, meanings.passages, strict=True)
            ]
            for language, forms in words
        },
        qrels={
            f"{language}:{question}": {
                f"{corpus_language}:{passage}": 1.0 for corpus_language, _ in words
            }
            for language, _ in words
            for question, passage, _ in questions
        },
    )


def tokenizer_text(world: World) -> dict[str, list[str]]:
    """Return training texts for the tokenizer to learn from, fewer of low-resource languages."""
    meanings = meanings_of(world, "train")
    texts: dict[str, list[str]] = {}
    for language, share in zip(world.languages, world.resources, strict=True):
        words = lexicon(world)[language]
        rows = max(1, round(share * len(meanings.passages)))
        passages = [_say(words, concepts) for concepts in meanings.passages[:rows]]
        question_words = world.concepts + meanings.questions[:rows].reshape(
            -1, world.question_concepts
        )
        texts[language] = passages + [_say(words, entries) for entries in question_words]
    return texts
