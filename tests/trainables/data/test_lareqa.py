from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trainables.data.benchmark import Benchmark
from trainables.data.catalog import load_benchmark, source
from trainables.data.source import Request
from trainables.data.sources.lareqa import NO_TARGET, load_lareqa, train_on_lareqa
from trainables.errors import DataError, UserError

SIZES = {
    "ar": 1222,
    "de": 1276,
    "el": 1234,
    "en": 1180,
    "es": 1215,
    "hi": 1244,
    "ru": 1219,
    "th": 852,
    "tr": 1167,
    "vi": 1209,
    "zh": 1196,
}


def paragraph(sentences: list[str], qas: list[tuple[str, str, int]]) -> dict[str, Any]:
    """Sentences joined by a blank; questions as (id, text, answer_start)."""
    context, breaks, at = " ".join(sentences), [], 0
    for sentence in sentences:
        breaks.append([at, at + len(sentence)])
        at += len(sentence) + 1
    return {
        "context": context,
        "sentence_breaks": breaks,
        "sentences": sentences,
        "qas": [
            {
                "id": i,
                "question": text,
                "answers": [{"text": context[start : start + 2], "answer_start": start}],
            }
            for i, text, start in qas
        ],
    }


def write(folder: Path, language: str, articles: list[list[dict[str, Any]]], **more: Any) -> None:
    document = {"data": [{"paragraphs": paragraphs, **more} for paragraphs in articles]}
    (folder / f"{language}.json").write_text(json.dumps(document), encoding="utf-8")


def request(folder: Path, **more: Any) -> Request:
    """For the languages whose files are there."""
    there = tuple(sorted(path.stem for path in folder.glob("*.json")))
    return Request(source("xquad_r"), folder, **{"languages": there or None, **more})


def load(folder: Path, **more: Any) -> Benchmark:
    return load_lareqa(request(folder, **more))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two articles in German and English; sentences are divided differently."""
    write(
        tmp_path,
        "en",
        [
            [paragraph(["One two.", "Three."], [("a", "q a?", 4), ("b", " q b?", 9)])],
            [paragraph(["Four\nfive.", "Same.", "Same."], [("c", "q b? ", 10), ("d", "q d?", 0)])],
        ],
    )
    write(
        tmp_path,
        "de",
        [
            [paragraph(["Eins zwei. Drei."], [("a", "f a?", 5), ("b", "f b?", 11)])],
            [paragraph(["Vier fünf.", "Gleich."], [("c", "f c?", 11), ("e", "f e?", 10)])],
        ],
    )
    return tmp_path


def test_small_files_by_hand(small: Path) -> None:
    found = load(small)
    assert found.languages == ("de", "en")
    assert [c.id for c in found.corpus["en"]] == ["en_0_0", "en_0_1", "en_1_0", "en_1_1", "en_1_2"]
    assert found.corpus["en"][2].text == "Fourfive.Fourfive. Same. Same."
    # Answer of c at 10 lies between sentences of the English file, answer of e in the German one.
    assert [q.id for q in found.queries["en"]] == ["en:a", "en:b", "en:d"]
    assert [q.id for q in found.queries["de"]] == ["de:a", "de:b", "de:c"]
    assert found.dropped == {NO_TARGET: 2}
    assert found.qrels == {
        "de:a": {"de_0_0": 1, "en_0_0": 1},
        "de:b": {"de_0_0": 1, "en_0_1": 1},
        "de:c": {"de_1_1": 1},
        "en:a": {"de_0_0": 1, "en_0_0": 1},
        "en:b": {"de_0_0": 1, "en_0_1": 1},
        "en:d": {"en_1_0": 1},
    }
    assert [q.cluster for q in found.queries["de"]] == [
        "en-article-0",
        "en-article-0",
        "en-article-1",
    ]


def test_equal_sentences_of_the_paragraph_are_all_relevant(tmp_path: Path) -> None:
    write(tmp_path, "en", [[paragraph(["Yes.", "No.", "Yes."], [("a", "q?", 10)])]])
    write(tmp_path, "tr", [[paragraph(["Evet."], [("z", "q?", 0)])]])
    assert load(tmp_path).qrels["en:a"] == {"en_0_0": 1, "en_0_2": 1}


def test_sentence_alone_and_titles(tmp_path: Path) -> None:
    write(tmp_path, "en", [[paragraph(["Yes.", "No."], [("a", "q?", 0)])]], title="Answers")
    found = load(tmp_path, text="sentence")
    assert [c.text for c in found.corpus["en"]] == ["Yes.", "No."]
    assert found.queries["en"][0].cluster == "Answers"


def test_articles_keep_their_numbers(small: Path) -> None:
    found = load(small, part="held-out")
    assert [c.id for c in found.corpus["de"]] == ["de_1_0", "de_1_1"]
    write(small, "de", [[paragraph(["Eins."], [("a", "f a?", 0)])]])
    write(small, "en", [[paragraph(["One."], [("a", "q a?", 0)])]])
    with pytest.raises(UserError, match="none of the articles"):
        load(small, part="held-out")


def test_articles_that_are_not_parallel_are_not_divided(tmp_path: Path) -> None:
    one, two = [paragraph(["A."], [("a", "q?", 0)])], [paragraph(["B."], [("b", "q?", 0)])]
    write(tmp_path, "de", [one, two])
    write(tmp_path, "en", [two, one])
    assert load(tmp_path).dropped == {}
    with pytest.raises(UserError, match=r"'b' is in article 1 of de\.json but 0 of en\.json"):
        load(tmp_path, part="articles")


def test_training_pairs_name_golds_in_one_language(small: Path) -> None:
    found = train_on_lareqa(request(small))
    assert list(found.questions) == ["a", "b", "d", "c"]
    assert list(found.golds) == ["en_0_0", "en_0_1", "en_1_0", "de_1_1"]
    assert list(found.queries["de"]) == ["f a?", "f b?", None, "f c?"]
    assert found.passages["de"][0] == found.passages["de"][1]
    assert found.passages["en"][3] is None
    assert list(found.restrict(["de", "en"]).questions) == ["a", "b"]


def first(document: dict[str, Any]) -> dict[str, Any]:
    """Of `good`, its paragraph."""
    entry: dict[str, Any] = document["data"][0]["paragraphs"][0]
    return entry


def question_of(document: dict[str, Any]) -> dict[str, Any]:
    """Of `good`, its question."""
    entry: dict[str, Any] = first(document)["qas"][0]
    return entry


def good() -> dict[str, Any]:
    return {"data": [{"paragraphs": [paragraph(["Yes.", "No."], [("a", "q?", 0)])]}]}


@pytest.mark.parametrize(
    ("spoil", "row", "key"),
    [
        (lambda d: d.pop("data"), None, "data"),
        (lambda d: d.update(data={}), None, "data"),
        (lambda d: d["data"][0].pop("paragraphs"), "data[0]", "paragraphs"),
        (lambda d: d["data"].append("x"), "data[1]", None),
        (lambda d: first(d).pop("context"), "data[0].paragraphs[0]", "context"),
        (lambda d: first(d).update(context=" "), "data[0].paragraphs[0]", "context"),
        (lambda d: first(d).pop("qas"), "data[0].paragraphs[0]", "qas"),
        (lambda d: first(d).pop("sentence_breaks"), "data[0].paragraphs[0]", "sentence_breaks"),
        (
            lambda d: first(d)["sentence_breaks"].append([5, 99]),
            "data[0].paragraphs[0]",
            "sentence_breaks",
        ),
        (lambda d: first(d)["qas"].append(question_of(d)), "data[0].paragraphs[0].qas[1]", "id"),
        (lambda d: question_of(d).update(id=7.5), "data[0].paragraphs[0].qas[0]", "id"),
        (lambda d: question_of(d).update(question=""), "data[0].paragraphs[0].qas[0]", "question"),
        (lambda d: question_of(d).pop("answers"), "data[0].paragraphs[0].qas[0]", "answers"),
        (
            lambda d: question_of(d)["answers"][0].pop("answer_start"),
            "data[0].paragraphs[0].qas[0]",
            "answer_start",
        ),
        (
            lambda d: question_of(d)["answers"][0].pop("text"),
            "data[0].paragraphs[0].qas[0]",
            "text",
        ),
    ],
)
def test_what_is_broken_is_named_by_file_row_and_key(
    tmp_path: Path, spoil: Any, row: str | None, key: str | None
) -> None:
    document = good()
    spoil(document)
    path = tmp_path / "en.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError) as error:
        load(tmp_path)
    assert (error.value.file, error.value.row, error.value.key) == (str(path), row, key)
    if row is not None:
        skipped = Counter[str]()
        load(tmp_path, skipped=skipped)
        assert skipped == {"malformed rows of en.json": 1}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no <language>\.json"):
        load(tmp_path)
    text = json.dumps(good())
    (tmp_path / "en.json").write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"en\.json is not complete JSON"):
        load(tmp_path)
    with pytest.raises(DataError) as absent:
        load(tmp_path, languages=("fr",))
    assert (absent.value.file, absent.value.key) == (str(tmp_path), "language")
    (tmp_path / "en.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        load(tmp_path)


def test_xquad_r_is_the_published_one(shared: Path) -> None:
    found = load_benchmark("xquad_r", shared / "data" / "xquad-r")
    assert {la: len(items) for la, items in found.corpus.items()} == SIZES
    assert sum(SIZES.values()) == 13_014
    assert sum(map(len, found.queries.values())) == 13_090
    assert not found.dropped
    assert {len(gains) for gains in found.qrels.values()} == {11}
    assert len({q.cluster for q in found.queries["th"]}) == 48
    pairs = train_on_lareqa(request(shared / "data" / "xquad-r", languages=("en", "th")))
    assert len(pairs.questions) == 1190
    assert len(set(pairs.golds)) == len(set(pairs.passages["en"]))
