"""Files as their publishers and the hub have them: every shard, every positive, every layout."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.trainables.data.samples import write_lines, write_text
from trainables.data.catalog import load_benchmark, load_training, reference
from trainables.data.formats.reading import AbsentLanguageError
from trainables.errors import DataError

CONTEXT = "Mto ni mrefu. Mji ni mdogo."


def write_table(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def question(identity: str) -> dict[str, Any]:
    answers = {"text": ["Mji"], "answer_start": [CONTEXT.index("Mji")]}
    return {"id": identity, "context": CONTEXT, "question": f"Nini {identity}?", "answers": answers}


def belebele(link: str, number: int = 1) -> dict[str, Any]:
    row = {"link": link, "question_number": number, "flores_passage": f"Mto {link}."}
    return row | {"question": f"Nini {link} {number}?"}


TABLES = {
    "xquad": ("xquad.de/validation", question("q1"), question("q2")),
    "mlqa": ("mlqa.de.de/test", question("q1"), question("q2")),
    "tydiqa": ("secondary_task/validation", question("swahili-1"), question("swahili-2")),
    "belebele": ("deu_Latn/test", belebele("a"), belebele("b")),
}
LANGUAGE = {"tydiqa": "sw"}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("shard", ["-{:05d}-of-00002", "/{:04d}"])
def test_every_shard_of_the_hubs_tables_is_read_hashed_and_missed(
    tmp_path: Path, name: str, shard: str
) -> None:
    base, *rows = TABLES[name]
    languages = [LANGUAGE.get(name, "de")]
    paths = [tmp_path / f"{base}{shard.format(number)}.parquet" for number in (0, 1)]
    for path, row in zip(paths, rows, strict=True):
        write_table(path, row)
    loaded = load_benchmark(name, tmp_path, languages)
    assert [q.text for q in loaded.queries[languages[0]]] == [row["question"] for row in rows]
    assert len(loaded.qrels) == 2
    digest = reference(name, tmp_path, languages).digest
    write_table(paths[1], rows[1] | {"question": "Wapi?"})
    assert reference(name, tmp_path, languages).digest != digest
    paths[0].unlink()
    for call in (load_benchmark, reference):
        with pytest.raises(DataError) as refused:
            call(name, tmp_path, languages)
        assert refused.value.file == str(paths[0].parent)


def test_belebele_as_a_table_is_belebele_as_lines(tmp_path: Path) -> None:
    rows = [belebele("a", 1), belebele("a", 2), belebele("b", 1)]
    write_lines(tmp_path / "lines" / "swh_Latn.jsonl", rows)
    write_table(tmp_path / "table" / "data" / "swh_Latn-00000-of-00001.parquet", *rows)
    lines, table = (load_benchmark("belebele", tmp_path / x) for x in ("lines", "table"))
    assert table == lines
    write_lines(tmp_path / "table" / "swh_Latn.jsonl", rows)
    with pytest.raises(DataError) as refused:
        load_benchmark("belebele", tmp_path / "table")
    assert refused.value.key == "language"


def test_a_file_that_a_link_leads_to_as_well_is_one_file(tmp_path: Path) -> None:
    write_lines(tmp_path / "data" / "swh_Latn.jsonl", [belebele("a")])
    write_table(tmp_path / "data" / "xquad.de" / "validation-00000-of-00001.parquet", question("q"))
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert len(load_benchmark("belebele", tmp_path).queries["sw"]) == 1
    assert len(load_benchmark("xquad", tmp_path, ["de"]).queries["de"]) == 1


@pytest.mark.parametrize(
    ("row", "key"),
    [
        (belebele("a", 1), "question_number"),
        (belebele("a", 2) | {"flores_passage": "Mji."}, "flores_passage"),
    ],
)
def test_belebele_names_the_key_of_a_contradiction(
    tmp_path: Path, row: dict[str, Any], key: str
) -> None:
    path = tmp_path / "swh_Latn.jsonl"
    write_lines(path, [belebele("a", 1), row])
    with pytest.raises(DataError) as refused:
        load_benchmark("belebele", tmp_path)
    assert (refused.value.file, refused.value.row, refused.value.key) == (str(path), 2, key)


def write_trec(folder: Path, *numbers: int) -> None:
    write_text(folder / "topics.miracl-v1.0-sw-dev.tsv", "qid\tquery_text", "1\tWapi?")
    write_text(folder / "qrels.miracl-v1.0-sw-dev.tsv", "qid\titer\tdocno\tgrade", "1\tQ0\t0#0\t1")
    for number in numbers:
        row = {"docid": None, "id": f"{number}#0", "title": None, "text": "x"}
        write_lines(folder / "miracl-corpus-v1.0-sw" / f"docs-{number}.jsonl", [row])


def test_a_header_may_call_its_last_column_anything_and_null_is_no_docid(tmp_path: Path) -> None:
    write_trec(tmp_path, 0)
    loaded = load_benchmark("miracl", tmp_path)
    assert [q.id for q in loaded.queries["sw"]] == ["sw:1"]
    assert loaded.qrels == {"sw:1": {"sw:0#0": 1.0}}


@pytest.mark.parametrize("numbers", [(0, 2), (1, 2)])
def test_a_lost_file_of_passages_is_missed(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    write_trec(tmp_path, *numbers)
    with pytest.raises(DataError) as refused:
        load_benchmark("miracl", tmp_path)
    assert refused.value.file == str(tmp_path / "miracl-corpus-v1.0-sw")


def positive(identity: str) -> dict[str, str]:
    return {"docid": f"{identity}#0", "title": "", "text": f"text {identity}"}


def test_further_positives_of_mr_tydi_are_known(tmp_path: Path) -> None:
    path = tmp_path / "mrtydi-v1.1-swahili" / "train.jsonl"
    row = {"query_id": "1", "query": "Wapi?", "positive_passages": [positive("a"), positive("b")]}
    other = {"query_id": "2", "query": "Lini?", "positive_passages": [positive("b")]}
    write_lines(path, [row, other])
    rows = load_training("mr_tydi", tmp_path)
    assert rows.passages["sw"] == ["text a", "text b"]
    assert list(rows.other_golds) == [[rows.golds[1]], []]
    write_lines(path, [row, other | {"query_id": "1"}])
    with pytest.raises(DataError) as refused:
        load_training("mr_tydi", tmp_path)
    assert (refused.value.row, refused.value.key) == (2, "query_id")
    write_lines(path, [row | {"positive_passages": []}])
    with pytest.raises(DataError) as refused:
        load_training("mr_tydi", tmp_path)
    assert (refused.value.row, refused.value.key) == (1, "positive_passages")


def test_files_of_a_mac_beside_those_of_an_archive_are_passed_over(tmp_path: Path) -> None:
    row = {"id": "1_sw", "lang": "sw", "question": "Nani?", "answers": ["Asha"]}
    with zipfile.ZipFile(tmp_path / "mkqa_dev.zip", "w") as archive:
        archive.writestr("__MACOSX/._mkqa-sw.jsonl", b"\0\5")
        archive.writestr("mkqa-sw.jsonl", json.dumps(row))
    assert load_benchmark("mkqa", tmp_path).qrels == {"sw:1": {"sw_0": 1.0}}


def test_a_language_that_is_null_is_a_gap(tmp_path: Path) -> None:
    answer = {"en": [{"text": "Ann"}]}
    row = {"example_id": 1, "queries": {"en": "who?", "sw": None}, "answers": answer}
    write_lines(tmp_path / "mkqa.jsonl", [row])
    assert list(load_benchmark("mkqa", tmp_path).queries) == ["en"]
    passages = {"en": [{"id": "n", "text": "No."}], "sw": None}
    pair = {"id": "1", "queries": {"en": "Who?"}, "passages": {"en": "She.", "sw": None}}
    write_lines(tmp_path / "train.jsonl", [pair | {"negatives": passages}])
    rows = load_training("jsonl", tmp_path, negatives=True)
    assert [c.text for c in rows.negatives["en"][0]] == ["No."]


def test_half_a_character_in_a_title_is_malformed(tmp_path: Path) -> None:
    article = {"title": "\ud83d", "paragraphs": [{"context": CONTEXT, "qas": []}]}
    path = tmp_path / "de.json"
    path.write_text(json.dumps({"data": [article]}), encoding="utf-8")
    with pytest.raises(DataError) as refused:
        load_benchmark("xquad", tmp_path, ["de"])
    assert (refused.value.file, refused.value.row, refused.value.key) == (
        str(path),
        "data[0]",
        "title",
    )


def test_a_language_whose_file_holds_nothing_is_absent_itself(tmp_path: Path) -> None:
    (tmp_path / "de.json").write_text(json.dumps({"data": []}), encoding="utf-8")
    with pytest.raises(AbsentLanguageError) as refused:
        load_benchmark("xquad", tmp_path, ["de"])
    assert refused.value.present == ()


def test_an_instruction_may_be_blank_as_in_mteb(tmp_path: Path) -> None:
    queries = [{"_id": str(i), "text": "Nini?", "instruction": x} for i, x in enumerate(("", None))]
    write_lines(tmp_path / "queries.jsonl", queries)
    write_lines(tmp_path / "corpus.jsonl", [{"_id": "c", "text": "Hiki."}])
    write_text(tmp_path / "qrels" / "test.tsv", "0\tc\t1")
    loaded = load_benchmark("mteb", tmp_path, ["sw"])
    assert [query.text for query in loaded.queries["sw"]] == ["Nini? ", "Nini?"]
