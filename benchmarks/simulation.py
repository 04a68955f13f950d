"""Simulated studies with known truth: differences of two arms, question by question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ARTICLES = 48
QUESTIONS = 480
LANGUAGES = 3

BATCH = 250
"""Studies drawn at once, which bounds the memory."""


@dataclass(frozen=True, eq=False)
class World:
    """Variance components of a (seed, question, language) difference, as standard deviations.

    Attributes:
        cluster: (Q,) code of each question's cluster, ascending.
        asked: (Q, L) whether the question exists in the language.
        between_clusters: Effect of a cluster, shared by all seeds.
        between_questions: Effect of a question, shared by all seeds and languages.
        seed_by_question: Effect of a question in one seed, shared by all languages.
        within: Residual of one seed, question and language.
    """

    cluster: NDArray[np.int64]
    asked: NDArray[np.bool_]
    between_clusters: float = 0.5
    between_questions: float = 0.7
    seed_by_question: float = 0.7
    within: float = 1.0

    @property
    def counts(self) -> Floats:
        """(G, L) numbers of questions by cluster and language."""
        return np.add.reduceat(self.asked.astype(np.float64), self.starts, axis=0)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(G,) index of each cluster's first question."""
        return np.flatnonzero(np.diff(self.cluster, prepend=-1))

    @property
    def question_variance(self) -> float:
        """Variance of a trial's macro mean over new clusters, without the seed's own effect."""
        weight = self.asked / self.asked.sum(0) / self.asked.shape[1]
        question = weight.sum(1)
        cluster = np.add.reduceat(question, self.starts)
        shared = self.between_questions**2 + self.seed_by_question**2
        return float(
            self.between_clusters**2 * (cluster**2).sum()
            + shared * (question**2).sum()
            + self.within**2 * (weight**2).sum()
        )

    def squares(self, seeds: int, seed_variance: float) -> Floats:
        """Return (3,) expected mean squares of seeds, clusters and residual, to first order."""
        steady = World(
            self.cluster, self.asked, self.between_clusters, self.between_questions, 0, 0
        )
        both = len(self.starts) * self.question_variance
        always = len(self.starts) * steady.question_variance
        residual = both - always
        return np.array(
            [len(self.starts) * seed_variance + residual, seeds * always + residual, residual]
        )

    def rows(
        self, studies: int, seeds: int, seed_variance: float, rng: np.random.Generator
    ) -> Floats:
        """Draw (studies, S, Q, L) differences of two arms without a true effect."""
        questions, languages = self.asked.shape

        def normal(*shape: int) -> NDArray[np.float32]:
            return rng.standard_normal((studies, *shape), dtype=np.float32)

        per_question = self.between_questions * normal(questions)
        per_question += self.between_clusters * normal(int(self.cluster[-1]) + 1)[:, self.cluster]
        found = np.float32(self.within) * normal(seeds, questions, languages)
        found += (self.seed_by_question * normal(seeds, questions))[..., None]
        found += per_question[:, None, :, None]
        found += (np.float32(seed_variance**0.5) * normal(seeds))[..., None, None]
        found += np.linspace(-0.2, 0.2, languages, dtype=np.float32)
        return np.asarray(found, dtype=np.float64)

    def sums(
        self, studies: int, seeds: int, seed_variance: float, rng: np.random.Generator
    ) -> Floats:
        """Draw the same differences, summed by cluster: (studies, S, G, L)."""
        found = np.empty((studies, seeds, *self.counts.shape))
        for begin in range(0, studies, BATCH):
            size = min(BATCH, studies - begin)
            rows = self.rows(size, seeds, seed_variance, rng) * self.asked
            found[begin : begin + size] = np.add.reduceat(rows, self.starts, axis=2)
        return found


def articles(partly: bool, questions: int = QUESTIONS, seed: int = 0) -> World:
    """Make questions in articles of unequal size; `partly` leaves about half in each language."""
    rng = np.random.default_rng(seed)
    share = rng.lognormal(0, 0.5, ARTICLES)
    extra = rng.multinomial(questions - ARTICLES, share / share.sum())
    cluster = np.repeat(np.arange(ARTICLES), 1 + extra)
    asked = np.ones((questions, LANGUAGES), dtype=bool)
    if partly:
        asked[:, 1:] = rng.random((questions, LANGUAGES - 1)) < 0.45
        asked[rng.random(questions) < 0.1, 0] = False
        asked[~asked.any(1), 0] = True
    return World(cluster, asked)


def questions_alone(questions: int = QUESTIONS) -> World:
    """Make parallel questions of unknown articles, so that each is its own cluster."""
    asked = np.ones((questions, LANGUAGES), dtype=bool)
    return World(np.arange(questions), asked, between_clusters=0.0)
