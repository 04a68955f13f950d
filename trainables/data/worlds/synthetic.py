"""Passages and questions of the embedded world, as pure functions of a `World`.

A passage is a list of concepts and a question names some of them; every language has its own words
for a concept, save for cognates, and every text exists in every language. Questions call a concept
by another word than passages do, so that no question is answered by matching strings: untrained
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
"""How often the questions of passages that are too alike are drawn anew before giving up."""

NEGATIVES = 8
"""Hard negatives of each training question."""

Part = Literal["train", "validation", "test"]

STREAMS: dict[Part, int] = {"train": 1, "validation": 2, "test": 3}
"""Each part has its own random stream, so its size moves no other part."""


@dataclass(frozen=True)
class Meanings:
    """What a part of a world says, before any language.

    Attributes:
        passages: (n, passage_concepts) concepts, different within a row.
        questions: (n, questions_per_passage, question_concepts) concepts of the same row.
    """

    passages: NDArray[np.int64]
    questions: NDArray[np.int64]


@lru_cache(maxsize=8)
def meanings_of(world: World, part: Part) -> Meanings:
    """Draw one part; each has its own stream, so its size moves no other part.

    Raises:
        UserError: Passages so alike that questions cannot be told apart.
    """
    rng = np.random.default_rng([world.seed, STREAMS[part]])
    n = {"train": world.train, "validation": world.validation, "test": world.test}[part]
    shape = (world.questions_per_passage, world.question_concepts)
    rows = np.stack([rng.permutation(world.concepts)[: world.passage_concepts] for _ in range(n)])
    questions = np.empty((n, *shape), dtype=np.int64)
    again = np.arange(n)
    for _ in range(REDRAWS):
        drawn = rng.permuted(rows[again], axis=1)[:, : shape[0] * shape[1]]
        questions[again] = drawn.reshape(-1, *shape)
        again = again[_answered_elsewhere(rows, questions[again], world.concepts)]
        if not len(again):
            return Meanings(rows.astype(np.int64), questions)
    raise UserError(
        f"world {world.name}: {len(again)} of {n} {part} passages have a question that another "
        "passage answers as well; use more concepts, or fewer in a passage"
    )


def _answered_elsewhere(
    passages: NDArray[np.int64], questions: NDArray[np.int64], concepts: int
) -> NDArray[np.bool_]:
    """(m,) whether a second one of n passages holds all that a question of m rows names."""
    holds = np.zeros((len(passages), concepts), dtype=np.float32)
    np.put_along_axis(holds, passages, 1.0, axis=1)
    rows, each, names = questions.shape
    named = np.zeros((rows * each, concepts), dtype=np.float32)
    np.put_along_axis(named, questions.reshape(-1, names), 1.0, axis=1)
    answers = (named @ holds.T > names - 0.5).sum(axis=1)
    answered: NDArray[np.bool_] = (answers.reshape(rows, each) > 1).any(axis=1)
    return answered


def _say(words: tuple[str, ...], entries: NDArray[np.int64]) -> str:
    """Entries of the lexicon as a text of one language."""
    return " ".join(words[entry] for entry in entries)


def _questions(
    world: World, part: Part, meanings: Meanings
) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
    """Question id, passage id and words of all questions of a part, passage by passage."""
    for row, block in enumerate(meanings.questions):
        for index, concepts in enumerate(block):
            passage = f"{world.name}-{part}-{row:05d}"
            yield f"{passage}-{index}", passage, world.concepts + concepts


def synthetic_training(world: World, *, negatives: bool = False) -> TrainingSet:
    """The training part: every question with its passage, in all languages of `world`.

    With `negatives`, each has `NEGATIVES` hard ones: the passages that hold most of the question's
    concepts, and of those that hold equally many the most like its own passage.
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
    """Language to the hard negatives of every question; no other passage answers it."""
    n, repeats, _ = meanings.questions.shape
    holds = np.zeros((n, world.concepts), dtype=np.float32)
    np.put_along_axis(holds, meanings.passages, 1.0, axis=1)
    named = np.zeros((n * repeats, world.concepts), dtype=np.float32)
    np.put_along_axis(named, meanings.questions.reshape(n * repeats, -1), 1.0, axis=1)
    own = np.repeat(np.arange(n), repeats)
    alike = (named * (world.passage_concepts + 1) + holds[own]) @ holds.T
    alike[np.arange(n * repeats), own] = -1
    nearest = np.argsort(-alike, axis=1, kind="stable")[:, :NEGATIVES].tolist()
    negatives = {}
    for language, texts in passages.items():
        candidates = [
            Candidate(f"{world.name}-train-{row:05d}", text) for row, text in enumerate(texts)
        ]
        negatives[language] = [[candidates[row] for row in rows] for rows in nearest]
    return negatives


def synthetic_benchmark(world: World, part: Literal["validation", "test"]) -> Benchmark:
    """A held-out part: every passage is a candidate, and relevant to its own questions only.

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
            f"{language}:{question}": {f"{other}:{passage}": 1.0 for other, _ in words}
            for language, _ in words
            for question, passage, _ in questions
        },
    )


def tokenizer_text(world: World) -> dict[str, list[str]]:
    """Texts that a tokenizer may learn from: training texts, fewer where resources are low."""
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
