"""TREC files as in Mr. TyDi and MIRACL: topics, judgements (qrels) and passages in three files.

Relevance is judged only in a query's own language. The millions of passages are distributed apart
from the topics; without them queries and judgements can be counted but not evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.data.benchmark import Benchmark, Candidate, Query, TrainingSet
from trainables.data.formats.judgements import Judgements
from trainables.data.formats.pairs import Pair, training_of
from trainables.data.formats.reading import (
    BadRowError,
    Skipped,
    gain_of,
    help_with,
    identity_of,
    need,
    one_each,
    refuse_missing_shard,
    refuse_repeat,
    shards_each,
    table,
    text_of,
    titled,
)
from trainables.data.source import Loader, Request, SourceFiles

IRRELEVANT = "passages judged as not relevant"


@dataclass(frozen=True)
class Collection:
    """Patterns of a collection's files, with groups `language` and, but for passages, `part`.

    Attributes:
        topics: `id<TAB>query`.
        qrels: `id Q0 passage gain`.
        passages: JSON lines with docid, title, text; or id, contents.
    """

    topics: tuple[str, ...]
    qrels: tuple[str, ...]
    passages: tuple[str, ...]


_FOLDER = r"mrtydi-v1\.1-(?P<language>[a-z]+)/(?:ir-format-data/)?"
MR_TYDI = Collection(
    topics=(
        r"topics\.mrtydi-v1\.1-(?P<language>[a-z]+)\.(?P<part>\w+)\.(?:txt|tsv)(?:\.gz)?",
        _FOLDER + r"topic\.(?P<part>\w+)\.tsv(?:\.gz)?",
    ),
    qrels=(
        r"qrels\.mrtydi-v1\.1-(?P<language>[a-z]+)\.(?P<part>\w+)\.(?:txt|tsv)(?:\.gz)?",
        _FOLDER + r"qrels\.(?P<part>\w+)\.txt(?:\.gz)?",
    ),
    passages=(r"mrtydi-v1\.1-(?P<language>[a-z]+)/(?:corpus|collection/docs)\.jsonl(?:\.gz)?",),
)
MIRACL = Collection(
    topics=(r"topics\.miracl-v1\.0-(?P<language>[a-z]+)-(?P<part>[\w-]+)\.tsv(?:\.gz)?",),
    qrels=(r"qrels\.miracl-v1\.0-(?P<language>[a-z]+)-(?P<part>[\w-]+)\.tsv(?:\.gz)?",),
    passages=(r"miracl-corpus-v1\.0-(?P<language>[a-z]+)/docs-\d+\.jsonl(?:\.gz)?",),
)
COLLECTIONS = {"mr_tydi": MR_TYDI, "miracl": MIRACL}

MR_TYDI_TRAIN = r"mrtydi-v1\.1-(?P<language>[a-z]+)/train\.jsonl(?:\.gz)?"
"""Rows with query_id, query, positive_passages and negative_passages, as on the hub."""


@dataclass(frozen=True)
class _Files:
    topics: Path
    qrels: Path
    passages: tuple[Path, ...]


def topic_or_row_files(request: Request) -> SourceFiles:
    """Find topics, judgements and passages for evaluation, or Mr. TyDi's rows for training."""
    return training_files(request) if request.training else topic_files(request)


def topic_files(request: Request) -> SourceFiles:
    """Find topics, judgements and, if present, passages of each language."""
    files = _files(request)
    named = {
        f"{language}.{role}": path
        for language, entry in files.items()
        for role, path in [
            ("topics", entry.topics),
            ("qrels", entry.qrels),
            *((f"passages-{number}", path) for number, path in enumerate(entry.passages)),
        ]
    }
    return SourceFiles(named, tuple(files))


def load_topics(request: Request) -> Benchmark:
    """Load queries, judgements and, if available, passages of each language.

    A passage is title and text joined by a blank. A query's cluster is the article of its
    relevant passages if they share one, else the query itself.

    Returns:
        Query ids `{language}:{id}`, candidate ids `{language}:{passage}`; if a language lacks
        passages, `Benchmark.refusal` explains why nothing can be evaluated.

    Raises:
        UserError: A file is missing or malformed, or a judgement is of an unknown query or
            passage.
    """
    files = _files(request)
    queries: dict[str, list[Query]] = {}
    corpus: dict[str, Sequence[Candidate]] = {}
    qrels: dict[str, Mapping[str, float]] = {}
    irrelevant = 0
    for language, entry in files.items():
        corpus[language] = list(_passages(language, entry.passages, request))
        topics = read_topics(entry.topics, request.name, request.skipped)
        judged = Judgements(
            {f"{language}:{identity}" for identity in topics},
            {candidate.id for candidate in corpus[language]} or None,
            prefix=f"{language}:",
        )
        read_qrels(entry.qrels, request.name, request.skipped, judged)
        irrelevant += sum(gain <= 0 for gains in judged.gains.values() for gain in gains.values())
        relevant = judged.relevant()
        queries[language] = [
            Query(f"{language}:{identity}", text, f"{language}:{identity}", cluster)
            for identity, text in topics.items()
            for cluster in [
                _article(relevant.get(f"{language}:{identity}", {}), language, identity)
            ]
        ]
        qrels |= relevant
    without = [language for language, items in corpus.items() if not items]
    return Benchmark(
        name=request.name,
        queries=queries,
        corpus=corpus,
        qrels=qrels,
        judged_in_all_languages=False,
        dropped=request.dropped | ({IRRELEVANT: irrelevant} if irrelevant else {}),
        refusal=f"{request.folder} has topics and judgements of {', '.join(without)} but not the "
        f"passages; {help_with(request.name)}"
        if without
        else "",
    )


def read_topics(path: Path, name: str, skipped: Skipped = None) -> dict[str, str]:
    """Read query texts by id, in file order."""
    ids: set[str] = set()

    def topic(row: Mapping[str, str]) -> tuple[str, str]:
        text = text_of(row, "query").strip()
        return refuse_repeat(ids, identity_of(row, "id")), text

    return dict(table(path, name, "id query", topic, skipped))


def read_qrels(
    path: Path, name: str, skipped: Skipped = None, judged: Judgements | None = None
) -> dict[str, dict[str, float]]:
    """Read gains by query id and passage id; passages judged as not relevant have gain 0.

    Args:
        path: A file with TREC's four columns.
        name: Name of the source, for messages.
        skipped: Counts malformed rows, which are left out; None refuses them.
        judged: Collects the judgements and says which ids are valid; by default any.
    """
    judged = judged or Judgements(None, None)

    def judgement(row: Mapping[str, str]) -> None:
        judged.read(row, gain_of(row, "score"))

    for _ in table(path, name, "query-id Q0 corpus-id score", judgement, skipped):
        pass
    return judged.gains


def training_files(request: Request) -> SourceFiles:
    """Find the training rows of each language."""
    files = _training_files(request)
    return SourceFiles(
        {f"{language}.jsonl": path for language, path in files.items()}, tuple(files)
    )


def train_on_rows(request: Request) -> TrainingSet:
    """Load Mr. TyDi's training rows: each query with its positive passages, in its own language.

    A query is trained with the first of them; the others are never its negatives.
    """
    return training_of(_rows(request), request.name)


def _rows(request: Request) -> Iterator[Pair]:
    for language, path in _training_files(request).items():
        ids: set[str] = set()

        def pairs(
            row: Mapping[str, Any], language: str = language, ids: set[str] = ids
        ) -> list[Pair]:
            key = "positive_passages"
            positives = need(row, key, list)
            if not positives or not all(isinstance(passage, dict) for passage in positives):
                raise BadRowError(f"{key!r} must be a list of passages, at least one", key)
            query = text_of(row, "query")
            identity = f"{language}:{identity_of(row, 'query_id')}"
            row_pairs = []
            for passage in positives:
                article = f"{language}:{identity_of(passage, 'docid').partition('#')[0]}"
                text = _passage_text(passage)
                row_pairs.append(Pair(identity, language, query, language, text, article))
            refuse_repeat(ids, identity, "query_id")
            return row_pairs

        for row_pairs in request.records(path, pairs):
            yield from row_pairs


def _training_files(request: Request) -> dict[str, Path]:
    files = one_each(request.find(MR_TYDI_TRAIN), request.name)
    what = "mrtydi-v1.1-<language>/train.jsonl"
    return request.choose(files, what)


def _files(request: Request) -> dict[str, _Files]:
    collection = COLLECTIONS[request.name]
    topics = _by_language(request, collection.topics)
    qrels = _by_language(request, collection.qrels)
    passages = shards_each(
        (match for pattern in collection.passages for match in request.find(pattern)),
        request.name,
    )
    for paths in passages.values():
        refuse_missing_shard(paths, request.name)
    what = f"topics of part {request.part}"
    chosen = request.choose(topics, what)
    what = f"judgements (qrels) of part {request.part}"
    judgements = request.choose(qrels, what, tuple(chosen))
    return {
        language: _Files(path, judgements[language], tuple(passages.get(language, ())))
        for language, path in chosen.items()
    }


def _by_language(request: Request, patterns: Sequence[str]) -> dict[str, Path]:
    matches = (
        (path, groups)
        for pattern in patterns
        for path, groups in request.find(pattern)
        if groups["part"] == request.part
    )
    return one_each(matches, request.name)


def _article(gains: Mapping[str, float], language: str, identity: str) -> str:
    articles = {passage.partition("#")[0] for passage in gains}
    return articles.pop() if len(articles) == 1 else f"{language}:query {identity}"


def _passages(language: str, paths: Sequence[Path], request: Request) -> Iterator[Candidate]:
    ids: set[str] = set()

    def candidate(row: Mapping[str, Any]) -> Candidate:
        key = "id" if row.get("docid") is None and row.get("id") is not None else "docid"
        text = _passage_text(row)
        return Candidate(f"{language}:{refuse_repeat(ids, identity_of(row, key), key)}", text)

    for path in paths:
        yield from request.records(path, candidate)


def _passage_text(row: Mapping[str, Any]) -> str:
    if row.get("contents") is not None:
        return " ".join(text_of(row, "contents").split("\n\n", 1)).strip()
    return titled(row)


LOADER = Loader(topic_or_row_files, load_topics, train_on_rows)
