"""AfriQA: questions in African languages about English or French passages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.data.benchmark import Benchmark, TrainingSet
from trainables.data.formats.pairs import Pair, benchmark_of, training_of
from trainables.data.formats.reading import (
    choose,
    identity_of,
    one_each,
    optional_text,
    refuse_repeat,
    text_of,
)
from trainables.data.source import Loader, Request, SourceFiles

GOLD = r"gold_span_passages\.afriqa\.(?P<language>[a-z]{3})\.(?P<pivot>en|fr)\.(?P<part>\w+)\.json"

WITHOUT_PASSAGE = "questions without a passage"
"""Reason to drop rows with an answer alone and null for the passage, which every file has."""

Files = dict[str, tuple[Path, str]]
"""Language to its file and the language of its passages."""


def afriqa_files(request: Request) -> SourceFiles:
    """Find the gold passages of each requested African language."""
    files = _files(request)
    pivots = {pivot for _, pivot in files.values()}
    return SourceFiles(
        {f"{language}.json": path for language, (path, _) in files.items()},
        tuple(sorted({*files, *pivots})),
    )


def load_afriqa(request: Request) -> Benchmark:
    """Load each question twice, in its language and translated, against its pivot's passages.

    English and French questions are translations of the African ones; French is the pivot of Fon
    and Wolof. Corpora are the unique gold passages of all loaded languages.

    Returns:
        Question ids are `{language}-{id}`, with the African language for both; clusters are
        articles.
    """
    dropped = Counter[str]()
    pairs = list(_pairs(request, dropped))
    return benchmark_of(pairs, request.name, request.dropped | dropped)


def train_on_afriqa(request: Request) -> TrainingSet:
    """Load rows with queries in two languages and the passage in the pivot language only."""
    return training_of(_pairs(request, Counter()), request.name)


def _pairs(request: Request, dropped: Counter[str]) -> Iterator[Pair]:
    """Yield pairs, the African question first; count rows without a passage."""
    for language, (path, pivot) in _files(request).items():
        ids: set[str] = set()

        def question_pairs(
            row: Mapping[str, Any],
            language: str = language,
            pivot: str = pivot,
            ids: set[str] = ids,
        ) -> list[Pair]:
            if "context" in row and row["context"] is None:
                dropped[WITHOUT_PASSAGE] += 1
                return []
            passage, title = text_of(row, "context"), optional_text(row, "title")
            texts = {language: text_of(row, "question_lang")}
            texts[pivot] = text_of(row, "question_translated")
            question = f"{language}-{refuse_repeat(ids, identity_of(row, 'id'))}"
            cluster = title or question
            return [Pair(question, la, text, pivot, passage, cluster) for la, text in texts.items()]

        for pairs in request.records(path, question_pairs):
            yield from pairs


def _files(request: Request) -> Files:
    """Return the requested African languages; pivots alone request all languages of theirs."""
    gold = [match for match in request.find(GOLD) if match[1]["part"] == request.part]
    pivot_of = {path: groups["pivot"] for path, groups in gold}
    files = {la: (path, pivot_of[path]) for la, path in one_each(gold, request.name).items()}
    pivots = {"en", "fr"} & set(request.languages or ())
    african = [language for language in request.languages or () if language not in pivots]
    if pivots and not african:
        african = [language for language, (_, pivot) in files.items() if pivot in pivots]
    what = f"gold passages of part {request.part}"
    return choose(files, african or None, request.name, request.folder, what)


LOADER = Loader(afriqa_files, load_afriqa, train_on_afriqa)
