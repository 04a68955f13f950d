"""Questions against whole paragraphs, as MTEB builds XQuADRetrieval and MLQARetrieval.

In both, questions of equal text in a language become one query and equal contexts one candidate.
MTEB judges a pair of languages at a time; questions are parallel by id, so relevance is extended
here to every language that holds the id, which leaves MTEB's monolingual settings as they are.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Literal

from trainables.data.corpus import Benchmark, Candidate, Query, TrainingSet
from trainables.data.reading import Skipped, choose, find
from trainables.data.squad_json import (
    Offsets,
    Paragraph,
    cluster_of,
    offset_remarks,
    read_paragraphs,
)
from trainables.data.squad_languages import (
    Files,
    Places,
    by_preference,
    one_source_each,
    read_languages,
)
from trainables.errors import UserError

MERGED = "queries merged with another of equal text"
MLQA_FILES = {"test": "test", "validation": "dev"}
"""Splits, and what MLQA calls them in names of files."""

Pair = tuple[str, str]


def load_paragraphs(
    folder: Path,
    name: str = "xquad",
    languages: Sequence[str] | None = None,
    articles: Container[int] | None = None,
    skipped: Skipped = None,
    offsets: Offsets = "check",
) -> Benchmark:
    """XQuAD: questions and contexts are stripped, as the data that MTEB reads.

    Args:
        folder: Holds a file of SQuAD's shape for each language (`squad_languages`).
        name: Of the benchmark.
        languages: To read; None for every file in the folder.
        articles: Keep only articles with these indices.
        skipped: Counts malformed rows, which are left out; None refuses them.
        offsets: As for `read_paragraphs`.

    Returns:
        Query ids `{language}:{id}` (of merged queries the last id), candidate ids
        `{language}_{paragraph}` (of equal contexts the first).

    Raises:
        UserError: A missing, broken or differently shaped file, or a language without file.
    """
    files = read_languages(folder, name, languages, articles, False, skipped, offsets)
    return _benchmark(files, name, skipped=skipped)


def load_mlqa_paragraphs(
    folder: Path,
    languages: Sequence[str] | None = None,
    split: Literal["test", "validation"] = "test",
    pair: Pair | None = None,
    name: str = "mlqa",
    skipped: Skipped = None,
    offsets: Offsets = "check",
) -> Benchmark:
    """MLQA: nothing is stripped, and `pair` gives one of MTEB's 49 subsets.

    MLQA is partly parallel. MTEB's subset of questions in q and paragraphs in c holds only ids
    that both languages have, and only the paragraphs of these; our `cross/q-c` is judged against
    all of c's paragraphs instead, and so is harder unless c has no others (q is English, or c).
    The monolingual settings are equal.

    Args:
        folder: As for `mlqa_files`.
        languages: To read; None for every such file in the folder.
        split: `validation` are the files that MLQA calls dev.
        pair: (language of the questions, language of the paragraphs): only this subset.
        name: Of the benchmark.
        skipped: As for `load_paragraphs`.
        offsets: As for `read_paragraphs`.

    Returns:
        Ids as of `load_paragraphs`.

    Raises:
        UserError: As for `load_paragraphs`, or a pair without a common question.
    """
    paths = mlqa_files(folder, sorted({*pair}) if pair else languages, split, name)
    files: Files = {
        language: read_paragraphs(each, name, False, skipped, offsets=offsets)
        for language, each in paths.items()
    }
    if pair is None:
        return _benchmark(files, name, strip=False, skipped=skipped)
    asked, answered = ({q.id for p in files[la] for q in p.questions} for la in pair)
    both = asked & answered
    if not both:
        raise UserError(
            f"{name}: {pair[0]} and {pair[1]} have no question id in common in {folder}; "
            "are the files of one release?"
        )
    return _benchmark(files, name, strip=False, pair=pair, only=both, skipped=skipped)


def mlqa_part(
    part: str | None, known: Sequence[str]
) -> tuple[Literal["test", "validation"], Pair | None]:
    """Split, and the languages of questions and paragraphs where only these are asked for.

    Raises:
        UserError: No such part.
    """
    split, _, pair = (part or "test").partition("/")
    asked, _, answered = pair.partition("-")
    if split not in ("test", "validation") or (pair and not {asked, answered} <= {*known}):
        raise UserError(
            f"mlqa has no part {part!r}; there is test, validation, and of each the pairs of "
            f"languages of questions and paragraphs, such as test/de-en, of {', '.join(known)}"
        )
    chosen: Literal["test", "validation"] = "test" if split == "test" else "validation"
    return chosen, (asked, answered) if pair else None


def mlqa_files(
    folder: Path, languages: Sequence[str] | None, split: str, name: str = "mlqa"
) -> Places:
    """Language to the file with both context and questions in it, in ascending order.

    Args:
        folder: With `MLQA_V1` as unpacked, or that, or its `test` or `dev`:
            `test-context-de-question-de.json`, one file a language; the other 42 hold the same
            texts and are not read. Or the hub's Parquet, `mlqa.de.de/test-*.parquet`; its
            translations, `mlqa-translate-test.de`, are not read either.
        languages: To read; None for all of them.
        split: `test` or `validation`.
        name: Of the data, for messages.

    Raises:
        UserError: No such file, or none of a language asked for, or two of one.
    """
    prefix = MLQA_FILES[split]
    patterns = (
        rf"{prefix}-context-(?P<language>\w+)-question-(?P=language)\.json(?:\.gz)?",
        rf"(?i:mlqa)\.(?P<language>\w+)\.(?P=language)/([^/]*{split}[^/]*|{split}/\d+)\.parquet",
    )
    matches = [each for pattern in patterns for each in find(folder, pattern)]
    what = (
        f"{prefix}-context-<language>-question-<language>.json or "
        f"mlqa.<language>.<language>/{split}-*.parquet"
    )
    return choose(one_source_each(matches, name), languages, name, folder, what)


def paragraph_pairs(
    folder: Path,
    name: str = "xquad",
    languages: Sequence[str] | None = None,
    articles: Container[int] | None = None,
    skipped: Skipped = None,
    offsets: Offsets = "check",
) -> TrainingSet:
    """Questions and their whole paragraphs as rows to train on.

    A row's gold and cluster are named in English where the id exists there, else in the first
    language that holds it: questions of one paragraph share its gold in every language.

    Returns:
        Rows in the order of the reference languages' files; golds `{reference}_{paragraph}`;
        None where a language lacks the row.

    Raises:
        UserError: As for `load_paragraphs`.
    """
    files = read_languages(folder, name, languages, articles, False, skipped, offsets)
    return parallel_rows(files, name)


def parallel_rows(files: Files, name: str) -> TrainingSet:
    """As `paragraph_pairs`, from files that are read already."""
    rows = {
        language: {q.id: (q.text.strip(), p) for p in paragraphs for q in p.questions}
        for language, paragraphs in files.items()
    }
    reference: dict[str, tuple[str, Paragraph]] = {}
    for language in by_preference(rows):
        for identity, (_, paragraph) in rows[language].items():
            reference.setdefault(identity, (language, paragraph))
    found = {la: [table.get(identity) for identity in reference] for la, table in rows.items()}
    return TrainingSet(
        name=name,
        questions=list(reference),
        golds=[f"{language}_{paragraph.number}" for language, paragraph in reference.values()],
        clusters=[cluster_of(language, paragraph) for language, paragraph in reference.values()],
        queries={la: [row and row[0] for row in column] for la, column in found.items()},
        passages={
            la: [row and row[1].context.strip() for row in column] for la, column in found.items()
        },
    )


def _benchmark(
    files: Files,
    name: str,
    *,
    strip: bool = True,
    pair: Pair | None = None,
    only: Container[str] | None = None,
    skipped: Skipped = None,
) -> Benchmark:
    """Merge equal texts; keep the ids in `only`, the questions and paragraphs of `pair`."""
    clusters: dict[str, str] = {}
    for language in by_preference(files):
        for paragraph in files[language]:
            for question in paragraph.questions:
                clusters.setdefault(question.id, cluster_of(language, paragraph))
    corpus: dict[str, list[Candidate]] = {}
    holders: dict[str, dict[str, float]] = {}
    for language in [pair[1]] if pair else files:
        corpus[language] = _candidates(language, files[language], strip, only, holders)
    queries: dict[str, list[Query]] = {}
    qrels: dict[str, dict[str, float]] = {}
    merged = 0
    for language in [pair[0]] if pair else files:
        by_text = _questions(files[language], strip, only)
        merged += sum(len(ids) - 1 for ids in by_text.values())
        queries[language] = [
            Query(f"{language}:{ids[-1]}", text, ids[-1], clusters[ids[-1]])
            for text, ids in by_text.items()
        ]
        for ids in by_text.values():
            qrels[f"{language}:{ids[-1]}"] = {
                candidate: 1.0 for identity in ids for candidate in holders[identity]
            }
    dropped = {MERGED: merged} if merged else {}
    dropped |= offset_remarks(p for paragraphs in files.values() for p in paragraphs)
    return Benchmark(name, queries, corpus, qrels, dropped=dropped | dict(skipped or {}))


def _candidates(
    language: str,
    paragraphs: Sequence[Paragraph],
    strip: bool,
    only: Container[str] | None,
    holders: dict[str, dict[str, float]],
) -> list[Candidate]:
    """Contexts with a question in `only`; adds to `holders` which candidate answers which id."""
    first: dict[str, str] = {}
    for paragraph in paragraphs:
        ids = [q.id for q in paragraph.questions if only is None or q.id in only]
        if only is None or ids:
            text = paragraph.context.strip() if strip else paragraph.context
            candidate = first.setdefault(text, f"{language}_{paragraph.number}")
            for identity in ids:
                holders.setdefault(identity, {})[candidate] = 1.0
    return [Candidate(identity, text) for text, identity in first.items()]


def _questions(
    paragraphs: Sequence[Paragraph], strip: bool, only: Container[str] | None
) -> dict[str, list[str]]:
    """Text to the ids in `only` that have it."""
    by_text: dict[str, list[str]] = {}
    for question in (q for paragraph in paragraphs for q in paragraph.questions):
        if only is None or question.id in only:
            text = question.text.strip() if strip else question.text
            by_text.setdefault(text, []).append(question.id)
    return by_text
