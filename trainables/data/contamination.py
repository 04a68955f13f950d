"""Does the training data hold what the evaluation asks? What was found, and what cannot be seen.

No method here can prove that nothing overlaps: a translation shares neither words nor shingles
with its source. So the best verdict is `none found by these methods`, and where training and
evaluation have no language in common, `not checkable`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.data.benchmark import Benchmark, TrainingSet
from trainables.data.formats.tables import cell_bytes
from trainables.data.languages import base_language
from trainables.data.pictures import Picture

Verdict = Literal["overlap", "none found by these methods", "not checkable"]

Hashes = NDArray[np.uint64]

SHORTEST_ID = 6
"""Shorter ids, such as row numbers, agree by accident."""

SHORTEST_TEXT = 20
"""In bytes of UTF-8 after normalisation; shorter texts, such as a name, agree by accident."""

SHINGLE, SHINGLE_OF_CHARACTERS = 8, 16
"""Tokens in a shingle; the second where most tokens are single characters (Chinese, Thai)."""

COVERED = 0.5
"""Share of an evaluation passage's shingles from which on it counts as trained on."""

# Scripts written without blanks: every character is a token of its own.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"

# Vowel signs of Indian scripts are part of a word; variation selectors are part of none.
_SIGNS = "".join(
    chr(code)
    for code in range(0x300, 0x20000)
    if unicodedata.category(chr(code)) in ("Mn", "Mc") and not 0xFE00 <= code <= 0xFE0F
)

_LETTERS = rf"[^\W_{_UNSPACED}]"

_TOKEN = re.compile(rf"[{_UNSPACED}]|{_LETTERS}+(?:[{_SIGNS}]+{_LETTERS}*)*")

_UNTITLED = re.compile(r"(.*-)?article-\d+")

LEFT_OUT = "queries whose question is in the training data"
"""What `Benchmark.dropped` calls them."""

SHORTEST_QUESTION_ID = 12
"""Shorter ids, such as `p3-q1`, are alike in unrelated data."""

COUNTER = re.compile(r"[^\W\d]*[\W_]*(?:[^\W\d]+[\W_]+)*\d{0,9}")
"""Ids that only number something, such as `question-000017`: alike in unrelated data too."""


@dataclass(frozen=True)
class Finding:
    """What one method found.

    Attributes:
        method: Its name.
        matches: Evaluation items that the training data hold.
        of: Evaluation items looked for.
        examples: The first few, as written in the evaluation data.
        chance: Of `matches`, how many to expect without any overlap; up to twice as many are taken
            for chance.
    """

    method: str
    matches: int
    of: int
    examples: tuple[str, ...]
    chance: int = 0


@dataclass(frozen=True)
class Contamination:
    """The verdict of all methods together (law 8), and each one's finding.

    Attributes:
        verdict: `overlap` if any method found something; `not checkable` if none did and texts
            could not be compared for want of a common language; else `none found by these
            methods`, which is not a proof.
        findings: Of every method that could be applied.
        blind: What these methods could not see, in words.
        pretraining: What is known of the encoder's, in a sentence; see `pretraining`.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    blind: tuple[str, ...]
    pretraining: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, as stored in a result, where `matches` is called `found`."""
        values = asdict(self)
        for finding in values["findings"]:
            finding["found"] = finding.pop("matches")
        return values


def contamination(training: TrainingSet, benchmark: Benchmark) -> Contamination:
    """Look for evaluation items in training data.

    Of texts by four methods: question ids shared; articles of equal title; queries and passages of
    equal text, both after normalisation (NFKC, case folded, letters and digits only); evaluation
    passages of which at least half of the shingles (8 words, or 16 characters in scripts without
    blanks) occur in training passages. Of pictures, where training has some, by id (photographs
    have one name in all sources), by cluster and by the bytes of their files; of their captions by
    text. A picture that was scaled or compressed again and renamed is not seen.

    Args:
        training: What was trained on.
        benchmark: What is evaluated; only its relevant candidates and its queries are looked for
            as text, since the rest of a corpus gives nothing away.
    """
    trained_passages = _distinct(t for column in training.passages.values() for t in column)
    trained_queries = _distinct(t for column in training.queries.values() for t in column)
    evaluated = [query for items in benchmark.queries.values() for query in items]
    queries = _distinct(query.text for query in evaluated)
    if benchmark.pictures:
        trained = _distinct((*trained_queries, *trained_passages))
        captions = equal_texts("equal captions", trained, queries)
        return _of_pictures(training, benchmark, captions)
    judged = {name for gains in benchmark.qrels.values() for name in gains}
    passages = _distinct(
        item.text for items in benchmark.corpus.values() for item in items if item.id in judged
    )
    findings = (
        _ids(training, _distinct(query.question for query in evaluated)),
        _articles(training, _distinct(query.cluster for query in evaluated)),
        equal_texts("equal queries", trained_queries, queries),
        equal_texts("equal passages", trained_passages, passages),
        _shingles(trained_passages, passages),
    )
    short = sum(not is_long(normalise(text)) for text in (*queries, *passages))
    return verdict(training, {*benchmark.queries, *benchmark.corpus}, findings, short)


def _of_pictures(training: TrainingSet, benchmark: Benchmark, captions: Finding) -> Contamination:
    languages = set(benchmark.queries)
    if not training.pictures:
        return verdict(training, languages, (captions,))
    ids = [picture.id for picture in training.pictures]
    clusters = sorted({picture.cluster for picture in benchmark.pictures})
    findings = (
        equal_ids("picture ids", ids, [picture.id for picture in benchmark.pictures]),
        equal_ids("picture clusters", training.clusters, clusters),
        equal_pictures(training.pictures, benchmark.pictures),
        captions,
    )
    # pictures have no language, so they can be looked for whatever the captions are in
    overall = verdict(training, {*languages, *training.languages[:1]}, findings)
    blind = (*overall.blind, "pictures that were scaled or compressed again under another name")
    return replace(overall, blind=blind)


def verdict(
    training: TrainingSet,
    evaluated: Set[str],
    findings: tuple[Finding, ...],
    short: int = 0,
) -> Contamination:
    """What all findings say together.

    Args:
        training: What was trained on.
        evaluated: Languages of what is evaluated.
        findings: Of every method; those that looked for nothing are left out.
        short: Evaluation texts that were too short to be compared.
    """
    trained = set(map(base_language, training.languages))
    unseen = sorted(code for code in evaluated if base_language(code) not in trained)
    blind = ["translations and paraphrases"]
    if unseen:
        blind.append(f"texts in {', '.join(unseen)}: no training text is in these languages")
    if short:
        texts = "1 text" if short == 1 else f"{short} texts"
        blind.append(f"{texts} of less than {SHORTEST_TEXT} bytes, too short to compare")
    applied = tuple(finding for finding in findings if finding.of)
    overall: Verdict = "none found by these methods"
    if any(finding.matches > 2 * finding.chance for finding in applied):
        overall = "overlap"
    elif evaluated <= set(unseen):
        overall = "not checkable"
    return Contamination(overall, applied, tuple(blind))


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
    return len(identity) >= SHORTEST_QUESTION_ID and not COUNTER.fullmatch(identity)


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


def equal_ids(method: str, trained: Iterable[str], evaluated: Iterable[str]) -> Finding:
    """Ids of evaluation items that training data hold, but for short ones."""
    sought = {identity: identity for identity in evaluated if len(identity) >= SHORTEST_ID}
    return _finding(method, sought, trained)


def equal_texts(method: str, trained: list[str], evaluated: list[str]) -> Finding:
    """Evaluation texts that training data hold too, after normalisation, but for short ones."""
    normal = {normalise(text): text for text in evaluated}
    sought = {key: text for key, text in normal.items() if is_long(key)}
    return _finding(method, sought, map(normalise, trained))


def equal_pictures(trained: Sequence[Picture], evaluated: Sequence[Picture]) -> Finding:
    """Evaluated pictures whose files are equal to one that is trained on, byte by byte.

    Only files of equal sizes are read.
    """
    sizes = {_size(picture) for picture in evaluated}
    distinct = {picture.id: picture for picture in trained if _size(picture) in sizes}
    held = set(map(_digest, distinct.values()))
    near = {_size(picture) for picture in distinct.values()}
    equal = [p.id for p in evaluated if _size(p) in near and _digest(p) in held]
    return Finding("equal pictures", len(equal), len(evaluated), tuple(_first(equal, 5)))


def _ids(training: TrainingSet, questions: list[str]) -> Finding:
    return equal_ids("question ids", training.questions, questions)


def _articles(training: TrainingSet, clusters: list[str]) -> Finding:
    """Titles are compared without blanks and punctuation: sources write these in many ways."""
    titles = {
        normalise(cluster).replace(" ", ""): cluster
        for cluster in clusters
        if not _UNTITLED.fullmatch(cluster)
    }
    sought = {key: title for key, title in titles.items() if len(key) >= 3 and not key.isdigit()}
    held = (normalise(cluster).replace(" ", "") for cluster in set(training.clusters))
    return _finding("article titles", sought, held)


def _shingles(trained: list[str], evaluated: list[str]) -> Finding:
    hashes = [shingles(text) for text in evaluated]
    known = np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]))
    held = np.zeros(len(known) + 1, dtype=bool)
    for text in trained:
        own = shingles(text)
        place = np.searchsorted(known, own)
        held[place[known[np.minimum(place, len(known) - 1)] == own] if len(known) else []] = True
    covered = [
        text
        for text, part in zip(evaluated, hashes, strict=True)
        if len(part) and held[np.searchsorted(known, part)].mean() >= COVERED
    ]
    checked = sum(len(part) > 0 for part in hashes)
    return Finding("passage shingles", len(covered), checked, tuple(t[:80] for t in covered[:5]))


def _finding(method: str, sought: Mapping[str, str], held: Iterable[str]) -> Finding:
    """`sought` maps what is compared to what is shown."""
    shared = sought.keys() & set(held)
    examples = tuple(shown[:80] for key, shown in sought.items() if key in shared)[:5]
    return Finding(method, len(shared), len(sought), examples)


def normalise(text: str) -> str:
    """Compatibility forms unified, case folded, letters, their signs and digits only."""
    return " ".join(_TOKEN.findall(unicodedata.normalize("NFKC", text).casefold()))


def is_long(normal: str) -> bool:
    """Whether equal texts of this length hardly ever are so by accident."""
    return len(normal.encode()) >= SHORTEST_TEXT


def shingles(text: str) -> Hashes:
    """64-bit hashes of all runs of 8 tokens (16 where most tokens are single characters)."""
    tokens = normalise(text).split(" ")
    single = sum(len(token) == 1 for token in tokens) * 2 > len(tokens)
    size = SHINGLE_OF_CHARACTERS if single else SHINGLE
    if len(tokens) < size:
        return np.empty(0, np.uint64)
    codes = np.array([zlib.crc32(token.encode()) for token in tokens], dtype=np.uint64)
    total = np.zeros(len(codes) - size + 1, dtype=np.uint64)
    for step in range(size):
        total = total * np.uint64(0x9E3779B97F4A7C15) + codes[step : step + len(total)]
    return total


def _distinct(texts: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))


def _keys(language: str, text: str | None) -> Iterator[tuple[str, str]]:
    """What texts are compared by: short ones together with their language."""
    if text is None:
        return
    normal = normalise(text) or text.strip()
    yield base_language(language), normal
    if is_long(normal):
        yield "", normal


def _first(names: Iterable[str], most: int) -> list[str]:
    return [name[:80] for name, _ in zip(names, range(most), strict=False)]


def _size(picture: Picture) -> int:
    """Bytes of its file."""
    source = picture.source
    return source.stat().st_size if isinstance(source, Path) else len(_bytes(picture))


def _digest(picture: Picture) -> bytes:
    return hashlib.sha256(_bytes(picture)).digest()


def _bytes(picture: Picture) -> bytes:
    source = picture.source
    if isinstance(source, bytes):
        return source
    return source.read_bytes() if isinstance(source, Path) else cell_bytes(source)
