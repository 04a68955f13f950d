"""A language that is asked for and not there is refused by every source, never left out."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.data.samples import write_lines, write_text
from trainables.data.catalog import load_benchmark, load_training, reference, source, table
from trainables.data.formats.reading import AbsentLanguageError
from trainables.data.languages import NotALanguageError, bcp47
from trainables.errors import UserError


def squad(path: Path, *ids: str, **more: str) -> None:
    """A question for each id, in a paragraph of its own."""
    paragraphs: list[dict[str, Any]] = [
        {
            "context": "One two.",
            "sentence_breaks": [[0, 8]],
            "qas": [
                {"id": i, "question": f"{i}?", "answers": [{"text": "two", "answer_start": 4}]}
                | more
            ],
        }
        for i in ids
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"data": [{"title": "Two", "paragraphs": paragraphs}]}))


def jsonl(folder: Path) -> None:
    rows: list[dict[str, Any]] = [{"id": "1", "language": "en", "text": "One"}]
    write_lines(folder / "queries.jsonl", rows)
    write_lines(folder / "corpus.jsonl", rows)
    write_lines(folder / "qrels.jsonl", [{"query": "1", "candidate": "1"}])
    row = {"id": "1", "queries": {"en": "Two?"}, "passages": {"en": "Two."}}
    write_lines(folder / "train.jsonl", [row])


def topics(folder: Path) -> None:
    write_text(folder / "topics.mrtydi-v1.1-english.dev.txt", "1\tOne?")
    write_text(folder / "qrels.mrtydi-v1.1-english.dev.txt", "1 Q0 1#0 1")
    passage = {"docid": "1#0", "title": "", "text": "One"}
    write_lines(folder / "mrtydi-v1.1-english" / "corpus.jsonl.gz", [passage])
    row = {"query_id": "1", "query": "One?", "positive_passages": [passage]}
    write_lines(folder / "mrtydi-v1.1-english" / "train.jsonl.gz", [row])


def miracl(folder: Path) -> None:
    write_text(folder / "topics.miracl-v1.0-en-dev.tsv", "1\tOne?")
    write_text(folder / "qrels.miracl-v1.0-en-dev.tsv", "1\tQ0\t1#0\t1")
    passage = {"docid": "1#0", "title": "", "text": "One"}
    write_lines(folder / "miracl-corpus-v1.0-en" / "docs-0.jsonl.gz", [passage])


def belebele(folder: Path) -> None:
    row = {"link": "x", "question_number": 1, "flores_passage": "One", "question": "One?"}
    write_lines(folder / "eng_Latn.jsonl", [row])


def mkqa(folder: Path) -> None:
    row = {"example_id": 1, "queries": {"en": "One?"}, "answers": {"en": [{"text": "1"}]}}
    write_lines(folder / "mkqa.jsonl", [row])


def afriqa(folder: Path) -> None:
    row = {"id": 1, "context": "One", "question_lang": "Daya?", "question_translated": "One?"}
    for part in ("dev", "train"):
        write_lines(folder / f"gold_span_passages.afriqa.hau.en.{part}.json", [row])


def mmarco(folder: Path) -> None:
    write_text(folder / "triples.train.ids.small.tsv", "1\t1\t2")
    write_text(folder / "english_collection.tsv", "1\tOne", "2\tTwo")
    write_text(folder / "english_queries.train.tsv", "1\tOne?")


def captions(folder: Path) -> None:
    row = {"id": "1", "image": "1.png", "captions": {"en": "One"}}
    write_lines(folder / "captions.jsonl", [row])


SOURCES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "jsonl": (jsonl, "en", "de"),
    "ndqa": (jsonl, "en", "de"),
    "xquad_r": (lambda f: squad(f / "en.json", "a"), "en", "de"),
    "mlqa_r": (lambda f: squad(f / "en.json", "a"), "en", "de"),
    "xquad": (lambda f: squad(f / "xquad.en.json", "a"), "en", "ro"),
    "mlqa": (lambda f: squad(f / "test-context-en-question-en.json", "a"), "en", "de"),
    "tydiqa": (lambda f: squad(f / "tydiqa-goldp-v1.1-dev.json", "english-1"), "en", "sw"),
    "xor_tydi": (lambda f: squad(f / "gp_squad_dev_data.json", "1", lang="fi"), "fi", "ja"),
    "mr_tydi": (topics, "en", "sw"),
    "miracl": (miracl, "en", "sw"),
    "belebele": (belebele, "en", "sw"),
    "mkqa": (mkqa, "en", "sw"),
    "afriqa": (afriqa, "ha", "zu"),
    "captions": (captions, "en", "de"),
    "flickr30k_x": (captions, "en", "de"),
}
"""What writes the files of a source, a language that they have, and one that they have not."""

TRAINING: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "jsonl": (jsonl, "en", "de"),
    "ndqa": (jsonl, "en", "de"),
    "xquad_r": (lambda f: squad(f / "en.json", "a"), "en", "de"),
    "xquad": (lambda f: squad(f / "xquad.en.json", "a"), "en", "ro"),
    "tydiqa": (lambda f: squad(f / "tydiqa-goldp-v1.1-train.json", "english-1"), "en", "sw"),
    "mr_tydi": (topics, "en", "sw"),
    "mmarco": (mmarco, "en", "de"),
    "afriqa": (afriqa, "ha", "zu"),
    "squad_translated": (lambda f: squad(f / "train-v1.1.json", "a"), "en", "de"),
}

ALBUMS = {"emoji", "mmmu", "multi30k", "xflickrco", "xm3600", "xmmmu", "xtd10"}
"""Read as `captions` is, by way of `albums`. `mteb`, whose folders may leave their language open,
is tested with its layouts."""


def test_sources_call_their_languages_by_their_tags() -> None:
    for each in table().values():
        assert [*map(bcp47, each.languages)] == [*each.languages]
        assert [*map(bcp47, each.codes or ())] == [*(each.codes or ())]


def test_no_source_is_forgotten() -> None:
    from_files = {name for name, each in table().items() if not each.embedded}
    assert from_files - {"amqa", "mteb"} == SOURCES.keys() | TRAINING.keys() | ALBUMS
    assert source("amqa").languages == ("am",)


@pytest.mark.parametrize("name", SOURCES)
def test_a_benchmark_is_not_evaluated_in_a_language_that_it_lacks(
    tmp_path: Path, name: str
) -> None:
    write, there, absent = SOURCES[name]
    write(tmp_path)
    for languages in ([absent], [there, absent]):
        with pytest.raises(AbsentLanguageError) as error:
            load_benchmark(name, tmp_path, languages)
        assert absent in str(error.value)
        assert there in error.value.present
        assert (error.value.file, error.value.key) == (str(tmp_path), "language")
        again = pickle.loads(pickle.dumps(error.value))
        assert (str(again), again.present) == (str(error.value), error.value.present)
    assert there in load_benchmark(name, tmp_path, [there]).queries
    assert reference(name, tmp_path, [there.upper()]).languages is not None
    with pytest.raises(UserError):
        load_benchmark(name, tmp_path, ["unknown"])


@pytest.mark.parametrize("name", TRAINING)
def test_nothing_is_trained_on_in_a_language_that_the_data_lack(tmp_path: Path, name: str) -> None:
    write, there, absent = TRAINING[name]
    write(tmp_path)
    for languages in ([absent], [there, absent]):
        with pytest.raises(UserError, match=absent):
            load_training(name, tmp_path, languages, aligned=False)
    assert there in load_training(name, tmp_path, [there], aligned=False).languages


def test_what_is_no_language_is_no_name_for_files_without_one(tmp_path: Path) -> None:
    jsonl(tmp_path)
    with pytest.raises(NotALanguageError):
        load_benchmark("jsonl", tmp_path, ["unknown"])
