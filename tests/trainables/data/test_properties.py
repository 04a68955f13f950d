"""Whatever is written in a format comes back equal; whatever is broken is named, or left out."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.data.samples import write_lines
from trainables.data.benchmark import Benchmark, TrainingSet
from trainables.data.catalog import load_benchmark, load_training, source
from trainables.data.formats.captions import read_captions
from trainables.data.source import Request
from trainables.errors import DataError

Row = dict[str, Any]
few = settings(max_examples=50, deadline=None, derandomize=True, database=None)

# half characters cannot be written in UTF-8
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
odd = st.sampled_from(
    ["\ufeffa", "a\u2028b\u0085c", ' "a\\" ', "a\r\nb\tc", "\0a", "e\u0301", "🌍"]
)
text = texts | odd
title = st.none() | st.just("") | text
# NUL is no part of an id, and at the start of a file U+FEFF is a mark
name = texts.filter(lambda loaded: "\0" not in loaded and "\ufeff" not in loaded)
cell = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="\ufeff"),
    min_size=1,
)
line_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n\ufeff"),
                    min_size=1).filter(str.strip)  # fmt: skip
languages = st.sampled_from(["de", "sw", "zh-Hant"])


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


@st.composite
def encoded(draw: st.DrawFn, rows: Sequence[Row]) -> bytes:
    """Rows as JSON lines, in any of the ways to write them."""
    ascii_only, end = draw(st.booleans()), draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    lines = [json.dumps(row, ensure_ascii=ascii_only) + end for row in rows]
    mark = "\ufeff" * draw(st.booleans())
    return (mark + "".join(lines)).encode()


@st.composite
def judged(draw: st.DrawFn) -> tuple[list[Row], list[Row], list[Row]]:
    """Queries, candidates and judgements, by the names of the project's own format."""
    ids = st.lists(name | st.integers(), min_size=1, max_size=5, unique_by=str)
    queries = [
        {
            "id": i,
            "language": draw(languages),
            "text": draw(text),
            "question": draw(st.none() | name),
        }
        for i in draw(ids)
    ]
    corpus = [
        {"id": i, "language": draw(languages), "text": draw(text), "title": draw(title)}
        for i in draw(ids)
    ]
    pairs = st.tuples(st.sampled_from(queries), st.sampled_from(corpus))
    qrels = [
        {"query": query["id"], "candidate": loaded["id"], "gain": draw(st.integers(-2, 3))}
        for query, loaded in draw(
            st.lists(pairs, max_size=6, unique_by=lambda p: (str(p[0]["id"]), str(p[1]["id"])))
        )
    ]
    return queries, corpus, qrels


def passage(row: Row) -> str:
    return f"{row['title'] or ''} {row['text']}".strip()


def relevant(qrels: Sequence[Row], prefix: Callable[[Row], str] = lambda row: "") -> Any:
    loaded: dict[str, dict[str, float]] = {}
    for row in qrels:
        if row["gain"] > 0:
            gains = loaded.setdefault(f"{prefix(row)}{row['query']}", {})
            gains[f"{prefix(row)}{row['candidate']}"] = row["gain"]
    return loaded


WRONG: tuple[Any, ...] = (None, 1.5, True, [], {}, "", " \u2003", "a\ud800")


@st.composite
def broken(draw: st.DrawFn, row: Row, required: Sequence[str]) -> bytes:
    """A row that is not as its format says."""
    key = draw(st.sampled_from(required))
    whole = json.dumps(row).encode()
    kinds: list[Callable[[], bytes]] = [
        lambda: json.dumps({k: v for k, v in row.items() if k != key}).encode(),
        lambda: json.dumps(row | {key: draw(st.sampled_from(WRONG))}).encode(),
        lambda: whole[: draw(st.integers(1, len(whole) - 1))],
        lambda: whole.replace(b'": "', b'": "\xff', 1),
        lambda: whole[:-1] + b", " + whole[1:],
        lambda: draw(st.sampled_from([b"[]", b"1", b"null", b'"a"', b"NaN", b"\0\0", b"[" * 9999])),
    ]
    return draw(st.sampled_from(kinds))()


def insert(path: Path, line: bytes, at: int) -> int:
    """Put a line among those of a file; its number."""
    lines = path.read_bytes().splitlines(keepends=True)
    number = at % (len(lines) + 1)
    path.write_bytes(b"".join([*lines[:number], line + b"\n", *lines[number:]]))
    return number + 1


def named_or_left_out(
    path: Path, row: int, load: Callable[..., Benchmark | TrainingSet], before: Any
) -> None:
    """A broken row of a file is refused by its number, or skipped and counted."""
    with pytest.raises(DataError) as caught:
        load()
    assert (caught.value.file, caught.value.row) == (str(path), row)
    loaded = load(skip_malformed=True)
    if isinstance(loaded, Benchmark):
        assert loaded.dropped == {f"malformed rows of {path.name}": 1}
        loaded = replace(loaded, dropped={})
    assert loaded == before


# ---- one's own data


@few
@given(judged(), st.data())
def test_jsonl(rows: tuple[list[Row], list[Row], list[Row]], data: st.DataObject) -> None:
    queries, corpus, qrels = rows
    with folder() as place:
        for file, written in zip(("queries", "corpus", "qrels"), rows, strict=True):
            (place / f"{file}.jsonl").write_bytes(data.draw(encoded(written)))
        loaded = load_benchmark("jsonl", place)
        as_read = {
            q.id: (la, q.text, q.question) for la, all_ in loaded.queries.items() for q in all_
        }
        assert as_read == {
            str(q["id"]): (q["language"], q["text"], q["question"] or str(q["id"])) for q in queries
        }
        held = {c.id: (la, c.text) for la, all_ in loaded.corpus.items() for c in all_}
        assert held == {str(c["id"]): (c["language"], passage(c)) for c in corpus}
        assert loaded.qrels == relevant(qrels)


@few
@given(st.data())
def test_broken_jsonl(data: st.DataObject) -> None:
    rows: dict[str, Row] = {
        "queries": {"id": "q", "language": "sw", "text": "Nini?"},
        "corpus": {"id": "c", "language": "sw", "text": "Hiki."},
        "qrels": {"query": "q", "candidate": "c"},
    }
    with folder() as place:
        for file, row in rows.items():
            write_lines(place / f"{file}.jsonl", [row])
        load = partial(load_benchmark, "jsonl", place)
        before = load()
        file = data.draw(st.sampled_from([*rows]))
        fresh = rows[file] | ({"id": "new"} if file != "qrels" else {"gain": 1})
        line = data.draw(broken(fresh, [*rows[file]]))
        path = place / f"{file}.jsonl"
        named_or_left_out(path, insert(path, line, data.draw(st.integers(0, 1))), load, before)


by_language = st.dictionaries(languages, text, min_size=1)


@few
@given(
    st.lists(
        st.fixed_dictionaries(
            {"queries": by_language, "passages": by_language, "gold": st.none() | name},
            optional={"article": name, "negatives": st.dictionaries(
                languages, st.lists(st.fixed_dictionaries({"id": name, "text": text})))},
        ),
        min_size=1,
        max_size=4,
    ),
    st.data(),
)  # fmt: skip
def test_training_rows(rows: list[Row], data: st.DataObject) -> None:
    written = [{"id": number, **row} for number, row in enumerate(rows)]
    with folder() as place:
        (place / "train.jsonl").write_bytes(data.draw(encoded(written)))
        shared = {la for row in rows for key in ("queries", "passages") for la in row[key]}
        loaded = load_training("jsonl", place, sorted(shared), aligned=False)
        for number, row in enumerate(rows):
            assert loaded.golds[number] == (row["gold"] or str(number))
            assert loaded.clusters[number] == row.get("article", str(number))
            for language in shared:
                assert loaded.queries[language][number] == row["queries"].get(language)
                assert loaded.passages[language][number] == row["passages"].get(language)
        if any(lists for row in rows for lists in row.get("negatives", {}).values()):
            hard = load_training("jsonl", place, sorted(shared), aligned=False, negatives=True)
            for number, row in enumerate(rows):
                for language in shared:
                    given_ = row.get("negatives", {}).get(language, [])
                    pairs = [(c.id, c.text) for c in hard.negatives[language][number]]
                    assert pairs == [(c["id"], c["text"].strip()) for c in given_]


@few
@given(st.data())
def test_broken_training_rows(data: st.DataObject) -> None:
    row = {"id": "a", "queries": {"sw": "Nini?"}, "passages": {"sw": "Hiki."}}
    with folder() as place:
        path = place / "train.jsonl"
        write_lines(path, [row])
        load = partial(load_training, "jsonl", place)
        before = load()
        line = data.draw(broken(row | {"id": "b"}, [*row]))
        named_or_left_out(path, insert(path, line, data.draw(st.integers(0, 1))), load, before)


captioned = st.dictionaries(languages, text | st.lists(text, min_size=1, max_size=3), min_size=1)


@few
@given(st.lists(captioned, min_size=1, max_size=4), st.data())
def test_captions(rows: list[Row], data: st.DataObject) -> None:
    written: list[Row] = [
        {
            "id": number,
            "image": f"{number}.png",
            "captions": row,
            "family": data.draw(st.none() | name),
        }
        for number, row in enumerate(rows)
    ]
    with folder() as place:
        (place / "captions.jsonl").write_bytes(data.draw(encoded(written)))
        entries = read_captions(Request(source("captions"), place)).entries
        assert [(entry.id, entry.cluster, entry.captions) for entry in entries] == [
            (
                str(row["id"]),
                row["family"] or str(row["id"]),
                {
                    la: [one.strip() for one in ([held] if isinstance(held, str) else held)]
                    for la, held in row["captions"].items()
                },
            )
            for row in written
        ]


@few
@given(st.data())
def test_broken_captions(data: st.DataObject) -> None:
    row = {"id": "a", "image": "a.png", "captions": {"sw": "Paka."}}
    with folder() as place:
        path = place / "captions.jsonl"
        write_lines(path, [row])
        before = read_captions(Request(source("captions"), place)).entries
        line = data.draw(broken(row | {"id": "b", "image": "b.png"}, [*row]))
        number = insert(path, line, data.draw(st.integers(0, 1)))
        with pytest.raises(DataError) as caught:
            read_captions(Request(source("captions"), place))
        assert (caught.value.file, caught.value.row) == (str(path), number)
        skipped = Counter[str]()
        assert read_captions(Request(source("captions"), place, skipped=skipped)).entries == before
        assert skipped == {"malformed rows of captions.jsonl": 1}


# ---- published files of JSON lines


@few
@given(st.dictionaries(name, st.tuples(text, st.lists(text, min_size=1, max_size=3)),
                       min_size=1, max_size=4), st.data())  # fmt: skip
def test_belebele(passages: dict[str, tuple[str, list[str]]], data: st.DataObject) -> None:
    rows = [
        {"link": link, "question_number": number, "flores_passage": held, "question": question}
        for link, (held, several) in passages.items()
        for number, question in enumerate(several)
    ]
    with folder() as place:
        (place / "swh_Latn.jsonl").write_bytes(data.draw(encoded(rows)))
        loaded = load_benchmark("belebele", place)
        assert [(query.id, query.text) for query in loaded.queries["sw"]] == [
            (f"sw:{row['link']}#{row['question_number']}", row["question"]) for row in rows
        ]
        assert {candidate.id: candidate.text for candidate in loaded.corpus["sw"]} == {
            f"sw:{link}": held for link, (held, _) in passages.items()
        }


@few
@given(st.lists(st.tuples(text, text, st.none() | text), min_size=1, max_size=4), st.data())
def test_afriqa(rows: list[tuple[str, str, str | None]], data: st.DataObject) -> None:
    written = [
        {"id": number, "question_lang": question, "question_translated": english, "context": held}
        for number, (question, english, held) in enumerate(rows)
    ]
    there = [row for row in written if row["context"] is not None]
    with folder() as place:
        path = place / "gold_span_passages.afriqa.hau.en.dev.json"
        path.write_bytes(data.draw(encoded([*written, written[0] | {"id": "z", "context": "c"}])))
        loaded = load_benchmark("afriqa", place)
        for language, key in (("ha", "question_lang"), ("en", "question_translated")):
            asked_in = [query.text for query in loaded.queries[language]][:-1]
            assert asked_in == [row[key] for row in there]
        assert {candidate.text for candidate in loaded.corpus["en"]} == {
            "c", *(row["context"] for row in there)
        }  # fmt: skip
        assert sum(loaded.dropped.values()) == len(written) - len(there)


@few
@given(st.lists(st.dictionaries(languages, st.tuples(text, st.lists(text, max_size=2)), min_size=1),
                min_size=1, max_size=4), st.data())  # fmt: skip
def test_mkqa(rows: list[dict[str, tuple[str, list[str]]]], data: st.DataObject) -> None:
    written = [
        {
            "example_id": number,
            "queries": {la: question for la, (question, _) in row.items()},
            "answers": {
                la: [{"text": t, "aliases": None} for t in a] for la, (_, a) in row.items()
            },
        }
        for number, row in enumerate(rows)
    ]
    with folder() as place:
        (place / "mkqa.jsonl").write_bytes(data.draw(encoded(written)))
        loaded = load_benchmark("mkqa", place)
        expected = {
            (la, number): question
            for number, row in enumerate(rows)
            for la, (question, answers) in row.items()
            if answers
        }
        assert {
            (la, int(query.question)): query.text
            for la, queries in loaded.queries.items()
            for query in queries
        } == expected
        for la, corpus in loaded.corpus.items():
            answers = (answer.strip() for row in rows if la in row for answer in row[la][1])
            assert [candidate.text for candidate in corpus] == [*dict.fromkeys(answers)]


PUBLISHED: dict[str, tuple[str, Row, Row]] = {
    "belebele": (
        "swh_Latn.jsonl",
        {"link": "a", "question_number": 1, "flores_passage": "Hiki.", "question": "Nini?"},
        {"link": "b"},
    ),
    "afriqa": (
        "gold_span_passages.afriqa.hau.en.dev.json",
        {"id": 1, "question_lang": "Me?", "question_translated": "What?"},
        {"id": 2, "context": "This."},
    ),
    "mkqa": (
        "mkqa.jsonl",
        {"example_id": 1, "queries": {"sw": "Nini?"}, "answers": {"sw": [{"text": "Hiki"}]}},
        {"example_id": 2},
    ),
}
"""Source to the name of its file, a row, and what makes another row of it."""


@few
@given(st.sampled_from([*PUBLISHED]), st.data())
def test_broken_rows_of_published_files(source: str, data: st.DataObject) -> None:
    file, row, other = PUBLISHED[source]
    with folder() as place:
        path = place / file
        write_lines(path, [{"context": "Hiki."} | row])
        load = partial(load_benchmark, source, place)
        before = load()
        line = data.draw(broken({"context": "Hiki."} | row | other, [*row]))
        named_or_left_out(path, insert(path, line, data.draw(st.integers(0, 1))), load, before)


# ---- mteb, TREC, mMARCO


def write_mteb(
    place: Path, rows: tuple[list[Row], list[Row], list[Row]], hub: bool, data: st.DataObject
) -> None:
    queries, corpus, qrels = rows
    tables: Mapping[str, list[Row]] = {
        "queries": [{"_id": str(row["id"]), "text": row["text"]} for row in queries],
        "corpus": [
            {"_id": str(row["id"]), "title": row["title"], "text": row["text"]} for row in corpus
        ],
        "qrels": [
            {"query-id": str(r["query"]), "corpus-id": str(r["candidate"]), "score": r["gain"]}
            for r in qrels
        ],
    }
    for role, written in tables.items():
        inside = f"sw-{role}" if hub else "sw"
        path = place / inside / ("qrels" * (role == "qrels" and not hub))
        path.mkdir(parents=True, exist_ok=True)
        if hub:
            keys = {"query-id": pyarrow.string(), "corpus-id": pyarrow.string(),
                    "score": pyarrow.int64()}  # fmt: skip
            schema = pyarrow.schema(keys) if role == "qrels" else None
            table = pyarrow.Table.from_pylist(written, schema=schema)
            pyarrow.parquet.write_table(table, path / "test-00000-of-00001.parquet")
        else:
            file = "test.jsonl" if role == "qrels" else f"{role}.jsonl"
            (path / file).write_bytes(data.draw(encoded(written)))


@few
@given(judged(), st.booleans(), st.data())
def test_mteb(rows: tuple[list[Row], list[Row], list[Row]], hub: bool, data: st.DataObject) -> None:
    queries, corpus, qrels = rows
    with folder() as place:
        write_mteb(place, rows, hub, data)
        loaded = load_benchmark("mteb", place)
        assert [(q.id, q.text) for q in loaded.queries["sw"]] == [
            (f"sw:{row['id']}", row["text"]) for row in queries
        ]
        assert [(c.id, c.text) for c in loaded.corpus["sw"]] == [
            (f"sw:{row['id']}", passage(row)) for row in corpus
        ]
        assert loaded.qrels == relevant(qrels, lambda _: "sw:")


@few
@given(st.data())
def test_broken_mteb(data: st.DataObject) -> None:
    rows: dict[str, Row] = {
        "queries.jsonl": {"_id": "q", "text": "Nini?"},
        "corpus.jsonl": {"_id": "c", "text": "Hiki."},
        "qrels/test.jsonl": {"query-id": "q", "corpus-id": "c", "score": 1},
    }
    with folder() as place:
        for file, row in rows.items():
            write_lines(place / "sw" / file, [row])
        load = partial(load_benchmark, "mteb", place)
        before = load()
        file = data.draw(st.sampled_from([*rows]))
        line = data.draw(broken(rows[file] | {"_id": "new"}, [*rows[file]]))
        path = place / "sw" / file
        named_or_left_out(path, insert(path, line, data.draw(st.integers(0, 1))), load, before)


topics = st.lists(st.tuples(cell, line_text), min_size=1, max_size=4, unique_by=lambda row: row[0])


def tabbed(rows: Sequence[Sequence[object]], end: str, mark: bool) -> bytes:
    lines = ["\t".join(map(str, row)) + end for row in rows]
    return ("\ufeff" * mark + "".join(lines)).encode()


@few
@given(
    topics,
    st.lists(st.tuples(cell, text, title), min_size=1, max_size=4, unique_by=lambda row: row[0]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.data(),
)
def test_topics(
    topic_rows: list[tuple[str, str]],
    held: list[tuple[str, str, str | None]],
    end: str,
    mark: bool,
    data: st.DataObject,
) -> None:
    pairs = st.tuples(
        st.sampled_from([i for i, _ in topic_rows]), st.sampled_from([i for i, *_ in held])
    )
    qrels = [
        (query, "Q0", candidate, data.draw(st.integers(-1, 3)))
        for query, candidate in data.draw(st.lists(pairs, unique=True, max_size=5))
    ]
    with folder() as place:
        start = place / "topics.miracl-v1.0-sw-dev.tsv"
        start.write_bytes(tabbed(topic_rows, end, mark))
        (place / "qrels.miracl-v1.0-sw-dev.tsv").write_bytes(tabbed(qrels, end, mark))
        inside = place / "miracl-corpus-v1.0-sw"
        inside.mkdir()
        rows = [{"docid": i, "text": t, "title": about} for i, t, about in held]
        (inside / "docs-0.jsonl").write_bytes(data.draw(encoded(rows)))
        loaded = load_benchmark("miracl", place)
        assert [(q.id, q.text) for q in loaded.queries["sw"]] == [
            (f"sw:{i}", t.strip()) for i, t in topic_rows
        ]
        assert [(c.id, c.text) for c in loaded.corpus["sw"]] == [
            (f"sw:{row['docid']}", passage(row)) for row in rows
        ]
        judgements = [{"query": q, "candidate": c, "gain": gain} for q, _, c, gain in qrels]
        assert loaded.qrels == relevant(judgements, lambda _: "sw:")


@few
@given(
    st.sampled_from(
        [
            ("topics", b"2"),
            ("topics", b"2\t \xe2\x80\x83"),
            ("topics", b"\tNini?"),
            ("topics", b"2\ta\tb"),
            ("topics", b"2\t\xff"),
            ("topics", b"1\ttena"),
            ("qrels", b"1\tQ0\td\tx"),
            ("qrels", b"1\tQ0\td"),
            ("qrels", b"1\tQ0\td\tNaN"),
            ("qrels", b"1\tQ0\tx\t1"),
            ("qrels", b"2\tQ0\td\t1"),
            ("qrels", b"1\tQ0\tc\t1"),
        ]
    ),
    st.integers(0, 1),
)
def test_broken_topics(change: tuple[str, bytes], at: int) -> None:
    with folder() as place:
        files = {
            "topics": place / "topics.miracl-v1.0-sw-dev.tsv",
            "qrels": place / "qrels.miracl-v1.0-sw-dev.tsv",
        }
        files["topics"].write_bytes(b"1\tNini?\n")
        files["qrels"].write_bytes(b"1\tQ0\tc\t1\n")
        rows = [{"docid": i, "title": "", "text": i} for i in "cd"]
        write_lines(place / "miracl-corpus-v1.0-sw" / "docs-0.jsonl", rows)
        load = partial(load_benchmark, "miracl", place)
        before = load()
        file, line = change
        # of two that contradict one another the second is the broken one
        number = insert(files[file], line, 1 if line in (b"1\ttena", b"1\tQ0\tc\t1") else at)
        named_or_left_out(files[file], number, load, before)


@few
@given(
    st.lists(line_text, min_size=2, max_size=5),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_mmarco(lines: list[str], end: str, mark: bool) -> None:
    numbered = list(enumerate(lines, 1))
    last = len(lines)
    with folder() as place:
        triples = [(number, number, number % last + 1) for number, _ in numbered]
        path = place / "triples.train.ids.small.tsv"
        path.write_bytes(tabbed(triples, end, mark))
        for file in ("german_collection.tsv", "german_queries.train.tsv"):
            (place / file).write_bytes(tabbed(numbered, end, mark))
        loaded = load_training("mmarco", place, negatives=True)
        stripped = [line.strip() for line in lines]
        assert list(loaded.passages["de"]) == list(loaded.queries["de"]) == stripped
        hard = [[(c.id, c.text) for c in some] for some in loaded.negatives["de"]]
        assert hard == [[(str(n % last + 1), stripped[n % last])] for n, _ in numbered]
        row = insert(path, b"1\tx\t2", 1)
        with pytest.raises(DataError) as caught:
            load_training("mmarco", place)
        assert (caught.value.file, caught.value.row) == (str(path), row)
        assert load_training("mmarco", place, skip_malformed=True, negatives=True) == loaded
