"""Artificial languages: the parameters of an embedded world, and its words as a function of them.

This is a toy, never evidence about human languages; `docs/synthetic.md` explains how its parameters
were chosen.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

from trainables.errors import UserError

GENERATOR = 1
"""Version of the texts, part of every world's digest; raise it with every change of this file or of
`synthetic.py` that alters a text."""

CONSONANTS = "bdfghjklmnprstvz"
VOWELS = "aeiou"

LEXICON_STREAM = 0
"""Random stream of the words, distinct from those of the parts in `synthetic.py`."""

Lexicon = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class World:
    """Parameters of an embedded world; two equal worlds have the same texts everywhere.

    Attributes:
        name: Key in `WORLDS`.
        seed: Seed of all random draws.
        families: Languages by family, as BCP-47 private-use codes.
        resources: Share of the training passages from which the tokenizer may learn a language,
            in ascending order of the languages. Every passage exists in every language.
        concepts: Number of meanings; each language has a word for it in passages and another in
            questions.
        international: Share of the words with one root in all languages.
        cognates: Share of the words with one root in each family.
        altered: Probability that a language replaces the last syllable of a shared root by one of
            its own.
        passage_concepts: Number of different concepts in a passage.
        question_concepts: Number of the passage's concepts that a question names.
        questions_per_passage: Questions about one passage; no two name the same concept, and no
            other passage of the part contains all concepts of one.
        train: Number of training passages.
        validation: Number of held-out passages for selection.
        test: Number of held-out passages for testing the hypotheses.
        identical: Whether all languages share one lexicon and so are indistinguishable.
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
            UserError: The parameters contradict each other.
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
        for message, applies in wrong.items():
            if applies:
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
"""`standard`; `null`, on which comparisons of languages must end undecided; `unrelated`, without
cognates, in which training on single languages cannot teach cross-lingual retrieval."""


def world_digest(world: World) -> str:
    """Return 64 hexadecimal digits that identify the texts: of the parameters and `GENERATOR`."""
    text = json.dumps(asdict(world) | {"generator": GENERATOR}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=4)
def lexicon(world: World) -> Lexicon:
    """Return each language's words: entry c is concept c in passages, concepts + c in questions.

    Words of different roots differ everywhere: there are no homonyms and no false friends.
    """
    rng = np.random.default_rng([world.seed, LEXICON_STREAM])
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
    """Return the groups of languages that share a word's root, given a draw from [0, 1)."""
    if world.identical or chance < world.international:
        return (world.languages,)
    if chance < world.international + world.cognates:
        return world.families
    return tuple((language,) for language in world.languages)


def _syllables(rng: np.random.Generator) -> list[str]:
    """Draw a language's syllables: 32 open ones from half the consonants, and 16 closed ones."""
    consonants = sorted(rng.choice(list(CONSONANTS), 8, replace=False))
    vowels = sorted(rng.choice(list(VOWELS), 4, replace=False))
    codas = sorted(rng.choice(list("lmnrst"), 2, replace=False))
    open_ones = [c + v for c in consonants for v in vowels]
    return open_ones + [syllable + coda for syllable in open_ones[::4] for coda in codas]


def _word(rng: np.random.Generator, syllables: list[str], taken: set[str]) -> tuple[str, ...]:
    """Draw a word of two or three syllables that is not yet taken."""
    while True:
        count = int(rng.integers(2, 4))
        word = tuple(syllables[i] for i in rng.integers(len(syllables), size=count))
        if "".join(word) not in taken:
            taken.add("".join(word))
            return word


def _altered(
    rng: np.random.Generator, root: tuple[str, ...], syllables: list[str], taken: set[str]
) -> tuple[str, ...]:
    """Return the root with another last syllable, one of the language's own."""
    while True:
        word = (*root[:-1], syllables[int(rng.integers(len(syllables)))])
        if "".join(word) not in taken:
            taken.add("".join(word))
            return word
