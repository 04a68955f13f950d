"""User-supplied texts in the documented format (docs/data.md): JSON lines.

A benchmark is `queries.jsonl`, `corpus.jsonl` and `qrels.jsonl`; training data are `train.jsonl`.
Parts are folders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from trainables.data.benchmark import Benchmark, Candidate, Query, TrainingSet
from trainables.data.formats.judgements import Judgements
from trainables.data.formats.reading import (
    BadRowError,
    by_language,
    help_with,
    identity_of,
    language_of,
    need,
    number_of,
    refuse_repeat,
    text_of,
    titled,
)
from trainables.data.source import Loader, Request, SourceFiles
from trainables.errors import UserError

Item = TypeVar("Item", Query, Candidate)

BENCHMARK = ("queries.jsonl", "corpus.jsonl", "qrels.jsonl")
TRAINING = "train.jsonl"


def jsonl_files(request: Request) -> SourceFiles:
    """Find the three files of a benchmark, or the one file of training data."""
    if request.training:
        files = _files(request, (TRAINING,))
        return SourceFiles(files, request.languages or train_on_jsonl(request).languages)
    files = _files(request, BENCHMARK)
    if request.languages:
        return SourceFiles(files, request.languages)
    benchmark = load_jsonl(request)
    return SourceFiles(files, tuple(sorted({*benchmark.queries, *benchmark.corpus})))


def load_jsonl(request: Request) -> Benchmark:
    """Load a benchmark; it is parallel if every query is judged in every corpus language.

    Rows: `{"id", "language", "text", "question"?, "article"?}`, `{"id", "language", "text",
    "title"?}`, `{"query", "candidate", "gain"?}`. Ids are unique in their file. `question` is
    shared by translations of a query; `article` is the unit that statistics resample.

    Returns:
        Ids are those of the files; `judged_in_all_languages` is set if every judged query has a
        relevant candidate in every language of the corpus.

    Raises:
        UserError: A file is missing or malformed, an id is used twice, or a judgement is of an
            unknown query or candidate.
    """
    files = _files(request, BENCHMARK)
    all_queries = _by_language(files["queries.jsonl"], request, _query)
    all_candidates = _by_language(files["corpus.jsonl"], request, _candidate)
    corpus_language = {c.id: language for language, items in all_candidates.items() for c in items}
    query_language = {
        query.id: language for language, items in all_queries.items() for query in items
    }
    judged = Judgements(query_language, corpus_language, ("query", "candidate"))

    def judgement(row: Mapping[str, Any]) -> None:
        judged.read(row, number_of(row, "gain", 1.0))

    for _ in request.records(files["qrels.jsonl"], judgement):
        pass
    queries, corpus = (_requested(table, request) for table in (all_queries, all_candidates))
    qrels: dict[str, dict[str, float]] = {}
    for query, gains in judged.relevant().items():
        inside = {
            candidate: gain
            for candidate, gain in gains.items()
            if corpus_language[candidate] in corpus
        }
        if inside and query_language[query] in queries:
            qrels[query] = inside
    everywhere = all(
        {corpus_language[candidate] for candidate in gains} == set(corpus)
        for gains in qrels.values()
    )
    return Benchmark(
        name=request.name,
        queries=queries,
        corpus=corpus,
        qrels=qrels,
        judged_in_all_languages=everywhere,
        dropped=request.dropped,
    )


def train_on_jsonl(request: Request) -> TrainingSet:
    """Load rows `{"id", "queries", "passages", "question"?, "gold"?, "article"?, "negatives"?}`.

    `queries` and `passages` map languages to texts; a missing language is a gap. `id` is unique;
    `question` is shared by rows that pair one question with several passages, `gold` by rows of
    one passage. `negatives` maps languages to lists of `{"id", "text"}`, hardest first; such an
    id equals the `gold` of the rows that the passage answers.
    """
    [path] = _files(request, (TRAINING,)).values()
    ids: set[str] = set()

    def row_of(row: Mapping[str, Any]) -> dict[str, Any]:
        queries, passages = _texts(row, "queries"), _texts(row, "passages")
        identity = refuse_repeat(ids, identity_of(row, "id"))
        gold = identity_of(row, "gold", identity)
        question = identity_of(row, "question", identity)
        article = identity_of(row, "article", question)
        hard = _negatives(row) if request.negatives else {}
        names = {"question": question, "gold": gold, "article": article}
        return names | {"q": queries, "p": passages, "n": hard}

    rows = list(request.records(path, row_of))
    languages = sorted({language for row in rows for language in (*row["q"], *row["p"])})
    return TrainingSet(
        name=request.name,
        questions=[row["question"] for row in rows],
        golds=[row["gold"] for row in rows],
        clusters=[row["article"] for row in rows],
        queries={language: [row["q"].get(language) for row in rows] for language in languages},
        passages={language: [row["p"].get(language) for row in rows] for language in languages},
        negatives={
            language: [row["n"].get(language, []) for row in rows]
            for language in languages
            if request.negatives
        },
    )


def _negatives(row: Mapping[str, Any]) -> dict[str, list[Candidate]]:
    if row.get("negatives") is None:
        return {}
    return by_language(need(row, "negatives", dict), "negatives", _passages)


def _passages(table: Mapping[str, Any], language: str) -> list[Candidate]:
    passages = table[language]
    if not isinstance(passages, list) or not all(isinstance(passage, dict) for passage in passages):
        raise BadRowError("'negatives' must map languages to lists of {'id', 'text'}", "negatives")
    return [_candidate(passage) for passage in passages]


def _texts(row: Mapping[str, Any], key: str) -> dict[str, str]:
    table = row.get(key)
    if not isinstance(table, dict) or not table:
        raise BadRowError(f"{key!r} must map languages to texts, such as {{'de': '…'}}", key)
    return by_language(table, key, text_of)


def _query(row: Mapping[str, Any]) -> Query:
    identity = identity_of(row, "id")
    question = identity_of(row, "question", identity)
    return Query(identity, text_of(row, "text"), question, identity_of(row, "article", question))


def _candidate(row: Mapping[str, Any]) -> Candidate:
    text = titled(row)
    return Candidate(identity_of(row, "id"), text)


def _by_language(
    path: Path, request: Request, convert: Callable[[Mapping[str, Any]], Item]
) -> dict[str, list[Item]]:
    """Read items by language; ids are unique in the file."""
    ids: set[str] = set()

    def item(row: Mapping[str, Any]) -> tuple[str, Item]:
        language, entry = language_of(row, "language"), convert(row)
        refuse_repeat(ids, entry.id)
        return language, entry

    table: dict[str, list[Item]] = {}
    for language, entry in request.records(path, item):
        table.setdefault(language, []).append(entry)
    return {language: table[language] for language in sorted(table)}


def _requested(table: dict[str, list[Item]], request: Request) -> dict[str, list[Item]]:
    """Keep the requested languages; queries or corpus, but not both, may lack one."""
    languages = request.languages or tuple(table)
    return {language: items for language, items in table.items() if language in languages}


def _folder(request: Request) -> Path:
    return request.folder / request.part if request.part else request.folder


def _files(request: Request, names: Sequence[str]) -> dict[str, Path]:
    folder = _folder(request)
    for name in names:
        if not (folder / name).is_file():
            raise UserError(
                f"{request.name}: no file {name} in {folder}; {help_with(request.name)}"
            )
    return {name: folder / name for name in names}


LOADER = Loader(jsonl_files, load_jsonl, train_on_jsonl)
