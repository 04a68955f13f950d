"""MTEB and BEIR folders: corpus, queries and qrels, as JSON lines or Parquet.

Layouts: BEIR's `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`, in the folder itself or in
one folder per language, and the hub's `<language>-corpus/<split>-….parquet` and similar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.data.benchmark import Benchmark, Candidate, Query
from trainables.data.formats.judgements import Judgements
from trainables.data.formats.reading import (
    gain_of,
    help_with,
    identity_of,
    optional_text,
    refuse_missing_shard,
    refuse_repeat,
    table,
    text_of,
    titled,
)
from trainables.data.languages import bcp47
from trainables.data.source import Loader, Request, SourceFiles
from trainables.errors import UserError

ROLES = ("corpus", "queries", "qrels")
BESIDE = ("instruction", "top_ranked")
"""Files of other kinds of tasks, which mteb also reads and without which scores would be wrong."""

BY_CHANCE = 3
"""Number of queries with a candidate's id and text from which on it is not chance."""

_FOLDER = r"(?P<base>(?:[^/]+/)*?)(?:(?P<label>[^/]+)/)?"
_SHARD = r"-(?P<shard>\d+)-of-\d+(?:-[0-9a-f]+)?|/(?P<piece>\d+)"
_SPLIT = rf"(?P<split>\w+(?:\.\w+)*?)(?:{_SHARD})?"
_ROLE = rf"(?P<role>{'|'.join((*ROLES, *BESIDE))})"
PATTERNS = (
    rf"{_FOLDER}(?P<role>corpus|queries)\.jsonl(?:\.gz)?",
    rf"{_FOLDER}(?P<role>qrels)/(?P<split>\w+)\.(?:tsv|jsonl)(?:\.gz)?",
    rf"{_FOLDER}{_ROLE}/{_SPLIT}\.parquet",
    rf"(?P<base>(?:[^/]+/)*?)(?P<subset>[^/]+)-{_ROLE}/{_SPLIT}\.parquet",
    rf"(?P<base>(?:[^/]+/)*?)(?:default|data)/{_SPLIT}\.parquet",
)
"""Paths of files; the last is the hub's place for the qrels of a set without subsets."""

_NO_LANGUAGE = frozenset({*ROLES, *BESIDE, "train", "dev", "test", "validation", "data", "default"})
"""Folder names that are not languages, though `dev` is also a code."""

_PAIR = re.compile(r"([a-z]{2,3}(?:_[A-Z][a-z]{3})?)-([a-z]{2,3}(?:_[A-Z][a-z]{3})?)")
"""A subset of two languages, such as `ara-deu`; `zh-CN` and `eng-Latn` are single ones."""


@dataclass
class _Split:
    """Files of one role and split, all of one kind in one folder.

    Attributes:
        place: Folder of the language's files, and the other properties they must share.
        paths: In natural order.
        shards: Their numbers.
    """

    place: tuple[str, ...]
    paths: list[Path] = field(default_factory=list)
    shards: set[int] = field(default_factory=set)


Files = dict[str, dict[str, list[Path]]]
"""Language to role to its files."""


def mteb_files(request: Request) -> SourceFiles:
    """Find corpus, queries and judgements of each language."""
    files = _files(request)
    return SourceFiles(
        {
            f"{language}.{role}-{number}": path
            for language, roles in files.items()
            for role, paths in roles.items()
            for number, path in enumerate(paths)
        },
        tuple(files),
    )


def load_mteb(request: Request) -> Benchmark:
    """Load queries with the corpus of their language, in which alone they are judged.

    As in MTEB, a candidate's text is title and text joined by a blank, and a query's text is kept
    as it is. Queries without a positive judgement are kept; evaluation counts them.

    Returns:
        Query and candidate ids are `{language}:{id}`; each query is its own cluster.

    Raises:
        UserError: A file is missing or malformed, or mteb scores the task by another rule.
    """
    queries: dict[str, Sequence[Query]] = {}
    corpus: dict[str, Sequence[Candidate]] = {}
    qrels: dict[str, dict[str, float]] = {}
    for language, files in _files(request).items():
        corpus[language] = list(_candidates(language, files["corpus"], request))
        queries[language] = list(_queries(language, files["queries"], request))
        known = {query.id for query in queries[language]}, {c.id for c in corpus[language]}
        judged = Judgements(*known, prefix=f"{language}:")
        for path in files["qrels"]:
            _read_judgements(path, judged, request)
        _refuse_own_candidates(language, queries[language], corpus[language], judged, request)
        qrels |= judged.relevant()
    return Benchmark(
        name=request.name,
        queries=queries,
        corpus=corpus,
        qrels=qrels,
        judged_in_all_languages=False,
        dropped=request.dropped,
    )


def _refuse_own_candidates(
    language: str,
    queries: Sequence[Query],
    corpus: Sequence[Candidate],
    judged: Judgements,
    request: Request,
) -> None:
    """Refuse queries that are also candidates, as in ArguAna: mteb never ranks one for itself.

    Equal ids alone, such as numbers, are no evidence.
    """
    texts = {candidate.id: candidate.text for candidate in corpus}
    ids = [
        query.id
        for query in queries
        if query.id in texts
        and texts[query.id].endswith(query.text.strip())
        and query.id not in judged.gains.get(query.id, {})
    ]
    if len(ids) >= BY_CHANCE:
        raise UserError(
            f"{request.name}: {len(ids)} queries of language {language} are candidates too, such "
            f"as {ids[0]!r}, in {request.folder}. mteb leaves such a candidate out of the ranking "
            "for its query, which is not done here; written as jsonl (docs/data.md), it is ranked"
        )


def _candidates(language: str, paths: Sequence[Path], request: Request) -> Iterator[Candidate]:
    ids: set[str] = set()

    def candidate(row: Mapping[str, Any]) -> Candidate:
        text = titled(row)
        return Candidate(f"{language}:{_identity(row, ids)}", text)

    for path in paths:
        yield from request.records(path, candidate)


def _queries(language: str, paths: Sequence[Path], request: Request) -> Iterator[Query]:
    ids: set[str] = set()

    def query(row: Mapping[str, Any]) -> Query:
        text = text_of(row, "text")
        if row.get("instruction") is not None:
            text = f"{text} {optional_text(row, 'instruction')}"
        identity = f"{language}:{_identity(row, ids)}"
        return Query(identity, text, identity, identity)

    for path in paths:
        yield from request.records(path, query)


def _identity(row: Mapping[str, Any], ids: set[str]) -> str:
    key = "id" if row.get("_id") is None and row.get("id") is not None else "_id"
    return refuse_repeat(ids, identity_of(row, key), key)


def _read_judgements(path: Path, judged: Judgements, request: Request) -> None:
    def judgement(row: Mapping[str, Any]) -> None:
        judged.read(row, gain_of(row, "score"))

    columns = " ".join((*judged.keys, "score"))
    is_tsv = path.suffixes[:1] == [".tsv"]
    rows = (
        table(path, request.name, columns, judgement, request.skipped)
        if is_tsv
        else request.records(path, judgement)
    )
    for _ in rows:
        pass


def _files(request: Request) -> Files:
    """Return files by language and role, of the requested languages and part."""
    splits = _splits(request)
    known = sorted({language for language, _ in splits})
    files: Files = {}
    for language in sorted(request.languages or known) or ("<language>",):
        for role in BESIDE:
            if (language, role) in splits:
                raise UserError(
                    f"{request.name}: {request.folder} has {role} of {language}, so it is a task "
                    "of another kind (reranking, or with instructions), which is not scored here; "
                    "choose a retrieval task, or move these files away to score it as one"
                )
        chosen = {
            role: _split(
                splits.get((language, role), {}),
                language,
                role,
                sorted(
                    known_language for known_language, known_role in splits if known_role == role
                ),
                request,
            )
            for role in ROLES
        }
        if len({split.place[0] for split in chosen.values()}) > 1:
            paths = ", ".join(str(split.paths[0]) for split in chosen.values())
            raise UserError(
                f"{request.name}: the files of language {language} lie in several folders: "
                f"{paths}. Name the one that is meant with --data-dir"
            )
        files[language] = {role: split.paths for role, split in chosen.items()}
    return files


def _split(
    splits: Mapping[str, _Split], language: str, role: str, known: Sequence[str], request: Request
) -> _Split:
    """Return the requested part; like mteb, fall back to a role's only part, except for qrels."""
    part = str(request.part)
    if part not in splits and len(splits) == 1 and role != "qrels":
        [part] = splits
    if part not in splits:
        present = ("parts", [*splits]) if splits else ("languages", known)
        raise UserError(
            f"{request.name}: no {role} of language {language} and part {part} in "
            f"{request.folder} ({present[0]} there: {', '.join(present[1]) or 'none'}); "
            f"{help_with(request.name)}"
        )
    chosen = splits[part]
    refuse_missing_shard(chosen.paths, request.name)
    return chosen


def _splits(request: Request) -> dict[tuple[str, str], dict[str, _Split]]:
    """Group files by (language, role) and split; files without a split form one."""
    splits: dict[tuple[str, str], dict[str, _Split]] = {}
    unlabelled: set[str] = set()
    for number, pattern in enumerate(PATTERNS):
        for path, groups in request.find(pattern):
            name, base = groups.get("subset", groups.get("label")), groups["base"]
            language = _language(name, "subset" in groups, request) if name else None
            if language == "":
                continue
            if "label" in groups:
                base += f"{name}/"
            if language is None:
                if "role" not in groups and base not in unlabelled:
                    continue  # `data` is also a common name for other things
                unlabelled.add(base)
                language = _only_language(request)
            role, split = groups.get("role", "qrels"), groups.get("split", "all of it")
            place = (base, name or "", str(number), path.suffix)
            known = splits.setdefault((language, role), {}).setdefault(split, _Split(place))
            shard = int(groups.get("shard", groups.get("piece", "0")))
            if known.place != place or shard in known.shards:
                raise UserError(
                    f"{request.name}: {known.paths[0]} and {path} are both {role} of language "
                    f"{language}; leave one, or name the folder that is meant with --data-dir"
                )
            known.paths.append(path)
            known.shards.add(shard)
    return splits


def _language(name: str, is_subset: bool, request: Request) -> str | None:
    """Return the language that a folder or subset is named after.

    Returns:
        None if a folder's name is not a language, "" if the data were not requested.

    Raises:
        UserError: It is not a single language, and everything was requested.
    """
    pair = _PAIR.fullmatch(name)
    halves = [_code(half) for half in pair.groups()] if pair else [_code(name)]
    if None in halves and not is_subset:
        return None
    if None not in halves and len({*halves}) == 1:
        return halves[0]
    if request.languages is None:
        raise UserError(
            f"{request.name}: {name} in {request.folder} is not one language (of a pair, which is "
            "that of the queries differs between the tasks of mteb). Name the languages that are "
            "meant with --set eval_languages=..., or write the data as jsonl (docs/data.md)"
        )
    return ""


def _code(name: str) -> str | None:
    try:
        return None if name in _NO_LANGUAGE else bcp47(name)
    except UserError:
        return None


def _only_language(request: Request) -> str:
    """Return the requested language, for files that do not name theirs."""
    if request.languages is None or len(request.languages) != 1:
        raise UserError(
            f"{request.name}: the files in {request.folder} do not say their language; name it "
            "with --set eval_languages=sw, or put them in a folder named after it"
        )
    return request.languages[0]


LOADER = Loader(mteb_files, load_mteb)
