"""Files of SQuAD's shape as they are published, and the offsets of their answers."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data import inspect
from trainables.data.benchmark import Benchmark
from trainables.data.catalog import (
    load_benchmark,
    load_training,
    open_benchmark,
    reference,
    source,
)
from trainables.data.formats.reading import AbsentLanguageError
from trainables.data.formats.squad_json import CONVERTED, NOT_THERE, ParagraphReader, offset_remarks
from trainables.errors import DataError, UserError

ELEVEN = ("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh")

Row = dict[str, Any]


def rows_of(language: str) -> list[Row]:
    """Two paragraphs with two questions and one."""
    return [
        {
            "id": identity,
            "context": f"{language} {number}: naïve 🌊 river.",
            "question": f"{language} {identity}?",
            "answers": {"text": ["river"], "answer_start": [len(f"{language} 0: naïve 🌊 ")]},
        }
        for number, ids in enumerate(("ab", "c"))
        for identity in ids
    ]


def document(rows: list[Row], title: str = "") -> Row:
    """Rows as SQuAD's JSON, an article a paragraph."""
    contexts = dict.fromkeys(row["context"] for row in rows)
    articles = []
    for number, context in enumerate(contexts):
        questions = [
            {
                "id": row["id"],
                "question": row["question"],
                "answers": row["answers"]
                and [
                    {"text": text, "answer_start": start}
                    for text, start in zip(*row["answers"].values(), strict=True)
                ],
            }
            for row in rows
            if row["context"] == context
        ]
        breaks = [[0, len(context)]]
        entry = {"context": context, "sentence_breaks": breaks, "qas": questions}
        articles.append({"title": title and f"{title} {number}", "paragraphs": [entry]})
    return {"data": articles}


def write(path: Path, rows: list[Row], title: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(document(rows, title)), encoding="utf-8")
    return path


def same(first: Benchmark, second: Benchmark) -> bool:
    """Whether texts and judgements are equal; clusters are not known of the hub's tables."""
    texts = [
        {la: [(q.id, q.text) for q in items] for la, items in each.queries.items()}
        for each in (first, second)
    ]
    return texts[0] == texts[1] and (first.corpus, first.qrels, first.dropped) == (
        second.corpus,
        second.qrels,
        second.dropped,
    )


# ---- names of files


def test_xquad_by_the_names_of_its_authors_of_the_hub_and_by_language(tmp_path: Path) -> None:
    for language in ("en", "ro"):
        rows = rows_of(language)
        write(tmp_path / "own" / f"{language}.json", rows)
        write(tmp_path / "authors" / f"xquad.{language}.json", rows)
        shards = tmp_path / "hub" / ("xquad.en" if language == "en" else "XQuAD.ro")
        write(shards / "validation-00000-of-00002.parquet", rows[:1])
        write(shards / "validation-00001-of-00002.parquet", rows[1:])
    own, authors, hub = (
        load_benchmark("xquad", tmp_path / folder, ["en", "ro"])
        for folder in ("own", "authors", "hub")
    )
    assert own.languages == ("en", "ro")
    assert own.qrels["ro:b"] == {"en_0": 1.0, "ro_0": 1.0}
    assert authors == own
    assert same(hub, own)
    assert [q.cluster for q in hub.queries["ro"]] == [
        "en-paragraph-0", "en-paragraph-0", "en-paragraph-1",
    ]  # fmt: skip
    ref = reference("xquad", tmp_path / "hub", ["ro"])
    assert open_benchmark(ref, {ref.digest: str(tmp_path / "hub")}).languages == ("ro",)
    with pytest.raises(UserError):
        load_benchmark("xquad", tmp_path / "hub", ["en"], part="held-out")


def test_two_files_of_one_language_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "en.json", rows_of("en"))
    for other in ("xquad.en.json", "xquad.en/validation-0.parquet"):
        path = write(tmp_path / other, rows_of("en"))
        with pytest.raises(DataError) as error:
            load_benchmark("xquad", tmp_path, ["en"])
        assert (error.value.file, error.value.key) == (str(path), "language")
        path.unlink()
    (tmp_path / "notes.json").write_text("not SQuAD, and not of a language")
    assert load_benchmark("xquad", tmp_path, ["en"]).languages == ("en",)


def test_xquad_without_being_asked_is_eleven_languages_and_romanian_where_it_is(
    tmp_path: Path,
) -> None:
    for language in ("en", "ro"):
        write(tmp_path / f"xquad.{language}.json", rows_of(language))
    with pytest.raises(AbsentLanguageError) as error:
        load_benchmark("xquad", tmp_path)
    assert error.value.present == ("en", "ro")
    whole = next(f for f in inspect.check(source("xquad"), tmp_path) if f.subject == "all of it")
    assert whole.state == "differs"  # from the counts of the published files
    assert source("xquad") in inspect.recognised(tmp_path)
    for language in ELEVEN:
        write(tmp_path / f"xquad.{language}.json", rows_of(language))
    assert load_benchmark("xquad", tmp_path).languages == tuple(sorted((*ELEVEN, "ro")))
    (tmp_path / "xquad.ro.json").unlink()
    assert load_benchmark("xquad", tmp_path).languages == ELEVEN


def test_mlqa_of_the_hub_is_that_of_the_archive(tmp_path: Path) -> None:
    for language in ("de", "en"):
        name = f"test-context-{language}-question-{language}.json"
        write(tmp_path / "archive" / "MLQA_V1" / "test" / name, rows_of(language))
        for folder, rows in (
            (f"mlqa.{language}.{language}", rows_of(language)),
            (f"mlqa.{language}.{'en' if language == 'de' else 'de'}", rows_of("vi")),
            (f"mlqa-translate-test.{language}", rows_of("vi")),
        ):
            write(tmp_path / "hub" / folder / "test-00000-of-00001.parquet", rows)
            write(tmp_path / "hub" / folder / "validation-00000-of-00001.parquet", rows[:1])
    for part in ("test", "test/de-en"):
        archive, hub = (
            load_benchmark("mlqa", tmp_path / folder, ["de", "en"], part=part)
            for folder in ("archive", "hub")
        )
        assert same(hub, archive)
    validation = load_benchmark("mlqa", tmp_path / "hub", ["de"], part="validation")
    assert [query.id for query in validation.queries["de"]] == ["de:a"]


def test_xquad_as_its_authors_publish_it(shared: Path) -> None:
    folder = shared / "data" / "xquad-official"
    for language, distinct in (("en", 1185), ("ro", 1184)):
        paragraphs = ParagraphReader("xquad").read(folder / f"xquad.{language}.json")
        questions = [question for paragraph in paragraphs for question in paragraph.questions]
        assert (len(paragraphs), len(questions)) == (240, 1190)
        assert not any(question.remark for question in questions)
        loaded = load_benchmark("xquad", folder, [language])
        assert len(loaded.queries[language]) == distinct
        assert len(loaded.corpus[language]) == 240
    assert {f.state for f in inspect.check(source("xquad"), folder)} == {"whole", "incomplete"}


# ---- offsets


CONTEXT = "Der Fluß 🌊🌊 entspringt im Gebirge. Er mündet ins Meer. Die Stadt liegt am Ufer."
MEER = CONTEXT.index("Meer")
WRONG = {
    "UTF-8 bytes": len(CONTEXT[:MEER].encode()),
    "UTF-16 units": len(CONTEXT[:MEER].encode("utf-16-le")) // 2,
}


def sentences(folder: Path, start: int, answer: str = "Meer") -> Path:
    """XQuAD-R with one question."""
    ends = [index + 1 for index, character in enumerate(CONTEXT) if character == "."]
    breaks = [list(pair) for pair in zip([0, *(end + 1 for end in ends)], ends, strict=False)]
    item = {"id": "7", "question": "Wohin?", "answers": [{"text": answer, "answer_start": start}]}
    entry = {"context": CONTEXT, "sentence_breaks": breaks, "qas": [item]}
    path = folder / "de.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [entry]}]}), encoding="utf-8")
    return path


@pytest.mark.parametrize("unit", WRONG)
def test_offsets_in_another_unit_are_refused_or_converted_and_counted(
    tmp_path: Path, unit: str
) -> None:
    path = sentences(tmp_path, WRONG[unit])
    with pytest.raises(DataError) as error:
        load_benchmark("xquad_r", tmp_path, ["de"])
    assert (error.value.file, error.value.key) == (str(path), "answer_start")
    assert error.value.row == "data[0].paragraphs[0].qas[0]"
    assert unit in str(error.value)

    loaded = load_benchmark("xquad_r", tmp_path, ["de"], convert_offsets=True)
    assert loaded.qrels == {"de:7": {"de_0_1": 1.0}}
    assert loaded.dropped == {f"{CONVERTED} {unit}": 1}
    trained = load_training("xquad_r", tmp_path, ["de"], text="sentence", convert_offsets=True)
    assert list(trained.passages["de"]) == ["Er mündet ins Meer."]

    ref = reference("xquad_r", tmp_path, ["de"], convert_offsets=True)
    assert open_benchmark(ref, {ref.digest: str(tmp_path)}) == loaded
    plain = reference("xquad_r", tmp_path, ["de"])
    assert (ref.convert_offsets, plain.convert_offsets) == (True, None)
    with pytest.raises(DataError):
        open_benchmark(plain, {plain.digest: str(tmp_path)})


def test_right_offsets_are_left_as_they_are_and_slips_are_counted(tmp_path: Path) -> None:
    sentences(tmp_path, MEER)
    for convert in (False, True):
        loaded = load_benchmark("xquad_r", tmp_path, ["de"], convert_offsets=convert)
        assert (loaded.qrels, loaded.dropped) == ({"de:7": {"de_0_1": 1.0}}, {})
    for start, answer in ((MEER - 1, "Meer"), (MEER, "See")):
        sentences(tmp_path, start, answer)
        loaded = load_benchmark("xquad_r", tmp_path, ["de"])
        assert loaded.qrels == {"de:7": {"de_0_1": 1.0}}
        assert loaded.dropped == {NOT_THERE: 1}


def test_an_answer_that_stands_there_by_chance_is_converted_with_its_file(tmp_path: Path) -> None:
    context = "äö. abab."
    items = [
        {"id": text, "question": "q?", "answers": [{"text": text, "answer_start": start}]}
        for text, start in (("abab", 6), ("ab", 6))
    ]
    entry = {"context": context, "sentence_breaks": [[0, 9]], "qas": items}
    path = tmp_path / "de.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [entry]}]}), encoding="utf-8")
    [paragraph] = ParagraphReader("x", sentences=True, offsets="convert").read(path)
    assert [question.answer_start for question in paragraph.questions] == [4, 4]
    assert offset_remarks([paragraph]) == {f"{CONVERTED} UTF-8 bytes": 2}


def test_every_source_that_reads_offsets_looks_for_the_answers(tmp_path: Path) -> None:
    item = {
        "id": "finnish-1",
        "lang": "fi",
        "question": "Wohin?",
        "answers": [{"text": "Meer", "answer_start": WRONG["UTF-8 bytes"]}],
    }
    entry = {"context": CONTEXT, "qas": [item]}
    text = json.dumps({"data": [{"title": "Fluß", "paragraphs": [entry]}]})
    answers = {"text": ["Meer"], "answer_start": [WRONG["UTF-8 bytes"]]}
    table = item | {"context": CONTEXT, "title": "Fluß", "answers": answers}
    for name, file in {
        "tydiqa": "tydiqa-goldp-v1.1-dev.json",
        "amqa": "dev_data.json",
        "xor_tydi": "gp_squad_dev_data.json",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text, encoding="utf-8")
    write(tmp_path / "hub" / "secondary_task" / "validation-0.parquet", [table])
    for name, folder, row in (
        ("tydiqa", "tydiqa", "data[0].paragraphs[0].qas[0]"),
        ("amqa", "amqa", "data[0].paragraphs[0].qas[0]"),
        ("xor_tydi", "xor_tydi", "data[0].paragraphs[0].qas[0]"),
        ("tydiqa", "hub", 1),
    ):
        assert source(name).has_offsets
        with pytest.raises(DataError) as error:
            load_benchmark(name, tmp_path / folder)
        assert (error.value.row, error.value.key) == (row, "answer_start")
        loaded = load_benchmark(name, tmp_path / folder, convert_offsets=True)
        assert loaded.dropped == {f"{CONVERTED} UTF-8 bytes": 1}
        assert [end for _, end in loaded.answers.values()] == [MEER + len("Meer")]


# ---- whatever is written comes back, whatever is broken is named

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
few = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@st.composite
def paragraphs_of(draw: st.DrawFn) -> list[tuple[str, list[tuple[str, int, str]]]]:
    """Contexts with questions, each with an answer that is a piece of the context."""
    loaded = []
    for context in draw(st.lists(texts, min_size=1, max_size=3, unique=True)):
        questions = []
        for question in draw(st.lists(texts, min_size=1, max_size=2)):
            start = draw(st.integers(0, len(context) - 1))
            end = draw(st.integers(start + 1, len(context)))
            questions.append((question, start, context[start:end]))
        loaded.append((context, questions))
    return loaded


def as_rows(paragraphs: list[tuple[str, list[tuple[str, int, str]]]]) -> list[Row]:
    numbers = iter(range(100))
    return [
        {
            "id": str(next(numbers)),
            "context": context,
            "question": question,
            "answers": {"text": [answer], "answer_start": [start]},
        }
        for context, questions in paragraphs
        for question, start, answer in questions
    ]


@few
@given(paragraphs_of(), st.sampled_from(["json", "parquet"]), st.data())
def test_whatever_is_written_comes_back_and_whatever_is_broken_is_named(
    paragraphs: list[tuple[str, list[tuple[str, int, str]]]], kind: str, data: st.DataObject
) -> None:
    rows = as_rows(paragraphs)
    with tempfile.TemporaryDirectory() as place:
        path = write(Path(place) / f"x.{kind}", rows)
        loaded = ParagraphReader("x").read(path)
        assert [
            (p.context, [(q.text, q.answer_start, *q.answers) for q in p.questions]) for p in loaded
        ] == paragraphs
        assert not any(q.remark for p in loaded for q in p.questions)

        at = data.draw(st.integers(0, len(rows) - 1))
        key = data.draw(st.sampled_from(["id", "question", "answers"]))
        rows[at][key] = None
        write(path, rows)
        with pytest.raises(DataError) as error:
            ParagraphReader("x").read(path)
        assert (error.value.file, error.value.key) == (str(path), key)
        skipped = Counter[str]()
        rest = ParagraphReader("x", skipped=skipped).read(path)
        assert skipped == {f"malformed rows of {path.name}": 1}
        assert sum(len(p.questions) for p in rest) == len(rows) - 1
