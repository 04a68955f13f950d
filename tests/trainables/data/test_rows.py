"""One rule for each thing that can be wrong with a row, whatever the format."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.trainables.data.samples import write_lines, write_text
from trainables.data.benchmark import Benchmark
from trainables.data.catalog import load_benchmark, load_training, reference
from trainables.data.formats import reading
from trainables.errors import DataError, UserError

QUERY = {"id": "q", "language": "sw", "text": "Nini?"}
CANDIDATE = {"id": "c", "language": "sw", "text": "Hiki."}
TRAINED = {"id": "1", "queries": {"sw": "Nini?"}, "passages": {"sw": "Hiki."}}
MARK = b"\xef\xbb\xbf"


def write_jsonl(folder: Path, **more: Sequence[dict[str, Any]]) -> Path:
    """A benchmark of one query and candidate, rows to train on, and further rows by file."""
    judged = {"query": "q", "candidate": "c"}
    rows: dict[str, list[dict[str, Any]]]
    rows = {"queries": [QUERY], "corpus": [CANDIDATE], "qrels": [judged], "train": [TRAINED]}
    for name, written in rows.items():
        write_lines(folder / f"{name}.jsonl", [*written, *more.get(name, ())])
    return folder


def write_trec(folder: Path, topics: str = "1\tNini?", qrels: str = "1\tQ0\t8#0\t1") -> Path:
    """MIRACL's files."""
    write_text(folder / "topics.miracl-v1.0-sw-dev.tsv", topics)
    write_text(folder / "qrels.miracl-v1.0-sw-dev.tsv", qrels)
    passage = {"docid": "8#0", "title": "A", "text": "x"}
    write_lines(folder / "miracl-corpus-v1.0-sw" / "docs-0.jsonl", [passage])
    return folder


def write_mteb(folder: Path, qrels: str = "q\tc\t1", **more: Sequence[dict[str, Any]]) -> Path:
    """BEIR's files."""
    write_lines(folder / "corpus.jsonl", [{"_id": "c", "text": "Hiki."}, *more.get("corpus", ())])
    write_lines(folder / "queries.jsonl", [{"_id": "q", "text": "Nini?"}, *more.get("queries", ())])
    write_text(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore", qrels)
    return folder


def add(path: Path, line: bytes) -> int:
    """Append a line; its number."""
    content = path.read_bytes() + line + b"\n"
    path.write_bytes(content)
    return content.count(b"\n")


def refused(path: Path, row: int | str | None, key: str | None, load: Callable[[], Any]) -> None:
    with pytest.raises(DataError) as caught:
        load()
    assert (caught.value.file, caught.value.row, caught.value.key) == (str(path), row, key)


HALF = rb"a\ud800b"
NUMBERS = (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"9" * 400, b"true", b'"1"', b"[1]")


@pytest.mark.parametrize(
    ("name", "line", "key"),
    [
        *(("qrels", b'{"query": "q", "candidate": "c2", "gain": %s}' % n, "gain") for n in NUMBERS),
        ("qrels", b'{"query": "q", "candidate": "c2", "gain": %s}' % (b"9" * 5000), None),
        ("qrels", b'{"query": "q", "candidate": "c"}', "candidate"),
        ("qrels", b'{"query": "q", "candidate": "c", "gain": 0}', "candidate"),
        ("qrels", b'{"query": "x", "candidate": "c2"}', "query"),
        ("qrels", b'{"query": "q", "candidate": "x"}', "candidate"),
        ("corpus", b'{"id": "d", "text": "t", "language": "sw", "x": ' + b"[" * 100_000, None),
        ("corpus", b'{"id": "d", "language": "sw", "text": "%s"}' % HALF, "text"),
        ("corpus", b'{"id": "%s", "language": "sw", "text": "t"}' % HALF, "id"),
        ("corpus", b'{"id": "d", "language": "sw", "text": "t", "title": "%s"}' % HALF, "title"),
        ("corpus", b'{"id": "d", "language": "sw", "text": "t", "title": 7}', "title"),
        ("corpus", b'{"id": "d", "language": "sw", "text": "t", "title": NaN}', "title"),
        ("corpus", b'{"id": "d", "language": "sw", "text": "t", "text": "u"}', "text"),
        ("corpus", b'{"id": "d", "language": "sw", "text": "", "title": ""}', "text"),
        ("corpus", b'{"id": "d", "language": "sw", "text": null, "title": "t"}', "text"),
        ("corpus", b'{"id": 1.0, "language": "sw", "text": "t"}', "id"),
        ("corpus", b'{"id": true, "language": "sw", "text": "t"}', "id"),
        ("corpus", b'{"id": "a\\u0000", "language": "sw", "text": "t"}', "id"),
        ("corpus", b'{"id": "c", "language": "sw", "text": "t"}', "id"),
        ("corpus", b'{"id": "d", "language": "unknown", "text": "t"}', "language"),
        ("corpus", b'{"id": "d", "language": "../x", "text": "t"}', "language"),
        ("corpus", b'{"id": "d", "language": null, "text": "t"}', "language"),
        ("corpus", b"\0" * 50, None),
        ("queries", b'{"id": "r", "language": "sw", "text": "t", "article": ["A"]}', "article"),
        ("queries", b'{"id": "r", "language": "sw", "text": "t", "question": 1.5}', "question"),
        ("train", b'{"id": "2", "queries": {"sw": "a", "swahili": "b"}, "passages": {"sw": "c"}}',
         "queries"),
        ("train", b'{"id": "2", "queries": {"sw": "a"}, "passages": {"unknown": "c"}}', "passages"),
        ("train", b'{"id": "2", "queries": {"sw": "%s"}, "passages": {"sw": "c"}}' % HALF,
         "queries"),
        ("train", b'{"id": "2", "queries": {"sw": "a"}, "passages": {"sw": "c"}, '
         b'"negatives": {"sw": [{"id": "h", "text": "%s"}]}}' % HALF, "negatives"),
    ],
)  # fmt: skip
def test_a_malformed_row_of_ones_own_data_is_named_or_left_out(
    tmp_path: Path, name: str, line: bytes, key: str | None
) -> None:
    write_jsonl(tmp_path, corpus=[CANDIDATE | {"id": "c2"}])
    row = add(tmp_path / f"{name}.jsonl", line)
    load = load_training if name == "train" else load_benchmark
    more: dict[str, Any] = {"negatives": True} if name == "train" else {}
    if name == "train":
        good = TRAINED | {"id": "g", "negatives": {"sw": [{"id": "h", "text": "t"}]}}
        add(tmp_path / "train.jsonl", json.dumps(good).encode())
    path = tmp_path / f"{name}.jsonl"
    refused(path, row, key, lambda: load("jsonl", tmp_path, **more))
    loaded = load("jsonl", tmp_path, skip_malformed=True, **more)
    if isinstance(loaded, Benchmark):
        assert loaded.dropped == {f"malformed rows of {name}.jsonl": 1}
        assert loaded.qrels == {"q": {"c": 1.0}}
    else:
        assert list(loaded.questions) == ["1", "g"]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("q\td\tnan", "score"),
        ("q\td\tinf", "score"),
        ("q\td\t" + "9" * 400, "score"),
        ("q\td\t0.5", "score"),
        ("q\td\t1_0", "score"),
        ("q\td\tone", "score"),
        ("q\tc\t1", "corpus-id"),
        ("q\tc\t0", "corpus-id"),
        ("q\tx\t1", "corpus-id"),
        ("x\tc\t1", "query-id"),
        ("\tc\t1", "query-id"),
        ("q\t0\td\t1", None),
        ("query-id\tcorpus-id\tscore", "score"),
    ],
)
def test_a_malformed_judgement_is_named_or_left_out_in_every_format(
    tmp_path: Path, line: str, key: str | None
) -> None:
    further = [{"_id": "d", "text": "Kile."}]
    folder = write_mteb(tmp_path / "mteb", f"q\tc\t1\n{line}", corpus=further)
    path = folder / "qrels" / "test.tsv"
    refused(path, 3, key, lambda: load_benchmark("mteb", folder, ["sw"]))
    loaded = load_benchmark("mteb", folder, ["sw"], skip_malformed=True)
    assert loaded.dropped == {"malformed rows of test.tsv": 1}
    assert loaded.qrels == {"sw:q": {"sw:c": 1.0}}
    if key is None or line.startswith("query-id"):
        return
    query, candidate, gain = line.split("\t")
    row = f"{query.replace('q', '1')}\tQ0\t{candidate.replace('c', '8#0')}\t{gain}"
    folder = write_trec(tmp_path / "trec", qrels=f"1\tQ0\t8#0\t1\n{row}")
    passage = folder / "miracl-corpus-v1.0-sw" / "docs-0.jsonl"
    add(passage, b'{"docid": "d", "title": "A", "text": "y"}')
    path = folder / "qrels.miracl-v1.0-sw-dev.tsv"
    refused(path, 2, key, lambda: load_benchmark("miracl", folder))
    loaded = load_benchmark("miracl", folder, skip_malformed=True)
    assert loaded.qrels == {"sw:1": {"sw:8#0": 1.0}}
    assert loaded.dropped == {"malformed rows of qrels.miracl-v1.0-sw-dev.tsv": 1}


def test_an_empty_candidate_goes_with_its_judgement(tmp_path: Path) -> None:
    empty = [{"_id": "e", "title": "", "text": " "}]
    folder = write_mteb(tmp_path, "q\tc\t1\nq\te\t1", corpus=empty)
    refused(folder / "corpus.jsonl", 2, "text", lambda: load_benchmark("mteb", folder, ["sw"]))
    loaded = load_benchmark("mteb", folder, ["sw"], skip_malformed=True)
    assert loaded.qrels == {"sw:q": {"sw:c": 1.0}}
    assert loaded.dropped == {"malformed rows of corpus.jsonl": 1, "malformed rows of test.tsv": 1}


def test_gains_of_zero_and_less_are_those_of_unjudged_candidates(tmp_path: Path) -> None:
    further = [{"_id": name, "text": name} for name in "def"]
    folder = write_mteb(tmp_path / "mteb", "q\tc\t2\nq\td\t0\nq\te\t-3\nq\tf\t1.0", corpus=further)
    assert load_benchmark("mteb", folder, ["sw"]).qrels == {"sw:q": {"sw:c": 2.0, "sw:f": 1.0}}
    judged = [{"query": "q", "candidate": "d", "gain": gain} for gain in (-1,)]
    own = write_jsonl(tmp_path / "own", corpus=[CANDIDATE | {"id": "d"}], qrels=judged)
    assert load_benchmark("jsonl", own).qrels == {"q": {"c": 1.0}}


def test_null_is_not_there(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("question", "article", "title", "gold", "negatives"))
    zero = {"question": 0, "article": 0, "gold": 0}
    write_jsonl(
        tmp_path,
        queries=[QUERY | nothing | {"id": "r"}, QUERY | zero | {"id": "s"}],
        corpus=[CANDIDATE | nothing | {"id": "d"}],
        qrels=[{"query": "r", "candidate": "d", "gain": None}],
        train=[
            TRAINED | nothing | {"id": "2", "passages": {"sw": "a", "en": None}},
            TRAINED | zero | {"id": "3"},
        ],
    )
    loaded = load_benchmark("jsonl", tmp_path)
    questions = [(query.question, query.cluster) for query in loaded.queries["sw"]]
    assert questions == [("q", "q"), ("r", "r"), ("0", "0")]
    assert [candidate.text for candidate in loaded.corpus["sw"]] == ["Hiki.", "Hiki."]
    assert loaded.qrels["r"] == {"d": 1.0}
    rows = load_training("jsonl", tmp_path)
    assert (list(rows.golds), list(rows.clusters)) == (["1", "2", "0"], ["1", "2", "0"])
    assert rows.languages == ("sw",)


# ---- marks, ends of lines, headers


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path, end: bytes) -> None:
    def mark(folder: Path) -> Path:
        for path in [*folder.rglob("*.jsonl"), *folder.rglob("*.tsv")]:
            path.write_bytes(MARK + path.read_bytes().replace(b"\n", end))
        return folder

    own, trec, mteb = tmp_path / "own", tmp_path / "trec", tmp_path / "mteb"
    expected = load_benchmark("jsonl", write_jsonl(own))
    assert load_benchmark("jsonl", mark(own)) == expected
    topics = load_benchmark("miracl", write_trec(trec))
    assert load_benchmark("miracl", mark(trec)) == topics
    shape = load_benchmark("mteb", write_mteb(mteb), ["sw"])
    assert load_benchmark("mteb", mark(mteb), ["sw"]) == shape
    packed = own / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(MARK + b'{"a": 1}'))
    with zipfile.ZipFile(tmp_path / "mkqa_dev.zip", "w") as archive:
        row = b'{"id": "1_en", "lang": "en", "question": "Who?", "answers": ["Ann"]}'
        archive.writestr("mkqa-en.jsonl", MARK + row)
    assert [row["a"] for row in reading.records(packed, "x", lambda row: row)] == [1]
    assert load_benchmark("mkqa", tmp_path).queries["en"][0].text == "Who?"
    whole = own / "whole.json"
    whole.write_bytes(MARK + b'{"b": "\xef\xbb\xbf"}')
    assert reading.json_document(whole, "x") == {"b": "\ufeff"}


def test_a_header_is_no_row(tmp_path: Path) -> None:
    expected = load_benchmark("miracl", write_trec(tmp_path / "plain"))
    named = write_trec(
        tmp_path / "named", "query_id\tquery\n1\tNini?", "qid\tQ0\tdocid\trel\n1\tQ0\t8#0\t1"
    )
    assert load_benchmark("miracl", named) == expected
    folder = write_mteb(tmp_path / "mteb")
    shape = load_benchmark("mteb", folder, ["sw"])
    write_text(folder / "qrels" / "test.tsv", "q\tc\t1")
    assert load_benchmark("mteb", folder, ["sw"]) == shape
    write_text(folder / "qrels" / "test.tsv", "corpus-id\tquery-id\tscore", "c\tq\t1")
    path = folder / "qrels" / "test.tsv"
    refused(path, 1, "score", lambda: load_benchmark("mteb", folder, ["sw"]))


# ---- what is too large


def test_a_line_without_an_end_takes_little_memory(tmp_path: Path) -> None:
    write_jsonl(tmp_path)
    path = tmp_path / "corpus.jsonl"
    with path.open("wb") as file:
        file.truncate(10 << 30)
    refused(path, 1, None, lambda: load_benchmark("jsonl", tmp_path))


def test_a_long_line_is_a_malformed_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST_LINE", 200)
    write_jsonl(tmp_path)
    path = tmp_path / "corpus.jsonl"
    add(path, json.dumps(CANDIDATE | {"id": "d", "text": "x" * 1000}).encode())
    add(path, json.dumps(CANDIDATE | {"id": "e", "text": "y" * (200 - 46)}).encode())
    refused(path, 2, None, lambda: load_benchmark("jsonl", tmp_path))
    loaded = load_benchmark("jsonl", tmp_path, skip_malformed=True)
    assert [candidate.id for candidate in loaded.corpus["sw"]] == ["c", "e"]
    assert loaded.dropped == {"malformed rows of corpus.jsonl": 1}


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b"9" * 5000, b'{"a": 1, "a": 2}', b'{"a": ', b"\xff", b" " * 1001],
)
def test_a_document_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(reading, "LARGEST_DOCUMENT", 1000 if b" " * 9 in content else 2**20)
    path = tmp_path / "x.json"
    path.write_bytes(content)
    key = "a" if content.endswith(b"}") else None
    refused(path, None, key, lambda: reading.json_document(path, "x"))


# ---- Parquet


@pytest.mark.parametrize(
    "kind",
    [
        *(pyarrow.int16(), pyarrow.int64(), pyarrow.uint32(), pyarrow.uint64()),
        *(pyarrow.string(), pyarrow.large_string(), pyarrow.string_view()),
        pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
    ],
    ids=str,
)
def test_ids_of_any_whole_number_or_text(tmp_path: Path, kind: pyarrow.DataType) -> None:
    write_hub(tmp_path, kind)
    assert load_benchmark("mteb", tmp_path).qrels == {"sw:7": {"sw:8": 1.0}}


@pytest.mark.parametrize(
    "kind", [pyarrow.float64(), pyarrow.binary(), pyarrow.decimal128(3)], ids=str
)
def test_ids_with_several_spellings_are_refused(tmp_path: Path, kind: pyarrow.DataType) -> None:
    write_hub(tmp_path, kind)
    path = tmp_path / "sw-corpus" / "test-00000-of-00001.parquet"
    refused(path, 1, "_id", lambda: load_benchmark("mteb", tmp_path))


def write_hub(folder: Path, kind: pyarrow.DataType, part: str = "test") -> None:
    tables = {
        "sw-corpus": [{"_id": 8, "text": "Hiki."}],
        "sw-queries": [{"_id": 7, "text": "Nini?"}],
        "sw-qrels": [{"query-id": 7, "corpus-id": 8, "score": 1}],
    }
    for name, rows in tables.items():
        table = pyarrow.Table.from_pylist(rows)
        for number, column in enumerate(table.column_names):
            if column.endswith("id"):
                text = table.column(column).cast(pyarrow.string())
                plain = getattr(kind, "value_type", kind)
                number_like = pyarrow.types.is_integer(plain) or pyarrow.types.is_floating(plain)
                held = text if not number_like else table.column(column)
                held = held.cast(plain)
                table = table.set_column(
                    number, column, held.dictionary_encode() if plain != kind else held
                )
        write_table(folder / name / f"{part}-00000-of-00001.parquet", table)


def write_table(path: Path, table: pyarrow.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path)


def test_a_text_that_is_not_utf_8_is_a_row_of_its_table(tmp_path: Path) -> None:
    write_hub(tmp_path, pyarrow.string())
    path = tmp_path / "sw-corpus" / "test-00000-of-00001.parquet"
    ids = pyarrow.array(["8", "9"])
    broken = pyarrow.StringArray.from_buffers(
        2, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"a\xff")
    )
    write_table(path, pyarrow.table({"_id": ids, "text": broken}))
    refused(path, 2, None, lambda: load_benchmark("mteb", tmp_path))
    loaded = load_benchmark("mteb", tmp_path, skip_malformed=True)
    assert [candidate.text for candidate in loaded.corpus["sw"]] == ["a"]


# ---- folders


def test_folders_behind_links_are_read_and_hashed(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "sw"
    write_mteb(real)
    place = tmp_path / "data"
    place.mkdir()
    (place / "sw").symlink_to(real)
    (real / "again").symlink_to(tmp_path / "elsewhere")
    (place / "gone").symlink_to(tmp_path / "nothing")
    assert load_benchmark("mteb", place).languages == ("sw",)
    before = reference("mteb", place)
    add(real / "corpus.jsonl", b'{"_id": "d", "text": "Kile."}')
    assert reference("mteb", place).digest != before.digest
    [(path, _)] = reading.find(place, r"corpus\.jsonl")
    assert path == place / "sw" / "corpus.jsonl"


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(UserError):
        list(reading.files_below(tmp_path))


def mteb_languages(folder: Path, *names: str, deep: str = "") -> Path:
    for name in names:
        write_mteb(folder / deep / name, corpus=[{"_id": f"only {name}", "text": name}])
    return folder


@pytest.mark.parametrize("deep", ["", "a/b"])
def test_mteb_folders_are_languages(tmp_path: Path, deep: str) -> None:
    mteb_languages(tmp_path, "sw", "yo", "zh-Hant", deep=deep)
    loaded = load_benchmark("mteb", tmp_path)
    assert loaded.languages == ("sw", "yo", "zh-Hant")
    assert [candidate.id for candidate in loaded.corpus["yo"]] == ["yo:c", "yo:only yo"]
    one = load_benchmark("mteb", tmp_path, ["sw"])
    assert (one.languages, len(one.corpus["sw"])) == (("sw",), 2)
    assert reference("mteb", tmp_path, ["sw"]).digest != reference("mteb", tmp_path, ["yo"]).digest


def test_mteb_folders_that_are_no_language_are_one_benchmark_at_a_time(tmp_path: Path) -> None:
    write_mteb(tmp_path / "scifact-2020")
    assert load_benchmark("mteb", tmp_path, ["sw"]).languages == ("sw",)
    for load in (load_benchmark, reference):
        with pytest.raises(UserError):
            load("mteb", tmp_path)
    write_mteb(tmp_path / "arguana")
    with pytest.raises(UserError):
        load_benchmark("mteb", tmp_path, ["sw"])


@pytest.mark.parametrize("names", [("sw", "swahili"), ("sw", "old/sw"), ("sw", ".", "yo")])
def test_mteb_two_folders_of_a_language_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    mteb_languages(tmp_path, *names)
    with pytest.raises(UserError):
        load_benchmark("mteb", tmp_path, ["sw"])


def test_mteb_asked_for_a_language_that_is_not_there(tmp_path: Path) -> None:
    mteb_languages(tmp_path, "sw")
    for languages in (["yo"], ["sw", "yo"]):
        with pytest.raises(UserError):
            load_benchmark("mteb", tmp_path, languages)


def test_mteb_splits_are_kept_apart(tmp_path: Path) -> None:
    for part in ("dev", "test"):
        write_hub(tmp_path, pyarrow.int64(), part)
    for role, column in (("corpus", "_id"), ("queries", "_id"), ("qrels", "corpus-id")):
        path = tmp_path / f"sw-{role}" / "dev-00000-of-00001.parquet"
        [row] = pyarrow.parquet.read_table(path).to_pylist()
        row |= {key: 9 for key in row if key.endswith("id")}
        write_table(path, pyarrow.Table.from_pylist([row]))
        assert column in row
    assert load_benchmark("mteb", tmp_path).qrels == {"sw:7": {"sw:8": 1.0}}
    dev = load_benchmark("mteb", tmp_path, part="dev")
    assert dev.qrels == {"sw:9": {"sw:9": 1.0}}
    assert [len(dev.queries["sw"]), len(dev.corpus["sw"])] == [1, 1]
    (tmp_path / "sw-queries" / "test-00000-of-00001.parquet").unlink()
    train = tmp_path / "sw-queries" / "train-00000-of-00001.parquet"
    write_table(train, pyarrow.Table.from_pylist([{"_id": 7, "text": "Nini?"}]))
    with pytest.raises(UserError):
        load_benchmark("mteb", tmp_path)


def test_mteb_a_lost_shard_is_missed(tmp_path: Path) -> None:
    write_hub(tmp_path, pyarrow.int64())
    path = tmp_path / "sw-corpus" / "test-00000-of-00001.parquet"
    path.rename(path.with_name("test-00000-of-00002.parquet"))
    with pytest.raises(UserError):
        load_benchmark("mteb", tmp_path)
    table = pyarrow.Table.from_pylist([{"_id": 9, "text": "Kile."}])
    write_table(path.with_name("test-00001-of-00002.parquet"), table)
    ids = [candidate.id for candidate in load_benchmark("mteb", tmp_path).corpus["sw"]]
    assert ids == ["sw:8", "sw:9"]


def test_two_files_of_a_language_are_refused(tmp_path: Path) -> None:
    write_trec(tmp_path)
    second = tmp_path / "copy" / "topics.miracl-v1.0-sw-dev.tsv"
    write_text(second, "1\tNini?")
    with pytest.raises(DataError):
        load_benchmark("miracl", tmp_path)


# ---- titles, and equal questions


def test_passages_are_made_as_mteb_makes_them(tmp_path: Path) -> None:
    rows = [("T ", " x "), ("", " x"), ("T", ""), (None, "x"), ("  ", "x")]
    expected = ["T   x", "x", "T", "x", "x"]
    texts: list[dict[str, Any]] = [{"title": title, "text": text} for title, text in rows]
    own, shape, passages = (
        [CANDIDATE | text | {key: f"p{number}"} for number, text in enumerate(texts)]
        for key in ("id", "_id", "docid")
    )
    loaded = [
        load_benchmark("jsonl", write_jsonl(tmp_path / "own", corpus=own)),
        load_benchmark("mteb", write_mteb(tmp_path / "mteb", corpus=shape), ["sw"]),
    ]
    folder = write_trec(tmp_path / "trec")
    for passage in passages:
        path = folder / "miracl-corpus-v1.0-sw" / "docs-0.jsonl"
        add(path, json.dumps(passage).encode())
    loaded.append(load_benchmark("miracl", folder))
    for benchmark in loaded:
        assert [candidate.text for candidate in benchmark.corpus["sw"]][1:] == expected


def test_equal_questions_are_counted_and_not_merged(tmp_path: Path) -> None:
    again = [QUERY | {"id": "r"}, QUERY | {"id": "s", "text": "Wapi?"}]
    english = [QUERY | {"id": "t", "language": "en"}]
    loaded = load_benchmark("jsonl", write_jsonl(tmp_path, queries=[*again, *english]))
    assert loaded.repeated == {"en": 0, "sw": 2}
    assert len(loaded.queries["sw"]) == 3
