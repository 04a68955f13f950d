"""The embedded world: made-up languages, passages and questions, as pure functions of a `World`.

A passage is a list of concepts and a question names some of them; every language has its own words
for a concept, save for cognates, and every text exists in every language. Questions call a concept
by another word than passages do, so that no question is answered by matching strings: untrained
encoders are at chance. It is a toy, never evidence about human languages; `docs/synthetic.md` says
how its parameters were fixed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainables.data.corpus import Benchmark, Candidate, Query, TrainingSet
from trainables.errors import UserError

GENERATOR = 1
"""Raised by every change of this file that alters a text; part of every world's digest."""

REDRAWS = 100
"""How often the questions of passages that are too alike are drawn anew before giving up."""

CONSONANTS = "bdfghjklmnprstvz"
VOWELS = "aeiou"

Part = Literal["train", "validation", "test"]
Lexicon = dict[str, tuple[str, ...]]
_STREAMS = {"lexicon": 0, "train": 1, "validation": 2, "test": 3}


@dataclass(frozen=True)
class World:
    """The parameters of an embedded world; two equal worlds hold the same texts everywhere.

    Attributes:
        name: Key in `WORLDS`.
        seed: Of everything that is drawn.
        families: Languages by family, BCP-47 private-use codes.
        resources: Share of the training passages that the tokenizer may learn a language from,
            in ascending order of the languages. Every passage exists in every language.
        concepts: Meanings; each language has a word for it in passages and one in questions.
        international: Share of the words with one root in all languages.
        cognates: Share of the words with one root in each family.
        altered: Chance that a language ends the word of a shared root with a syllable of its own.
        passage_concepts: Different concepts in a passage.
        question_concepts: Concepts of the passage that a question names.
        questions_per_passage: Questions on one passage; no two name the same concept, and no other
            passage of the part holds all that one names.
        train: Passages to train on.
        validation: Held-out passages that selection may read.
        test: Held-out passages that judge the hypotheses.
        identical: All languages share one lexicon: nothing tells one from another.
    """

    name: str
    seed: int = 2408
    families: tuple[tuple[str, ...], ...] = (("qaa", "qab", "qac"), ("qad", "qae", "qaf"))
    resources: tuple[float, ...] = (1.0, 0.4, 0.1, 1.0, 0.4, 0.1)
    concepts: int = 200
    international: float = 0.3
    cognates: float = 0.3
    altered: float = 0.15
    passage_concepts: int = 16
    question_concepts: int = 4
    questions_per_passage: int = 2
    train: int = 1500
    validation: int = 150
    test: int = 300
    identical: bool = False

    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            UserError: Parameters that no world can have.
        """
        wrong = {
            "families repeats a language": len(set(self.languages)) != len(sum(self.families, ())),
            "resources needs one share in (0, 1] for each language": len(self.resources)
            != len(self.languages)
            or not all(0 < share <= 1 for share in self.resources),
            "international + cognates must lie between 0 and 1": min(
                self.international, self.cognates
            )
            < 0
            or self.international + self.cognates > 1,
            "a passage needs question_concepts * questions_per_passage different concepts": not (
                self.question_concepts * self.questions_per_passage
                <= self.passage_concepts
                <= self.concepts
            ),
        }
        for message, found in wrong.items():
            if found:
                raise UserError(f"world {self.name}: {message}; found {self}")

    @property
    def languages(self) -> tuple[str, ...]:
        """All languages in ascending order."""
        return tuple(sorted({language for family in self.families for language in family}))


WORLDS: dict[str, World] = {
    world.name: world
    for world in (
        World("standard"),
        World("null", identical=True, resources=(1.0,) * 6),
        World("unrelated", international=0.0, cognates=0.0),
    )
}
"""`standard`; `null`, where comparisons of languages must end undecided; `unrelated`, without a
cognate, where training on single languages cannot teach cross-lingual retrieval."""


def world_digest(world: World) -> str:
    """64 hexadecimal digits that name the texts of `world`: its parameters and `GENERATOR`."""
    text = json.dumps(asdict(world) | {"generator": GENERATOR}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=4)
def lexicon(world: World) -> Lexicon:
    """Each language's words: entry c names concept c in passages, entry concepts + c in questions.

    Words of different roots differ everywhere: there are no homonyms and no false friends.
    """
    rng = np.random.default_rng([world.seed, _STREAMS["lexicon"]])
    families = (world.languages,) if world.identical else world.families
    inventories = {language: _syllables(rng) for family in families for language in family}
    words: dict[str, list[str]] = {language: [] for language in world.languages}
    taken: set[str] = set()
    for _ in range(2 * world.concepts):
        for group in _groups(world, float(rng.random())):
            root = _word(rng, inventories[group[0]], taken)
            for language in group:
                word = root
                if len(group) > 1 and not world.identical and rng.random() < world.altered:
                    word = _altered(rng, root, inventories[language], taken)
                words[language].append("".join(word))
    return {language: tuple(forms) for language, forms in words.items()}


def _groups(world: World, chance: float) -> tuple[tuple[str, ...], ...]:
    """Languages that share the root of one word, by where `chance` in [0, 1) falls."""
    if world.identical or chance < world.international:
        return (world.languages,)
    if chance < world.international + world.cognates:
        return world.families
    return tuple((language,) for language in world.languages)


def _syllables(rng: np.random.Generator) -> list[str]:
    """A language's own syllables: 24 to 32 open ones from half the consonants, and closed ones."""
    consonants = sorted(rng.choice(list(CONSONANTS), 8, replace=False))
    vowels = sorted(rng.choice(list(VOWELS), 4, replace=False))
    codas = sorted(rng.choice(list("lmnrst"), 2, replace=False))
    open_ones = [c + v for c in consonants for v in vowels]
    return open_ones + [syllable + coda for syllable in open_ones[::4] for coda in codas]


def _word(rng: np.random.Generator, syllables: list[str], taken: set[str]) -> tuple[str, ...]:
    """Two or three syllables that make a word no root or altered form has yet."""
    while True:
        count = int(rng.integers(2, 4))
        word = tuple(syllables[i] for i in rng.integers(len(syllables), size=count))
        if "".join(word) not in taken:
            taken.add("".join(word))
            return word


def _altered(
    rng: np.random.Generator, root: tuple[str, ...], syllables: list[str], taken: set[str]
) -> tuple[str, ...]:
    """The root with another last syllable, one of the language's own."""
    while True:
        word = (*root[:-1], syllables[int(rng.integers(len(syllables)))])
        if "".join(word) not in taken:
            taken.add("".join(word))
            return word


@dataclass(frozen=True)
class _Meanings:
    """What a part of a world says, before any language.

    Attributes:
        passages: (n, passage_concepts) concepts, different within a row.
        questions: (n, questions_per_passage, question_concepts) concepts of the same row.
    """

    passages: NDArray[np.int64]
    questions: NDArray[np.int64]


@lru_cache(maxsize=8)
def _meanings(world: World, part: Part) -> _Meanings:
    """Draw one part; each has its own stream, so its size moves no other part.

    Raises:
        UserError: Passages so alike that questions cannot be told apart.
    """
    rng = np.random.default_rng([world.seed, _STREAMS[part]])
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
            return _Meanings(rows.astype(np.int64), questions)
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
    world: World, part: Part, meanings: _Meanings
) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
    """Question id, passage id and words of all questions of a part, passage by passage."""
    for row, block in enumerate(meanings.questions):
        for index, concepts in enumerate(block):
            passage = f"{world.name}-{part}-{row:05d}"
            yield f"{passage}-{index}", passage, world.concepts + concepts


def synthetic_training(world: World) -> TrainingSet:
    """The training part: every question with its passage, in all languages of `world`."""
    words = lexicon(world)
    meanings = _meanings(world, "train")
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
    )


def synthetic_benchmark(world: World, part: Literal["validation", "test"]) -> Benchmark:
    """A held-out part: every passage is a candidate, and relevant to its own questions only.

    Relevance is judged in all languages: a question's passage is relevant in each of them.
    """
    words = sorted(lexicon(world).items())
    meanings = _meanings(world, part)
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
    meanings = _meanings(world, "train")
    texts: dict[str, list[str]] = {}
    for language, share in zip(world.languages, world.resources, strict=True):
        words = lexicon(world)[language]
        rows = max(1, round(share * len(meanings.passages)))
        passages = [_say(words, concepts) for concepts in meanings.passages[:rows]]
        asked = world.concepts + meanings.questions[:rows].reshape(-1, world.question_concepts)
        texts[language] = passages + [_say(words, entries) for entries in asked]
    return texts
