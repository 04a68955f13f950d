"""Benchmarks in the shape of MTEB and BEIR: a corpus, queries and qrels, in JSON lines or Parquet.

Read are BEIR's `corpus.jsonl`, `queries.jsonl` and `qrels/<part>.tsv`, in the folder itself or in
one folder a language, and the hub's `<language>-corpus/<part>-….parquet` and its like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.data.corpus import Benchmark, Candidate, Query
from trainables.data.languages import bcp47
from trainables.data.reading import (
    BadRowError,
    find,
    help_with,
    identity_of,
    need,
    records,
    refuse_repeat,
    table,
    text_of,
)
from trainables.data.source import Found, Request
from trainables.errors import UserError

ROLES = ("corpus", "queries", "qrels")
_LANGUAGE = r"(?P<language>[a-z]{2,3}(?:[-_][A-Za-z]{2,4})?)"
PATTERNS = (
    rf"(?:{_LANGUAGE}/)?(?P<role>corpus|queries)\.jsonl(?:\.gz)?",
    rf"(?:{_LANGUAGE}/)?(?P<role>qrels)/(?P<part>\w+)\.(?:tsv|jsonl)",
    rf"(?:{_LANGUAGE}-)?(?P<role>corpus|queries|qrels)/(?P<part>[a-z]+)[^/]*\.parquet",
)

Files = dict[str, dict[str, list[Path]]]
"""Language to role to its files."""


def mteb_files(request: Request) -> Found:
    """Corpus, queries and judgements of each language."""
    files = _files(request)
    return Found(
        {
            f"{language}.{role}-{number}": path
            for language, roles in files.items()
            for role, paths in roles.items()
            for number, path in enumerate(paths)
        },
        tuple(files),
    )


def load_mteb(request: Request) -> Benchmark:
    """Queries against the corpus of their language, judged in it alone.

    As in MTEB a candidate's text is its title and text with a blank between; queries without a
    positive judgement are kept and counted at the evaluation.

    Returns:
        Query ids `{language}:{id}`, candidate ids `{language}:{id}`; clusters the queries.

    Raises:
        UserError: Missing or malformed files, or a judgement of what no corpus holds.
    """
    queries: dict[str, Sequence[Query]] = {}
    corpus: dict[str, Sequence[Candidate]] = {}
    qrels: dict[str, dict[str, float]] = {}
    for language, files in _files(request).items():
        corpus[language] = [
            Candidate(f"{language}:{identity}", text)
            for identity, text in _texts(files["corpus"], request)
        ]
        queries[language] = [
            Query(
                f"{language}:{identity}", text, f"{language}:{identity}", f"{language}:{identity}"
            )
            for identity, text in _texts(files["queries"], request)
        ]
        for query, candidate, gain in _judgements(files["qrels"], request):
            if gain > 0:
                qrels.setdefault(f"{language}:{query}", {})[f"{language}:{candidate}"] = gain
    return Benchmark(
        name=request.name,
        queries=queries,
        corpus=corpus,
        qrels=qrels,
        judged_in_all_languages=False,
        dropped=request.dropped,
    )


def _texts(paths: Sequence[Path], request: Request) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()

    def convert(row: Mapping[str, Any]) -> tuple[str, str]:
        identity = identity_of(row, "_id" if "_id" in row else "id")
        text = f"{row.get('title') or ''} {need(row, 'text', str)}".strip()
        if not text:
            raise BadRowError("'title' and 'text' are blank")
        return refuse_repeat(seen, identity), text

    for path in paths:
        yield from records(path, request.name, convert, request.skipped)


def _judgements(paths: Sequence[Path], request: Request) -> Iterator[tuple[str, str, float]]:
    def of_row(row: Mapping[str, Any]) -> tuple[str, str, float]:
        if not isinstance(row.get("score"), (int, float)):
            raise BadRowError(f"'score' is {row.get('score')!r}, not a number")
        return text_of(row, "query-id"), text_of(row, "corpus-id"), float(row["score"])

    def of_columns(columns: Sequence[str]) -> tuple[str, str, float] | None:
        if list(columns) == ["query-id", "corpus-id", "score"]:
            return None
        try:
            return columns[0], columns[1], float(columns[2])
        except ValueError:
            raise BadRowError(f"score is {columns[2]!r}, not a number") from None

    for path in paths:
        if path.suffix == ".tsv":
            rows = table(
                path, request.name, "query-id corpus-id score", of_columns, request.skipped
            )
            yield from (row for row in rows if row is not None)
        else:
            yield from records(path, request.name, of_row, request.skipped)


def _files(request: Request) -> Files:
    files: Files = {}
    for pattern in PATTERNS:
        for path, groups in find(request.folder, pattern):
            if groups["role"] == "qrels" and groups["part"] != request.part:
                continue
            language = bcp47(groups["language"]) if "language" in groups else _only(request)
            files.setdefault(language, {}).setdefault(groups["role"], []).append(path)
    files = {language: files[language] for language in sorted(request.languages or files)
             if language in files}  # fmt: skip
    wanted = request.languages or tuple(files)
    for language in wanted or ("<language>",):
        for role in ROLES:
            if role not in files.get(language, {}):
                raise UserError(
                    f"{request.name}: no {role} of language {language} and part {request.part} in "
                    f"{request.folder}; {help_with(request.name)}"
                )
    return files


def _only(request: Request) -> str:
    """The language of files that do not say it."""
    if request.languages is None or len(request.languages) != 1:
        raise UserError(
            f"{request.name}: the files in {request.folder} do not say their language; name it "
            "with --set eval_languages=sw, or put them in a folder named after it"
        )
    return request.languages[0]
