"""Every loader on files of its source's real format, and on the real files where they are."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tests.trainables.data.samples import write_lines, write_text
from trainables.data.benchmark import Benchmark
from trainables.data.catalog import (
    load_benchmark,
    load_training,
    open_benchmark,
    reference,
    source,
)
from trainables.data.formats.trec import read_qrels
from trainables.data.languages import bcp47
from trainables.data.sources.xor_tydi import answer_recall, read_answers
from trainables.data.worlds.scenes import png
from trainables.errors import DataError, UserError


def sizes(benchmark: Benchmark) -> dict[str, tuple[int, int]]:
    """Language to queries and candidates."""
    return {
        la: (len(benchmark.queries.get(la, ())), len(benchmark.corpus.get(la, ())))
        for la in sorted({*benchmark.queries, *benchmark.corpus})
    }


def squad(*articles: tuple[str, str, list[tuple[str, str]]], **more: Any) -> str:
    """A SQuAD document of (title, context, [(id, question)])."""
    return json.dumps(
        {
            "data": [
                {
                    "title": title,
                    "paragraphs": [
                        {
                            "context": context,
                            "qas": [
                                {"id": i, "question": q, "answers": [], **more} for i, q in asked
                            ],
                        }
                    ],
                }
                for title, context, asked in articles
            ]
        }
    )


# ---- the real files: counts as their READMEs have them


def test_tydiqa_train_is_the_published_one(shared: Path) -> None:
    folder = shared / "data" / "tydiqa-goldp-train"
    found = load_benchmark("tydiqa", folder, part="train")
    assert sizes(found) == {"en": (3696, 3429), "ko": (1625, 1269), "sw": (2755, 1687)}
    assert not found.judged_in_all_languages
    assert all(len(gains) == 1 for gains in found.qrels.values())
    parts = [load_benchmark("tydiqa", folder, part=part) for part in ("articles", "held-out")]
    asked = [{q.question for items in b.queries.values() for q in items} for b in parts]
    articles = [{q.cluster for items in b.queries.values() for q in items} for b in parts]
    texts = [{c.text for items in b.corpus.values() for c in items} for b in parts]
    assert len(asked[0] | asked[1]) == 8076
    for trained, held_out in (asked, texts, articles):
        assert trained
        assert held_out
        assert not trained & held_out
    rows = load_training("tydiqa", folder, ["sw"], part="articles")
    assert set(rows.questions) < asked[0]


def test_afriqa_has_the_published_rows(shared: Path) -> None:
    published = {
        "dev": {"bem": 235, "fon": 289, "ha": 225, "ig": 307, "rw": 260, "tw": 368, "zu": 244},
        "train": {"bem": 234, "fon": 289, "ha": 225, "ig": 306, "rw": 259, "tw": 367,
                  "yo": 248, "zu": 243},
    }  # fmt: skip
    for part, rows in published.items():
        for language, number in rows.items():
            found = load_benchmark("afriqa", shared / "data" / "afriqa", [language], part=part)
            pivot = "fr" if language == "fon" else "en"
            assert list(found.corpus) == [pivot]
            assert len(found.queries[language]) == len(found.queries[pivot])
            assert len(found.queries[language]) + sum(found.dropped.values()) == number
    whole = load_benchmark("afriqa", shared / "data" / "afriqa")
    assert not whole.judged_in_all_languages
    assert whole.dropped == {"questions without a passage": 73}


@pytest.mark.parametrize(("part", "counts"), [("dev", (600, 57)), ("train", (1723, 286))])
def test_amqa_is_the_published_one(shared: Path, part: str, counts: tuple[int, int]) -> None:
    found = load_benchmark("amqa", shared / "data" / "amqa", part=part)
    assert sizes(found) == {"am": counts}
    assert load_training("amqa", shared / "data" / "amqa", part=part).languages == ("am",)


def test_mkqa_of_mia_is_the_published_one(shared: Path) -> None:
    found = load_benchmark("mkqa", shared / "data" / "mkqa-mia2022")
    languages = ["ar", "en", "es", "fi", "ja", "km", "ko", "ms", "ru", "sv", "tr", "zh-CN"]
    assert {la: len(items) for la, items in found.queries.items()} == dict.fromkeys(languages, 1758)
    assert found.judged_in_all_languages
    assert len({query.question for items in found.queries.values() for query in items}) == 1758
    assert not found.dropped


def test_mr_tydi_topics_and_qrels_are_the_published_ones(shared: Path) -> None:
    published = {
        "ar": (3115, 3115), "bn": (440, 443), "en": (878, 878), "fi": (1738, 1738),
        "id": (1224, 1224), "ja": (928, 928), "ko": (303, 307), "ru": (1375, 1375),
        "sw": (526, 623), "te": (983, 983), "th": (807, 817),
    }  # fmt: skip
    found = load_benchmark("mr_tydi", shared / "data" / "mrtydi-dev")
    for language, (topics, judgements) in published.items():
        assert len(found.queries[language]) == topics
        assert sum(len(found.qrels[q.id]) for q in found.queries[language]) == judgements
    with pytest.raises(UserError, match=r"mr_tydi cannot be evaluated: .* not the passages"):
        found.refuse_if_incomplete()


def test_miracl_topics_and_qrels_are_the_published_ones(shared: Path) -> None:
    published = {
        "bn": (1631, 16754, 3859), "sw": (1901, 9359, 2687), "te": (3452, 18608, 4119),
        "th": (2972, 21293, 4778),
    }  # fmt: skip
    folder = shared / "data" / "miracl-train"
    found = load_benchmark("miracl", folder, part="train")
    for language, (topics, judgements, relevant) in published.items():
        path = folder / "qrels" / f"qrels.miracl-v1.0-{language}-train.tsv"
        assert len(found.queries[language]) == topics
        assert sum(map(len, read_qrels(path, "miracl").values())) == judgements
        assert sum(len(found.qrels[q.id]) for q in found.queries[language]) == relevant
    total = sum(judgements - relevant for _, judgements, relevant in published.values())
    assert found.dropped == {"passages judged as not relevant": total}
    assert "bn, sw, te, th" in found.refusal


def test_squad_translations_are_the_published_ones(shared: Path) -> None:
    folder = shared / "data" / "squad-dev-translations"
    for language, rows in (("es", 6583), ("it", 7609)):
        found = load_training("squad_translated", folder, [language], part="dev")
        assert len(found.questions) == rows
    assert len(load_training("squad_translated", folder, part="dev").questions) == 4539


# ---- files of the same format


def test_tydiqa_of_the_hub_and_the_official_file_agree(tmp_path: Path) -> None:
    rows = [
        ("swahili-1-0", "Chungwa", "Machungwa hulimwa.", "Nini?"),
        ("swahili--2-1", "Chungwa", "Machungwa hulimwa.", "Wapi?"),
        ("finnish-3-0", "Turku", "Turku on kaupunki.", "Mikä?"),
    ]
    hub, official = tmp_path / "hub" / "secondary_task", tmp_path / "official"
    hub.mkdir(parents=True)
    official.mkdir()
    columns = [
        {
            "id": i,
            "title": t,
            "context": c,
            "question": q,
            "answers": {"text": [c[0]], "answer_start": [0]},
        }
        for i, t, c, q in rows
    ]
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(columns), hub / "validation-00000-of-00001.parquet"
    )
    articles = json.loads(squad(*((title, text, [(i, q)]) for i, title, text, q in rows)))
    for article in articles["data"]:
        [paragraph] = article["paragraphs"]
        answer = {"text": paragraph["context"][0], "answer_start": 0}
        paragraph["qas"][0]["answers"] = [answer]
    document = json.dumps(articles)
    (official / "tydiqa-goldp-v1.1-dev.json").write_text(document, encoding="utf-8")
    found = load_benchmark("tydiqa", official)
    assert sizes(found) == {"fi": (1, 1), "sw": (2, 1)}
    assert load_benchmark("tydiqa", hub.parent) == found
    assert found.answers["fi:finnish-3-0"] == ("fi_0", 1)
    assert found.queries["sw"][1].cluster == "Chungwa"
    ref = reference("tydiqa", official)
    assert (ref.part, ref.languages) == ("dev", ("fi", "sw"))
    assert open_benchmark(ref, {ref.digest: str(official)}) == found
    with pytest.raises(UserError, match=r"no question of language 'te'.*there is fi, sw"):
        load_benchmark("tydiqa", official, ["te"])
    (official / "tydiqa-goldp-v1.1-train.json").write_text(document, encoding="utf-8")
    with pytest.raises(UserError, match="no row of it exists in two languages"):
        load_training("tydiqa", official)


def test_xor_tydi(tmp_path: Path) -> None:
    articles = json.loads(squad(("title: Turku _parentSection: A", "Turku is old.", []),
                                ("title: Nile _parentSection: B", "The Nile.", [])))  # fmt: skip
    asked = [("7", "Mikä?", "fi"), ("8", "何?", "ja")]
    for entry, (identity, question, language) in zip(articles["data"], asked, strict=True):
        entry["paragraphs"][0]["qas"] = [
            {"id": identity, "question": question, "lang": language, "answers": []}
        ]
    (tmp_path / "gp_squad_dev_data.json").write_text(json.dumps(articles), encoding="utf-8")
    found = load_benchmark("xor_tydi", tmp_path)
    assert sizes(found) == {"en": (0, 2), "fi": (1, 0), "ja": (1, 0)}
    assert found.queries["fi"][0].cluster == "Turku"
    some = load_benchmark("xor_tydi", tmp_path, ["ja"])
    assert sizes(some) == {"en": (0, 2), "ja": (1, 0)}
    assert some.qrels == {"ja:8": {"en_1": 1.0}}
    with pytest.raises(UserError, match="xor_tydi cannot be trained on: its passages are English"):
        load_training("xor_tydi", tmp_path)


def test_answer_recall_looks_at_the_first_tokens(tmp_path: Path) -> None:
    path = tmp_path / "xor_dev_retrieve_eng_span_v1_1.jsonl"
    write_lines(
        path,
        [
            {"id": "1", "lang": "fi", "answers": ["old town"]},
            {"id": "2", "lang": "fi", "answers": ["sea"]},
            {"id": "3", "lang": "ja", "answers": ["yes"]},
            {"id": "4", "lang": "te", "answers": ["no", "hill"]},
        ],
    )
    passages = {"1": ["the old", "town here"], "2": ["one two three", "sea"], "4": []}
    found = answer_recall(passages, read_answers(path), tokens=3)
    assert found == {"fi": 0.5, "te": 0.0, "macro": 0.25}
    assert answer_recall(passages, read_answers(path), tokens=4)["fi"] == 1.0


def write_mr_tydi(folder: Path) -> None:
    inside = folder / "mrtydi-v1.1-swahili"
    write_text(inside / "ir-format-data" / "topic.dev.tsv", "1\tWapi?", "2\tNani?")
    write_text(inside / "ir-format-data" / "qrels.dev.txt", "1 Q0 8#1 1", "2 Q0 8#0 1")
    write_lines(
        inside / "corpus.jsonl.gz",
        [{"docid": "8#0", "title": "A", "text": "x"}, {"docid": "8#1", "title": "A", "text": "y"}],
    )
    row = {"query_id": "9", "query": "Lini?", "negative_passages": []}
    passage = {"docid": "8#0", "title": "A", "text": "x"}
    write_lines(inside / "train.jsonl.gz", [row | {"positive_passages": [passage]}])


def test_mr_tydi_with_passages_and_rows(tmp_path: Path) -> None:
    write_mr_tydi(tmp_path)
    found = load_benchmark("mr_tydi", tmp_path)
    assert sizes(found) == {"sw": (2, 2)}
    assert found.corpus["sw"][1].text == "A y"
    assert found.qrels["sw:1"] == {"sw:8#1": 1.0}
    assert found.queries["sw"][0].cluster == "sw:8"
    found.refuse_if_incomplete()
    rows = load_training("mr_tydi", tmp_path)
    assert (list(rows.questions), list(rows.passages["sw"])) == (["sw:9"], ["A x"])
    trained = reference("mr_tydi", tmp_path, training=True)
    assert trained.digest != reference("mr_tydi", tmp_path, part="dev").digest


def test_miracl_shards_are_read_in_natural_order(tmp_path: Path) -> None:
    base = tmp_path / "miracl-v1.0-sw"
    write_text(base / "topics" / "topics.miracl-v1.0-sw-dev.tsv", "1\tWapi?")
    write_text(base / "qrels" / "qrels.miracl-v1.0-sw-dev.tsv", "1\tQ0\t10#0\t1", "1\tQ0\t2#0\t0")
    for shard in range(11):
        row = {"docid": f"{shard}#0", "title": "", "text": f"text {shard}"}
        write_lines(tmp_path / "miracl-corpus-v1.0-sw" / f"docs-{shard}.jsonl.gz", [row])
    found = load_benchmark("miracl", tmp_path)
    assert [c.id for c in found.corpus["sw"]] == [f"sw:{i}#0" for i in range(11)]
    assert found.qrels == {"sw:1": {"sw:10#0": 1.0}}
    assert not found.refusal
    write_text(base / "qrels" / "qrels.miracl-v1.0-sw-dev.tsv", "1\tQ0\t11#0\t1")
    with pytest.raises(UserError, match="'sw:11#0', which no corpus holds"):
        load_benchmark("miracl", tmp_path)


def belebele_row(link: str, number: int, language: str) -> dict[str, Any]:
    return {
        "link": link,
        "question_number": number,
        "flores_passage": f"{language} passage {link}",
        "question": f"{language} question {link} {number}",
        "mc_answer1": "a",
        "correct_answer_num": "1",
        "dialect": language,
        "ds": "2023-05-03",
    }


def test_belebele_is_parallel_by_link_and_number(tmp_path: Path) -> None:
    for code in ("swh_Latn", "hin_Latn", "zho_Hant"):
        keys = [("u1", 1), ("u1", 2), ("u2", 1)]
        write_lines(tmp_path / f"{code}.jsonl", [belebele_row(*key, code) for key in keys])
    found = load_benchmark("belebele", tmp_path)
    assert sizes(found) == {"hi-Latn": (3, 2), "sw": (3, 2), "zh-Hant": (3, 2)}
    assert found.qrels["sw:u1#2"] == {"hi-Latn:u1": 1.0, "sw:u1": 1.0, "zh-Hant:u1": 1.0}
    assert found.judged_in_all_languages
    assert found.queries["sw"][2].cluster == "u2"
    assert list(load_benchmark("belebele", tmp_path, ["sw"]).qrels["sw:u2#1"]) == ["sw:u2"]


def test_languages_are_bcp47() -> None:
    assert len({bcp47(code) for code in source("belebele").codes.values()}) == 122
    codes = {"swahili": "sw", "twi": "tw", "arb_Latn": "ar-Latn", "zh_cn": "zh-CN"}
    codes |= {"hin_Deva": "hi", "ceb_Latn": "ceb", "zh-Hant": "zh-Hant"}
    for code, expected in codes.items():
        assert bcp47(code) == expected
        assert bcp47(expected) == expected
    with pytest.raises(UserError, match="not a language"):
        bcp47("english2")


def test_mkqa_itself(tmp_path: Path) -> None:
    def answer(text: str | None, *aliases: str) -> dict[str, Any]:
        return {"type": "entity", "text": text, "aliases": list(aliases)}

    write_lines(
        tmp_path / "mkqa.jsonl.gz",
        [
            {"example_id": 1, "queries": {"en": "who", "zh_cn": "谁"},
             "answers": {"en": [answer("Ann", "Anna")], "zh_cn": [answer("安")]}},
            {"example_id": -2, "queries": {"en": "why", "zh_cn": "为什么"},
             "answers": {"en": [answer(None)], "zh_cn": [answer(None)]}},
        ],
    )  # fmt: skip
    found = load_benchmark("mkqa", tmp_path)
    assert sizes(found) == {"en": (1, 2), "zh-CN": (1, 1)}
    assert found.qrels["en:1"] == {"en_0": 1.0, "en_1": 1.0, "zh-CN_0": 1.0}
    assert found.dropped == {"questions without an answer string": 2}


def test_mteb_shapes(tmp_path: Path) -> None:
    beir = tmp_path / "beir"
    write_lines(beir / "corpus.jsonl", [{"_id": "d1", "title": "T", "text": "one"}])
    write_lines(beir / "queries.jsonl", [{"_id": "q1", "text": "which"}])
    write_text(beir / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore", "q1\td1\t1")
    found = load_benchmark("mteb", beir, ["sw"])
    assert found.qrels == {"sw:q1": {"sw:d1": 1.0}}
    assert found.corpus["sw"][0].text == "T one"
    with pytest.raises(UserError, match="do not say their language"):
        load_benchmark("mteb", beir)
    hub = tmp_path / "hub"
    for folder, rows in {
        "sw-corpus": [{"_id": "d1", "title": "T", "text": "one"}],
        "sw-queries": [{"_id": "q1", "text": "which"}],
        "sw-qrels": [{"query-id": "q1", "corpus-id": "d1", "score": 1}],
    }.items():
        (hub / folder).mkdir(parents=True)
        path = hub / folder / "test-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert load_benchmark("mteb", hub) == found


def write_jsonl(folder: Path) -> None:
    write_lines(
        folder / "queries.jsonl",
        [{"id": "a", "language": "swahili", "text": "Nini?", "question": "1", "article": "A"},
         {"id": "b", "language": "en", "text": "What?", "question": "1", "article": "A"}],
    )  # fmt: skip
    write_lines(
        folder / "corpus.jsonl",
        [{"id": "s", "language": "sw", "text": "Hiki."},
         {"id": "e", "language": "en", "title": "T", "text": "This."}],
    )  # fmt: skip
    rows = [{"query": q, "candidate": c} for q in "ab" for c in "se"]
    write_lines(folder / "qrels.jsonl", [*rows[:3], rows[3] | {"gain": 2}])


@pytest.mark.parametrize("name", ["jsonl", "ndqa"])
def test_own_data_in_the_documented_format(tmp_path: Path, name: str) -> None:
    write_jsonl(tmp_path)
    write_jsonl(tmp_path / "dev")
    found = load_benchmark(name, tmp_path)
    assert sizes(found) == {"en": (1, 1), "sw": (1, 1)}
    assert found.judged_in_all_languages
    assert found.qrels["b"] == {"s": 1.0, "e": 2.0}
    assert (found.queries["sw"][0].question, found.queries["sw"][0].cluster) == ("1", "A")
    assert load_benchmark(name, tmp_path, part="dev").qrels == found.qrels
    one = load_benchmark(name, tmp_path, ["en"])
    assert (sizes(one), one.qrels) == ({"en": (1, 1)}, {"b": {"e": 2.0}})
    write_lines(tmp_path / "qrels.jsonl", [{"query": "a", "candidate": "s"}])
    assert not load_benchmark(name, tmp_path).judged_in_all_languages


def test_own_training_data(tmp_path: Path) -> None:
    row = {"queries": {"de": "Was?", "en": "What?"}, "passages": {"de": "Das.", "en": "This."}}
    gap = {"queries": {"de": "Wer?"}, "passages": {"de": "Der."}}
    write_lines(
        tmp_path / "train.jsonl",
        [{"id": "1", "gold": "g", "article": "A", **row}, {"id": 2, **gap}],
    )
    found = load_training("jsonl", tmp_path)
    assert (list(found.questions), list(found.golds)) == (["1"], ["g"])
    assert list(load_training("jsonl", tmp_path, ["de"]).questions) == ["1", "2"]
    given = {"de": [{"id": "h", "text": "Dies."}, {"id": "g", "text": "Das."}]}
    write_lines(tmp_path / "train.jsonl", [{"id": "1", **row, "negatives": given}])
    hard = load_training("jsonl", tmp_path, negatives=True).negatives
    assert [(c.id, c.text) for c in hard["de"][0]] == [("h", "Dies."), ("g", "Das.")]
    assert hard["en"] == [[]]
    write_lines(tmp_path / "train.jsonl", [{"id": "1", **row, "negatives": {"de": "x"}}])
    with pytest.raises(UserError, match="row 1: 'negatives' must map languages to lists"):
        load_training("jsonl", tmp_path, negatives=True)


def write_mmarco(folder: Path) -> None:
    write_text(
        folder / "triples.train.ids.small.tsv",
        "7\t1\t2",
        "8\t2\t3",
        "7\t1\t3",
        "7\t2\t3",
        "9\t3\t1",
    )
    for language in ("german", "english"):
        write_text(folder / f"{language}_collection.tsv", *(f"{n}\t{language} {n}" for n in "123"))
        write_text(
            folder / f"{language}_queries.train.tsv", *(f"{n}\t{language}? {n}" for n in "789")
        )


def test_mmarco(tmp_path: Path) -> None:
    write_mmarco(tmp_path)
    found = load_training("mmarco", tmp_path)
    assert (list(found.questions), list(found.golds)) == (["7", "8", "9"], ["1", "2", "3"])
    assert list(found.passages["de"]) == ["german 1", "german 2", "german 3"]
    assert list(found.other_golds) == [["2"], [], []]
    hard = load_training("mmarco", tmp_path, negatives=True).negatives
    assert [[c.id for c in some] for some in hard["de"]] == [["2", "3"], ["3"], ["1"]]
    assert hard["en"][0][0].text == "english 2"
    assert list(load_training("mmarco", tmp_path, part="first-2").questions) == ["7", "8"]
    with pytest.raises(UserError, match="no part 'last'; there is train, and first-N"):
        load_training("mmarco", tmp_path, part="last")
    with pytest.raises(UserError, match="mmarco is training data and cannot be evaluated"):
        load_benchmark("mmarco", tmp_path)
    write_text(tmp_path / "german_collection.tsv", "1\teins")
    with pytest.raises(UserError, match="passage 2 of the triples is not in the de file"):
        load_training("mmarco", tmp_path)


def test_xtreme_translations(tmp_path: Path) -> None:
    for name, text in (("squad.translate.train.en-de", "Text."), ("train-v1.1", "Text.")):
        document = squad(("A", text, [("5733", f"{name}?")]))
        (tmp_path / f"{name}.json").write_text(document, encoding="utf-8")
    found = load_training("squad_translated", tmp_path)
    assert (found.languages, list(found.clusters)) == (("de", "en"), ["A"])


# ---- what is wrong, named precisely


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "c", "language": "sw"}\n', r"queries.jsonl, row 3: no key 'text'; keys are 'id'"),
        (b'{"id": "c", "language": "sw", "text": " "}\n', "row 3: 'text' is blank"),
        (b'{"id": "a", "language": "sw", "text": "x"}\n', "row 3: id 'a' is used twice"),
        (b'{"id": "c"\n', "row 3: not JSON"),
        (b'{"id": "c", "text": "\xff"}\n', "row 3: not UTF-8 text at byte 21"),
        (b"[1]\n", "row 3: an object is expected, not list"),
    ],
)
def test_malformed_rows_are_named_and_skipped_by_request(
    tmp_path: Path, line: bytes, message: str
) -> None:
    write_jsonl(tmp_path)
    whole = load_benchmark("jsonl", tmp_path)
    with (tmp_path / "queries.jsonl").open("ab") as file:
        file.write(line)
    with pytest.raises(UserError, match=message):
        load_benchmark("jsonl", tmp_path)
    found = load_benchmark("jsonl", tmp_path, skip_malformed=True)
    assert found.qrels == whole.qrels
    assert found.dropped == {"malformed rows of queries.jsonl": 1}
    ref = reference("jsonl", tmp_path, skip_malformed=True)
    assert ref.skip_malformed is True
    assert open_benchmark(ref, {ref.digest: str(tmp_path)}) == found


def test_malformed_squad_is_skipped_by_request(tmp_path: Path) -> None:
    document = json.loads(squad(("A", "Text.", [("finnish-1", "q?"), ("finnish-2", "r?")])))
    del document["data"][0]["paragraphs"][0]["qas"][1]["question"]
    (tmp_path / "tydiqa-goldp-v1.1-dev.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(DataError) as error:
        load_benchmark("tydiqa", tmp_path)
    assert (error.value.row, error.value.key) == ("data[0].paragraphs[0].qas[1]", "question")
    found = load_benchmark("tydiqa", tmp_path, skip_malformed=True)
    assert sizes(found) == {"fi": (1, 1)}
    assert found.dropped == {"malformed rows of tydiqa-goldp-v1.1-dev.json": 1}


def test_files_that_are_broken_or_missing(tmp_path: Path) -> None:
    write_mr_tydi(tmp_path)
    corpus = tmp_path / "mrtydi-v1.1-swahili" / "corpus.jsonl.gz"
    corpus.write_bytes(corpus.read_bytes()[:-12])
    with pytest.raises(UserError, match=r"corpus.jsonl.gz is a broken archive"):
        load_benchmark("mr_tydi", tmp_path)
    with pytest.raises(UserError, match=r"no topics of part dev of language 'fi'.*there is sw"):
        load_benchmark("mr_tydi", tmp_path, ["fi"])
    with pytest.raises(UserError, match="mr_tydi has no language 'xx'; it has ar, bn"):
        load_benchmark("mr_tydi", tmp_path, ["xx"])
    with pytest.raises(UserError, match=r"data show belebele. says which files"):
        load_benchmark("belebele", tmp_path)
    with pytest.raises(UserError, match=r"belebele is read from files.*--data-dir DIR"):
        load_benchmark("belebele")
    (tmp_path / "mkqa_dev.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"mkqa_dev.zip: File is not a zip file"):
        load_benchmark("mkqa", tmp_path)
    with zipfile.ZipFile(tmp_path / "mkqa_dev.zip", "w") as archive:
        archive.writestr("mkqa_dev/mkqa-en.jsonl", '{"id": "1_en", "lang": "en"}\n')
    with pytest.raises(UserError, match=r"mkqa-en.jsonl, row 1: no key 'answers'"):
        load_benchmark("mkqa", tmp_path)


def test_a_folder_of_the_source_s_name_is_found(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "jsonl")
    assert load_benchmark("jsonl", tmp_path) == load_benchmark("jsonl", tmp_path / "jsonl")


def test_the_documentation_names_every_source_and_its_examples_load(tmp_path: Path) -> None:
    from trainables.data.catalog import table

    text = (Path(__file__).resolve().parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    assert not [name for name, source in table().items()
                if not source.embedded and f"| `{name}` |" not in text]  # fmt: skip
    blocks = [block.partition("```")[0] for block in text.split("```json\n")[1:]]
    names = ("queries", "corpus", "qrels", "train", "captions")
    for name, block in zip(names, blocks, strict=True):
        (tmp_path / f"{name}.jsonl").write_text(block, encoding="utf-8")
    assert sizes(load_benchmark("jsonl", tmp_path)) == {"en": (1, 1), "sw": (1, 1)}
    assert load_training("jsonl", tmp_path, negatives=True).languages == ("en", "sw")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "17.jpg").write_bytes(png(np.zeros((2, 2, 3), dtype=np.uint8)))
    album = load_benchmark("captions", tmp_path)
    assert {la: len(found) for la, found in album.queries.items()} == {"en": 2, "sw": 1}
