"""mMARCO: MS MARCO's passages and training queries in 14 languages, with mined hard negatives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainables.data.benchmark import Candidate, TrainingSet
from trainables.data.formats.reading import BadRowError, one_each, refuse_repeat, table, text_of
from trainables.data.source import Loader, Request, SourceFiles
from trainables.errors import UserError

TRIPLES = r"triples\.train\.ids\.small\.tsv(?:\.gz)?"
PASSAGES = r"(?P<language>[a-z]+)_collection\.tsv(?:\.gz)?"
QUERIES = r"(?P<language>[a-z]+)_queries\.train\.tsv(?:\.gz)?"

NEGATIVES = 8
"""Hard negatives read for each query."""

Triples = dict[str, tuple[str, list[str], list[str]]]
"""Query id to its gold passage, hard negatives of that, and further passages that answer it."""


def mmarco_files(request: Request) -> SourceFiles:
    """Find the triples, and passages and queries of each language."""
    triples, passages, queries = _files(request)
    files = {"triples.tsv": triples}
    files |= {f"{language}.passages": path for language, path in passages.items()}
    files |= {f"{language}.queries": path for language, path in queries.items()}
    return SourceFiles(files, tuple(passages))


def train_on_mmarco(request: Request) -> TrainingSet:
    """Load one row per query, with the first passage in its triples; ids are MS MARCO's.

    The part `first-N` keeps the first N queries of the triples, in their order; all are 400
    thousand, and their passages fill some gigabytes per language. Hard negatives are the first
    `NEGATIVES` that the triples name for the query.

    Raises:
        UserError: A file is missing or malformed, or lacks a text that a triple names.
    """
    path, passages, queries = _files(request)
    triples = read_triples(path, request, _limit(request))
    golds = {gold for gold, _, _ in triples.values()}
    limit = NEGATIVES if request.negatives else 0
    hard = {query: negatives[:limit] for query, (_, negatives, _) in triples.items()}
    needed = golds.union(*hard.values())
    query_texts = {la: _texts(path, set(triples), request) for la, path in queries.items()}
    passage_texts = {la: _texts(path, needed, request) for la, path in passages.items()}
    for role, tables, ids in (
        ("query", query_texts, set(triples)),
        ("passage", passage_texts, needed),
    ):
        for language, known in tables.items():
            if (missing := ids - known.keys()) and request.skipped is None:
                raise UserError(
                    f"{request.name}: {role} {min(missing)} of the triples is not in the "
                    f"{language} file ({len(missing)} missing); get it again from its source"
                )
    return TrainingSet(
        name=request.name,
        questions=list(triples),
        golds=[gold for gold, _, _ in triples.values()],
        clusters=list(triples),
        queries={la: [table.get(query) for query in triples] for la, table in query_texts.items()},
        passages={
            la: [table.get(gold) for gold, _, _ in triples.values()]
            for la, table in passage_texts.items()
        },
        negatives={
            la: [[Candidate(id_, table[id_]) for id_ in hard[q] if id_ in table] for q in triples]
            for la, table in passage_texts.items()
            if request.negatives
        },
        other_golds=[others for _, _, others in triples.values()],
    )


def read_triples(path: Path, request: Request, limit: int | None = None) -> Triples:
    """Read queries in order of first occurrence, each with one passage and its hard negatives.

    A query's triples may name further passages; hard negatives are those of the first.
    """
    triples: Triples = {}

    def ids(row: Mapping[str, str]) -> list[str]:
        for key, value in row.items():
            if not (value.isascii() and value.strip().isdigit()):
                raise BadRowError(f"{key!r} is {value!r}, not an id of MS MARCO", key)
        return list(row.values())

    for query, gold, negative in table(
        path, request.name, "query positive negative", ids, request.skipped
    ):
        if query not in triples and limit is not None and len(triples) == limit:
            continue
        first, negatives, others = triples.setdefault(query, (gold, [], []))
        if first != gold and gold not in others:
            others.append(gold)
        if first == gold and len(negatives) < NEGATIVES:
            negatives.append(negative)
    return triples


def _texts(path: Path, needed: set[str], request: Request) -> dict[str, str]:
    """Read the needed texts by id, skipping the rest of a collection."""
    ids: set[str] = set()

    def text(row: Mapping[str, str]) -> tuple[str, str] | None:
        if row["id"] not in needed:
            return None
        return refuse_repeat(ids, row["id"]), text_of(row, "text").strip()

    rows = table(path, request.name, "id text", text, request.skipped)
    return dict(row for row in rows if row is not None)


def _limit(request: Request) -> int | None:
    if request.part is None or request.part == "train":
        return None
    count = request.part.removeprefix("first-")
    if count == request.part or not count.isdigit() or not int(count):
        raise UserError(
            f"{request.name}: no part {request.part!r}; there is train, and first-N for the first "
            "N queries, such as first-100000"
        )
    return int(count)


def _files(request: Request) -> tuple[Path, dict[str, Path], dict[str, Path]]:
    triples = request.find_one(TRIPLES, "triples.train.ids.small.tsv")
    tables = []
    languages = request.languages
    for pattern, what in ((PASSAGES, "collection"), (QUERIES, "training queries")):
        paths = one_each(request.find(pattern), request.name)
        tables.append(request.choose(paths, what, languages))
        languages = tuple(tables[0])
    return triples, tables[0], tables[1]


LOADER = Loader(mmarco_files, training=train_on_mmarco)
