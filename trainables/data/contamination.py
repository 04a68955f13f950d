"""Contamination checks: search the training data for items of the evaluation data.

No method here can prove that nothing overlaps: a translation shares neither words nor shingles
with its source. The best verdict is therefore `none found by these methods`, or `not checkable` if
training and evaluation have no language in common.
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
"""Minimum length of an id; shorter ones, such as row numbers, are equal by chance."""

SHORTEST_TEXT = 20
"""Minimum UTF-8 bytes of a normalised text; shorter ones, such as names, are equal by chance."""

SHINGLE, SHINGLE_OF_CHARACTERS = 8, 16
"""Tokens in a shingle; the second if most tokens are single characters (Chinese, Thai)."""

COVERED = 0.5
"""Share of an evaluation passage's shingles from which on it counts as trained on."""

# Scripts written without spaces, in which every character is a token.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"

# Vowel signs of Indic scripts belong to their word; variation selectors belong to none.
_SIGNS = "".join(
    chr(code)
    for code in range(0x300, 0x20000)
    if unicodedata.category(chr(code)) in ("Mn", "Mc") and not 0xFE00 <= code <= 0xFE0F
)

_LETTERS = rf"[^\W_{_UNSPACED}]"

_TOKEN = re.compile(rf"[{_UNSPACED}]|{_LETTERS}+(?:[{_SIGNS}]+{_LETTERS}*)*")

_UNTITLED = re.compile(r"(.*-)?article-\d+")

LEFT_OUT = "queries whose question is in the training data"
"""Key in `Benchmark.dropped` of the queries that `without_questions` removes."""

SHORTEST_QUESTION_ID = 12
"""Minimum length of a question id; shorter ones, such as `p3-q1`, recur in unrelated data."""

COUNTER = re.compile(r"[^\W\d]*[\W_]*(?:[^\W\d]+[\W_]+)*\d{0,9}")
"""Ids that are only a numbered label, such as `question-000017`: they recur in unrelated data."""


@dataclass(frozen=True)
class Finding:
    """Result of one method.

    Attributes:
        method: Name of the method.
        matches: Number of evaluation items found in the training data.
        of: Number of evaluation items searched for.
        examples: The first few matches, as written in the evaluation data.
        chance: Number of matches expected without any overlap; up to twice as many count as
            chance.
    """

    method: str
    matches: int
    of: int
    examples: tuple[str, ...]
    chance: int = 0


@dataclass(frozen=True)
class Contamination:
    """Verdict of all methods together (law 8), and the finding of each.

    Attributes:
        verdict: `overlap` if any method found something; `not checkable` if none did and texts
            could not be compared because no language is shared; else `none found by these
            methods`, which is not a proof.
        findings: Results of all methods that could be applied.
        blind: Kinds of overlap that these methods cannot detect, in words.
        pretraining: What is known of the encoder's pretraining data, as a sentence; see the
            module `pretraining`.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    blind: tuple[str, ...]
    pretraining: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values as stored in a result, with `matches` under the key `found`."""
        values = asdict(self)
        for finding in values["findings"]:
            finding["found"] = finding.pop("matches")
        return values


def contamination(training: TrainingSet, benchmark: Benchmark) -> Contamination:
    """Search the training data for evaluation items.

    Texts are checked by question ids; article titles; equal queries and equal passages after
    normalisation (NFKC, case folded, letters and digits only); and passages of which at least
    half of the shingles (8 words, or 16 characters in scripts without spaces) occur in training
    passages. Images, if training has any, are checked by id (photographs keep their name in all
    sources), cluster and file bytes; captions by text. An image that was rescaled or recompressed
    and renamed is not detected.

    Args:
        training: Training data.
        benchmark: Evaluation data. Of its texts only queries and relevant candidates are
            searched for: the rest of a corpus reveals nothing about the test.
    """
    trained_passages = _distinct(t for column in training.passages.values() for t in column)
    trained_queries = _distinct(t for column in training.queries.values() for t in column)
    evaluated = [query for items in benchmark.queries.values() for query in items]
    queries = _distinct(query.text for query in evaluated)
    if benchmark.pictures:
        trained = _distinct((*trained_queries, *trained_passages))
        captions = equal_texts("equal captions", trained, queries)
        return _image_contamination(training, benchmark, captions)
    relevant_ids = {name for gains in benchmark.qrels.values() for name in gains}
    passages = _distinct(
        item.text
        for items in benchmark.corpus.values()
        for item in items
        if item.id in relevant_ids
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


def _image_contamination(
    training: TrainingSet, benchmark: Benchmark, captions: Finding
) -> Contamination:
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
    # Images have no language, so they are comparable whatever the captions' languages.
    overall = verdict(training, {*languages, *training.languages[:1]}, findings)
    blind = (*overall.blind, "pictures that were scaled or compressed again under another name")
    return replace(overall, blind=blind)


def verdict(
    training: TrainingSet,
    evaluated: Set[str],
    findings: tuple[Finding, ...],
    short: int = 0,
) -> Contamination:
    """Combine all findings into one verdict.

    Args:
        training: Training data.
        evaluated: Languages of the evaluation data.
        findings: Result of each method; those that had nothing to search for are left out.
        short: Number of evaluation texts that were too short to compare.
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
    """Return the benchmark's questions (`Query.question`) that the training data contain.

    A question is shared if, in any language, its text equals that of a training query (NFKC,
    case folded, letters and digits only; texts under 20 bytes in the same language only), or if
    its id equals a training question's and is too specific to recur by chance.
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
    """Tell whether equal ids in two sources mean the same question, not just the same number."""
    return len(identity) >= SHORTEST_QUESTION_ID and not COUNTER.fullmatch(identity)


def without_questions(benchmark: Benchmark, questions: Set[str]) -> Benchmark:
    """Remove the queries of these questions and count them in `dropped`; the corpus stays whole."""
    queries = {
        language: [query for query in items if query.question not in questions]
        for language, items in benchmark.queries.items()
    }
    remaining = {query.id for items in queries.values() for query in items}
    number = sum(map(len, benchmark.queries.values())) - len(remaining)
    return replace(
        benchmark,
        queries=queries,
        qrels={query: gains for query, gains in benchmark.qrels.items() if query in remaining},
        answers={query: where for query, where in benchmark.answers.items() if query in remaining},
        dropped={**benchmark.dropped, **({LEFT_OUT: number} if number else {})},
    )


def equal_ids(method: str, trained: Iterable[str], evaluated: Iterable[str]) -> Finding:
    """Find ids of evaluation items in the training data, ignoring short ids."""
    sought = {identity: identity for identity in evaluated if len(identity) >= SHORTEST_ID}
    return _finding(method, sought, trained)


def equal_texts(method: str, trained: list[str], evaluated: list[str]) -> Finding:
    """Find evaluation texts in the training data after normalisation, ignoring short texts."""
    originals = {normalise(text): text for text in evaluated}
    sought = {key: text for key, text in originals.items() if is_long(key)}
    return _finding(method, sought, map(normalise, trained))


def equal_pictures(trained: Sequence[Picture], evaluated: Sequence[Picture]) -> Finding:
    """Find evaluation images whose files are byte for byte equal to a training image.

    Only files of equal size are read.
    """
    sizes = {_size(picture) for picture in evaluated}
    distinct = {picture.id: picture for picture in trained if _size(picture) in sizes}
    trained_digests = set(map(_digest, distinct.values()))
    trained_sizes = {_size(picture) for picture in distinct.values()}
    equal = [p.id for p in evaluated if _size(p) in trained_sizes and _digest(p) in trained_digests]
    return Finding("equal pictures", len(equal), len(evaluated), tuple(_first(equal, 5)))


def _ids(training: TrainingSet, questions: list[str]) -> Finding:
    return equal_ids("question ids", training.questions, questions)


def _articles(training: TrainingSet, clusters: list[str]) -> Finding:
    """Compare titles without spaces and punctuation, which sources write in different ways."""
    titles = {
        normalise(cluster).replace(" ", ""): cluster
        for cluster in clusters
        if not _UNTITLED.fullmatch(cluster)
    }
    sought = {key: title for key, title in titles.items() if len(key) >= 3 and not key.isdigit()}
    trained = (normalise(cluster).replace(" ", "") for cluster in set(training.clusters))
    return _finding("article titles", sought, trained)


def _shingles(trained: list[str], evaluated: list[str]) -> Finding:
    hashes = [shingles(text) for text in evaluated]
    known = np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]))
    is_trained = np.zeros(len(known) + 1, dtype=bool)
    for text in trained:
        trained_shingles = shingles(text)
        place = np.searchsorted(known, trained_shingles)
        is_trained[
            place[known[np.minimum(place, len(known) - 1)] == trained_shingles]
            if len(known)
            else []
        ] = True
    covered = [
        text
        for text, part in zip(evaluated, hashes, strict=True)
        if len(part) and is_trained[np.searchsorted(known, part)].mean() >= COVERED
    ]
    checked = sum(len(part) > 0 for part in hashes)
    return Finding("passage shingles", len(covered), checked, tuple(t[:80] for t in covered[:5]))


def _finding(method: str, sought: Mapping[str, str], trained: Iterable[str]) -> Finding:
    """Count the keys of `sought` in `trained`; its values are the texts to show as examples."""
    shared = sought.keys() & set(trained)
    examples = tuple(text[:80] for key, text in sought.items() if key in shared)[:5]
    return Finding(method, len(shared), len(sought), examples)


def normalise(text: str) -> str:
    """Apply NFKC and case folding; keep letters with their combining signs, and digits."""
    return " ".join(_TOKEN.findall(unicodedata.normalize("NFKC", text).casefold()))


def is_long(normal: str) -> bool:
    """Tell whether a normalised text is too long to be equal by chance."""
    return len(normal.encode()) >= SHORTEST_TEXT


def shingles(text: str) -> Hashes:
    """Hash all runs of 8 tokens, or 16 if most tokens are single characters, to 64 bits each."""
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
    """Yield keys by which texts are compared; a short text has only one with its language."""
    if text is None:
        return
    normal = normalise(text) or text.strip()
    yield base_language(language), normal
    if is_long(normal):
        yield "", normal


def _first(names: Iterable[str], most: int) -> list[str]:
    return [name[:80] for name, _ in zip(names, range(most), strict=False)]


def _size(picture: Picture) -> int:
    """Return the size of the image file in bytes."""
    source = picture.source
    return source.stat().st_size if isinstance(source, Path) else len(_bytes(picture))


def _digest(picture: Picture) -> bytes:
    return hashlib.sha256(_bytes(picture)).digest()


def _bytes(picture: Picture) -> bytes:
    source = picture.source
    if isinstance(source, bytes):
        return source
    return source.read_bytes() if isinstance(source, Path) else cell_bytes(source)
