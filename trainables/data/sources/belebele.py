"""Belebele: 900 questions about 488 passages, in 122 language variants, fully parallel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.data.benchmark import Benchmark, Candidate, Query
from trainables.data.formats.reading import BadRowError, identity_of, refuse_repeat, text_of
from trainables.data.formats.squad_languages import Places, files_by_language, one_source_each
from trainables.data.source import Loader, Request, SourceFiles

_NAME = r"(?P<language>[a-z]{3}_[A-Z][a-z]{3})"
FILES = (
    _NAME + r"\.jsonl(?:\.gz)?",
    _NAME + r"(?:/test/\d+|/test(?:-[\w-]+)?|(?:-[\w-]+)?)\.parquet",
)
"""The files as published, and the hub's tables of them."""


def belebele_files(request: Request) -> SourceFiles:
    """Find `<language>_<Script>.jsonl` of each language, or the shards of its table."""
    return files_by_language(_files(request), "jsonl")


def load_belebele(request: Request) -> Benchmark:
    """Load questions against passages; the multiple-choice answers are not read.

    A passage is identified by its link, a question by link and number, which are the same in all
    languages; like MTEB, this keeps one passage per link.

    Returns:
        Query ids `{language}:{link}#{number}`, candidate ids `{language}:{link}`; clusters are
        links.

    Raises:
        UserError: A file is missing or malformed, or a link has two passages in a language.
    """
    queries: dict[str, list[Query]] = {}
    corpus: dict[str, list[Candidate]] = {}
    holders: dict[str, dict[str, float]] = {}
    for language, paths in _files(request).items():
        passages: dict[str, str] = {}
        ids: set[str] = set()

        def query(
            row: Mapping[str, Any],
            language: str = language,
            passages: dict[str, str] = passages,
            ids: set[str] = ids,
        ) -> Query:
            link, text = text_of(row, "link"), text_of(row, "flores_passage")
            question = text_of(row, "question")
            if passages.get(link, text) != text:
                raise BadRowError(f"link {link!r} has two passages", "flores_passage")
            key = "question_number"
            identity = refuse_repeat(ids, f"{link}#{identity_of(row, key)}", key)
            passages[link] = text
            return Query(f"{language}:{identity}", question, identity, link)

        queries[language] = [item for path in paths for item in request.records(path, query)]
        corpus[language] = [
            Candidate(f"{language}:{link}", text) for link, text in passages.items()
        ]
        for link in passages:
            holders.setdefault(link, {})[f"{language}:{link}"] = 1.0
    return Benchmark(
        name=request.name,
        queries=queries,
        corpus=corpus,
        qrels={query.id: holders[query.cluster] for items in queries.values() for query in items},
        dropped=request.dropped,
    )


def _files(request: Request) -> Places:
    matches = [match for pattern in FILES for match in request.find(pattern)]
    what = "Belebele file, such as swh_Latn.jsonl,"
    places = one_source_each(matches, request.name)
    return request.choose(places, what)


LOADER = Loader(belebele_files, load_belebele)
