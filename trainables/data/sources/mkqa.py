"""MKQA: questions of Google's Natural Questions in 26 languages, with short answers only.

There are no passages, so the corpus of a language is its unique answer strings: this measures
answer retrieval, not passage retrieval.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.data.benchmark import Benchmark, Candidate, Query
from trainables.data.formats.reading import (
    AGAIN,
    AbsentLanguageError,
    BadRowError,
    File,
    by_language,
    help_with,
    identity_of,
    language_of,
    need,
    one_each,
    refuse_repeat,
    text_of,
)
from trainables.data.source import Loader, Request, SourceFiles
from trainables.errors import UserError

WHOLE = r"mkqa\.jsonl(?:\.gz)?"
"""MKQA itself: `queries` and `answers` of all languages in one row."""
ARCHIVE = r"mkqa_dev\.zip"
BY_LANGUAGE = r"mkqa-(?P<language>[a-z_]+)\.jsonl"
"""As released for MIA 2022: a file for each language, ids `<number>_<language>`."""
UNANSWERED = "questions without an answer string"

Answers = dict[str, dict[str, tuple[str, list[str]]]]
"""Language to question to its text and answer strings."""


def mkqa_files(request: Request) -> SourceFiles:
    """Find the single file of MKQA, the archive of MIA 2022, or the files unpacked from it."""
    files = _files(request)
    return SourceFiles(
        {path.name: path for path in files}, request.languages or tuple(sorted(_read(request)[0]))
    )


def load_mkqa(request: Request) -> Benchmark:
    """Load questions against the answer strings of each language, parallel by question.

    Returns:
        Query ids `{language}:{question}`, candidate ids `{language}_{number}` of unique answer
        strings in file order. A question's answers in every language are relevant.
    """
    tables, unanswered = _read(request)
    corpus: dict[str, list[Candidate]] = {}
    relevant: dict[str, dict[str, float]] = {}
    for language, table in tables.items():
        ids: dict[str, str] = {}
        for question, (_, answers) in table.items():
            for answer in answers:
                identity = ids.setdefault(answer, f"{language}_{len(ids)}")
                relevant.setdefault(question, {})[identity] = 1.0
        corpus[language] = [Candidate(identity, text) for text, identity in ids.items()]
    queries = {
        language: [Query(f"{language}:{q}", text, q, q) for q, (text, _) in table.items()]
        for language, table in tables.items()
    }
    return Benchmark(
        name=request.name,
        queries=queries,
        corpus=corpus,
        qrels={q.id: relevant[q.question] for items in queries.values() for q in items},
        dropped=request.dropped | ({UNANSWERED: unanswered} if unanswered else {}),
    )


def _read(request: Request) -> tuple[Answers, int]:
    """Read questions and answers by language; count questions without an answer."""
    tables: Answers = {}
    present: set[str] = set()
    unanswered = 0
    for file in _members(request):
        ids: set[str] = set()

        def rows(row: Mapping[str, Any], ids: set[str] = ids) -> list[_Row]:
            return _rows(row, ids)

        for row in (r for parsed_rows in request.records(file, rows) for r in parsed_rows):
            language, question, text, answers = row
            present.add(language)
            if request.languages and language not in request.languages:
                continue
            if answers:
                tables.setdefault(language, {})[question] = (text, answers)
            else:
                unanswered += 1
    if missing := set(request.languages or ()) - set(tables):
        raise AbsentLanguageError(request.name, "question", missing, present, request.folder)
    return {language: tables[language] for language in sorted(tables)}, unanswered


_Row = tuple[str, str, str, list[str]]


def _rows(row: Mapping[str, Any], ids: set[str]) -> list[_Row]:
    """Convert a row to (language, question, text, answer strings), once per language in it."""
    if "example_id" not in row:
        language, identity = language_of(row, "lang"), identity_of(row, "id")
        answers = _distinct(need(row, "answers", list))
        question = refuse_repeat(ids, identity).removesuffix(f"_{row['lang']}")
        return [(language, question, text_of(row, "question"), answers)]
    question = identity_of(row, "example_id")
    queries = {la: text for la, text in need(row, "queries", dict).items() if text is not None}
    answered = need(row, "answers", dict)
    if not queries:
        raise BadRowError("'queries' has no language", "queries")
    if missing := sorted(queries.keys() - answered.keys()):
        raise BadRowError(f"'answers' lacks language {missing[0]!r}", "answers")
    texts = by_language(
        queries, "queries", lambda table, name: (text_of(table, name), _strings(answered[name]))
    )
    refuse_repeat(ids, question, "example_id")
    return [(language, question, *table) for language, table in texts.items()]


def _strings(answers: Any) -> list[str]:
    """Return texts and aliases of answers; unanswerable and long ones have no text."""
    if not isinstance(answers, list) or not all(isinstance(entry, dict) for entry in answers):
        raise BadRowError("'answers' of a language is not a list of objects", "answers")
    texts = [entry.get("text") for entry in answers]
    for entry in answers:
        texts += [] if entry.get("aliases") is None else need(entry, "aliases", list)
    return _distinct([text for text in texts if text is not None])


def _distinct(texts: list[Any]) -> list[str]:
    for text in texts:
        need({"answers": text}, "answers", str)
    return [text for text in dict.fromkeys(text.strip() for text in texts) if text]


def _files(request: Request) -> list[Path]:
    for pattern in (WHOLE, ARCHIVE):
        if matches := request.find(pattern):
            return [matches[0][0]]
    if by_language := one_each(request.find(BY_LANGUAGE), request.name):
        return list(by_language.values())
    raise UserError(
        f"{request.name}: {request.folder} holds no mkqa.jsonl.gz, mkqa_dev.zip or "
        f"mkqa-<language>.jsonl; {help_with(request.name)}"
    )


def _members(request: Request) -> Iterator[File]:
    for path in _files(request):
        if path.suffix != ".zip":
            yield path
            continue
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
            raise UserError(f"{request.name}: {path}: {error}. {AGAIN}") from None
        # Archives made on a Mac have `._` files beside the others.
        visible = re.compile(r"(.*/)?[^./][^/]*\.jsonl")
        for member in sorted(filter(visible.fullmatch, archive.namelist())):
            yield zipfile.Path(archive, member)


LOADER = Loader(mkqa_files, load_mkqa)
