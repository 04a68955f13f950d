"""Training texts that mean what an evaluation text means, in any language: nearest neighbours.

Shingles and equal texts cannot see a translation; a multilingual encoder can. What counts as near
is measured on the benchmark itself: how close its texts of different articles come to each other
(chance), and its own translations (what would be found).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.data.contamination import Finding, Neighbours
from trainables.data.corpus import Benchmark, TrainingSet
from trainables.encoders.encoder import Embeddings, Encoder
from trainables.errors import UserError
from trainables.evaluation.encode import Role, encode_unique
from trainables.evaluation.index import search

CHANCE = 0.01
"""Share of evaluation texts allowed above the threshold without any overlap."""
SAMPLE = 2_000
"""Evaluation texts compared with all others to find the threshold."""


@dataclass(frozen=True)
class _Texts:
    """Texts of one role with unit vectors, the article of each, and the question it asks."""

    texts: Sequence[str]
    vectors: Embeddings
    clusters: NDArray[np.str_]
    questions: NDArray[np.str_]


def neighbours(
    training: TrainingSet,
    benchmark: Benchmark,
    encoder: Encoder,
    threshold: float | None = None,
) -> Neighbours:
    """Evaluation queries and relevant passages with a near training text of the same role.

    Args:
        training: What was trained on.
        benchmark: What is evaluated.
        encoder: Should be multilingual, and not the one trained on these data.
        threshold: Cosine above which texts count as the same; by default, for each role, what 1
            of 100 evaluation texts reaches with a text of another article.

    Returns:
        For `contamination(training, benchmark, neighbours(...))`.

    Raises:
        UserError: The benchmark has a single article, so that no threshold can be found.
    """
    findings, blind = [], []
    for role, evaluated in _evaluated(benchmark, encoder).items():
        trained = training.queries if role == "queries" else training.passages
        held, held_texts = _trained(trained, encoder, role)
        limit, seen = _calibrate(evaluated, threshold, benchmark.name)
        chance = 0 if threshold is not None else round(CHANCE * len(evaluated.texts))
        findings.append(_nearest(role, evaluated, held, held_texts, limit, chance))
        share = "none to try on" if seen is None else f"{seen:.0%}"
        blind.append(f"{role} below cosine {limit:.3f} (of the benchmark's own: {share} found)")
    return Neighbours(tuple(findings), f"translations that the encoder places: {'; '.join(blind)}")


def _evaluated(benchmark: Benchmark, encoder: Encoder) -> dict[Role, _Texts]:
    """Queries, and passages that are relevant to one; a passage is named by its first query."""
    first: dict[str, tuple[str, str]] = {}
    for items in benchmark.queries.values():
        for query in items:
            for candidate in benchmark.qrels.get(query.id, {}):
                first.setdefault(candidate, (query.cluster, query.question))
    rows: dict[Role, dict[str, list[tuple[str, str, str]]]] = {
        "queries": {
            language: [(query.text, query.cluster, query.question) for query in items]
            for language, items in benchmark.queries.items()
        },
        "passages": {
            language: [(item.text, *first[item.id]) for item in items if item.id in first]
            for language, items in benchmark.corpus.items()
        },
    }
    found: dict[Role, _Texts] = {}
    for role, table in rows.items():
        whole = [row for items in table.values() for row in items]
        texts, clusters, questions = zip(*whole, strict=True)
        columns = {language: [row[0] for row in items] for language, items in table.items()}
        vectors = _vectors(columns, encoder, role)
        found[role] = _Texts(texts, vectors, np.array(clusters), np.array(questions))
    return found


def _trained(
    columns: Mapping[str, Sequence[str | None]], encoder: Encoder, role: Role
) -> tuple[Embeddings, list[str]]:
    texts = {
        language: list(dict.fromkeys(text for text in column if text))
        for language, column in columns.items()
    }
    return _vectors(texts, encoder, role), [text for column in texts.values() for text in column]


def _vectors(columns: Mapping[str, list[str]], encoder: Encoder, role: Role) -> Embeddings:
    """(all texts, d) of length 1."""
    parts = [
        encode_unique(encoder, texts, language, role)[0]
        for language, texts in columns.items()
        if texts
    ]
    whole = np.concatenate(parts)
    return np.asarray(whole / np.linalg.norm(whole, axis=1, keepdims=True), dtype=np.float32)


def _calibrate(texts: _Texts, threshold: float | None, name: str) -> tuple[float, float | None]:
    """The threshold, and the share of texts whose own translation lies above it, if any has one."""
    rows = np.random.default_rng(0).permutation(len(texts.texts))[:SAMPLE]
    others, own = np.full(len(rows), -np.inf), np.full(len(rows), -np.inf)
    for place, row in enumerate(rows):
        cosines = texts.vectors @ texts.vectors[row]
        foreign = texts.clusters != texts.clusters[row]
        same = texts.questions == texts.questions[row]
        same[row] = False
        others[place] = cosines[foreign].max(initial=-np.inf)
        own[place] = cosines[same].max(initial=-np.inf)
    if threshold is None:
        if not np.isfinite(others).any():
            raise UserError(
                f"{name}: all texts belong to one article, so what is near by chance cannot be "
                "measured; give a threshold between 0 and 1, such as 0.9"
            )
        threshold = float(np.quantile(others, 1 - CHANCE))
    known = np.isfinite(own)
    return threshold, float((own[known] > threshold).mean()) if known.any() else None


def _nearest(
    role: Role, texts: _Texts, held: Embeddings, held_texts: list[str], limit: float, chance: int
) -> Finding:
    first: dict[str, int] = {}
    for row, text in enumerate(texts.texts):
        first.setdefault(text, row)
    unique, rows = list(first), list(first.values())
    nearest, cosines = (table[:, 0] for table in search(texts.vectors[rows], held, 1))
    near = np.flatnonzero(cosines > limit)
    shown = near[np.argsort(-cosines[near], kind="stable")][:5]
    examples = tuple(
        f"{unique[place][:40]} ~ {held_texts[nearest[place]][:40]} ({cosines[place]:.3f})"
        for place in shown.tolist()
    )
    return Finding(f"nearest {role}", len(near), len(unique), examples, chance)
