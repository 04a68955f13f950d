"""Questions with one passage each in SQuAD files: TyDi QA GoldP, AmQA, XOR-TyDi."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainables.data.benchmark import Benchmark, TrainingSet
from trainables.data.formats.pairs import Pair, benchmark_of, divide, training_of
from trainables.data.formats.reading import (
    AbsentLanguageError,
    BadRowError,
    help_with,
    identity_of,
    language_of,
    refuse_missing_shard,
)
from trainables.data.formats.squad_json import (
    Paragraph,
    ParagraphReader,
    cluster_of,
    offset_remarks,
)
from trainables.data.formats.squad_languages import Places, files_by_language, one_source_each
from trainables.data.languages import NAMES, bcp47
from trainables.data.source import Loader, Request, SourceFiles
from trainables.errors import DataError, UserError

Remarks = dict[str, int]
"""Remark about answers' offsets to its count."""

LanguageOf = Callable[[Mapping[str, Any]], str]
"""Returns the language of a question's object in the file."""


def pairs_loader(language: LanguageOf | None = None) -> Loader:
    """Return a loader for one file per part, with questions about passages in their language.

    Args:
        language: Returns a question's language; by default the source's first one.
    """

    def pairs(request: Request) -> tuple[list[Pair], Remarks]:
        return _pairs(request, {"": [_single(request)]}, language)

    def files(request: Request) -> SourceFiles:
        path = _single(request)
        return SourceFiles({path.name: path}, request.languages or request.source.languages)

    return Loader(files, lambda r: _benchmark(r, *pairs(r)), lambda r: _rows(r, *pairs(r)))


def _tydiqa_files(request: Request) -> SourceFiles:
    languages = request.languages or sorted({p.language for p in _tydiqa_pairs(request)[0]})
    return SourceFiles(files_by_language(_tydiqa_places(request)).files, tuple(languages))


def _tydiqa_pairs(request: Request) -> tuple[list[Pair], Remarks]:
    """Return the pairs of a part; `articles` and `held-out` divide the training files by article.

    Passages are the gold paragraphs of all questions; several questions share one.
    """
    pairs, remarks = _pairs(request, _tydiqa_places(request), _tydi_language)
    if request.part in ("articles", "held-out"):
        pairs = divide(pairs, held_out=request.part == "held-out")
    return pairs, remarks


def _tydiqa_places(request: Request) -> Places:
    """Return files by language, or all under the split's name; the first pattern found counts."""
    split = "dev" if request.part == "dev" else "train"
    patterns = request.source.patterns_of(request.part)
    for pattern in patterns.paths:
        matches = request.find(pattern)
        if matches and "language" in matches[0][1]:
            places = one_source_each(matches, request.name)
            return request.choose(places, patterns.called)
        if matches:
            paths = [path for path, _ in matches]
            if len(paths) > 1 and paths[0].suffix != ".parquet":
                raise DataError(
                    f"{request.name}: {paths[0]} and {paths[1]} both hold all languages; move one "
                    "of them away",
                    paths[1],
                )
            refuse_missing_shard(paths, request.name)
            return {split: paths}
    raise UserError(
        f"{request.name}: {request.folder} holds no {split} files of TyDi QA GoldP, such as "
        f"tydiqa-goldp-v1.1-{split}.json; {help_with(request.name)}"
        + ("" if split == "train" else ", or evaluate held-out articles of the training files: "
           f"--benchmark {request.name}:held-out")
    )  # fmt: skip


def _tydi_language(row: Mapping[str, Any]) -> str:
    """Return the language that a TyDi QA id starts with."""
    name = identity_of(row, "id").partition("-")[0].lower()
    if name not in NAMES.values():
        raise BadRowError("'id' does not begin with a language, such as swahili-", "id")
    return bcp47(name)


def load_xor_tydi(request: Request) -> Benchmark:
    """Load XOR-TyDi: questions in seven languages against English paragraphs.

    Candidates are the gold paragraphs of all questions of the part. XOR-Retrieve itself searches
    English Wikipedia and counts answer strings; see `xor_tydi`.
    """
    paragraphs = ParagraphReader(
        request.name,
        skipped=request.skipped,
        repeats=True,
        offsets=request.offsets,
        language=lambda row: language_of(row, "lang"),
    ).read(_single(request))
    pairs = [
        Pair(q.id, q.language, q.text, "en", p.context, _xor_title(p.title), q.answer_end)
        for p in paragraphs
        for q in p.questions
    ]
    chosen = _requested(request, pairs)
    dropped = request.dropped | offset_remarks(paragraphs)
    benchmark = benchmark_of(pairs, request.name, dropped)
    queries = benchmark_of(chosen, request.name, dropped).queries
    ids = [query.id for items in queries.values() for query in items]
    # Candidates come from all languages, so a language's score does not depend on the selection.
    return replace(
        benchmark,
        queries=queries,
        qrels={identity: benchmark.qrels[identity] for identity in ids},
        answers={
            identity: benchmark.answers[identity]
            for identity in ids
            if identity in benchmark.answers
        },
    )


def _xor_title(title: str) -> str:
    """Return the article: `title: Helsinki _parentSection: …` is Helsinki."""
    return re.sub(r"^_?title:?", "", title.partition("_parentSection")[0]).strip(" _:")


def _xor_files(request: Request) -> SourceFiles:
    path = _single(request)
    return SourceFiles({path.name: path}, request.languages or request.source.languages)


def _single(request: Request) -> Path:
    """Return the only file of a part."""
    patterns = request.source.patterns_of(request.part)
    return request.find_one(f"(?:{'|'.join(patterns.paths)})", f"file {patterns.called}")


def _pairs(
    request: Request, places: Places, language: LanguageOf | None
) -> tuple[list[Pair], Remarks]:
    """Return the pairs of the requested languages."""
    language = language or (lambda row: request.source.languages[0])
    paragraphs: list[Paragraph] = []
    for paths in places.values():
        reader = ParagraphReader(
            request.name, skipped=request.skipped, offsets=request.offsets, language=language
        )
        paragraphs += reader.read(*paths)
    pairs = [
        Pair(q.id, q.language, q.text, q.language, p.context, cluster_of(q.language, p),
             q.answer_end)
        for p in paragraphs
        for q in p.questions
    ]  # fmt: skip
    return _requested(request, pairs), offset_remarks(paragraphs)


def _requested(request: Request, pairs: list[Pair]) -> list[Pair]:
    present = {pair.language for pair in pairs}
    if missing := set(request.languages or ()) - present:
        raise AbsentLanguageError(request.name, "question", missing, present, request.folder)
    return [pair for pair in pairs if pair.language in (request.languages or present)]


def _benchmark(request: Request, pairs: list[Pair], remarks: Remarks) -> Benchmark:
    return benchmark_of(pairs, request.name, request.dropped | remarks)


def _rows(request: Request, pairs: list[Pair], remarks: Remarks) -> TrainingSet:
    return training_of(pairs, request.name)


PAIRS = pairs_loader()
TYDIQA = Loader(
    _tydiqa_files,
    lambda request: _benchmark(request, *_tydiqa_pairs(request)),
    lambda request: _rows(request, *_tydiqa_pairs(request)),
)
XOR_TYDI = Loader(_xor_files, load_xor_tydi)
