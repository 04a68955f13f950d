"""Hard negatives of every source that has them: never an answer, named so that masks find them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from trainables.data.benchmark import TrainingSet
from trainables.data.catalog import load_training
from trainables.data.worlds.synthetic import NEGATIVES
from trainables.errors import UserError

SENTENCES = {
    "de": ["Eins. ", "Zwei. ", "Drei. ", "Vier."],
    "en": ["One and two. ", "Three. ", "4."],
}
ASKED = {"a": {"de": 0, "en": 0}, "b": {"de": 1, "en": 0}, "c": {"de": 3, "en": 2}}
"""Question to the sentence that answers it: two of them share one in English only."""


def check(data: TrainingSet) -> None:
    for language in data.languages:
        assert len(data.negatives[language]) == len(data.questions)
        for row, found in enumerate(data.negatives[language]):
            assert data.golds[row] not in {candidate.id for candidate in found}
            assert data.passages[language][row] not in {candidate.text for candidate in found}


def test_of_the_embedded_world_hold_most_of_the_question() -> None:
    data = load_training("synthetic", languages=["qaa", "qad"], negatives=True)
    check(data)
    plain = load_training("synthetic", languages=["qaa", "qad"])
    assert (plain.queries, plain.passages, plain.negatives) == (data.queries, data.passages, {})
    text_of = {g: p or "" for g, p in zip(data.golds, data.passages["qaa"], strict=True)}
    for row in range(0, 300, 7):
        own, found = data.golds[row], data.negatives["qaa"][row]
        assert [c.id for c in found] == [c.id for c in data.negatives["qad"][row]]
        assert len(found) == NEGATIVES
        assert all(candidate.text == text_of[candidate.id] for candidate in found)
        alike = {
            gold: len({*text.split()} & {*text_of[own].split()}) for gold, text in text_of.items()
        }
        hard = sum(alike[candidate.id] for candidate in found) / NEGATIVES
        assert hard > sum(alike.values()) / len(alike)


@pytest.fixture
def lareqa(tmp_path: Path) -> Path:
    for language, sentences in SENTENCES.items():
        starts = [sum(map(len, sentences[:n])) for n in range(len(sentences) + 1)]
        paragraph = {
            "context": "".join(sentences),
            "sentences": sentences,
            "sentence_breaks": [*map(list, itertools.pairwise(starts))],
            "qas": [
                {
                    "id": identity,
                    "question": f"{language} {identity}?",
                    "answers": [{"text": "x", "answer_start": starts[where[language]]}],
                }
                for identity, where in ASKED.items()
            ],
        }
        content = {"version": "1.1", "data": [{"paragraphs": [paragraph]}]}
        (tmp_path / f"{language}.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path


def test_of_a_sentence_are_the_others_of_its_paragraph_nearest_first(lareqa: Path) -> None:
    data = load_training("xquad_r", lareqa, ["de", "en"], text="sentence", negatives=True)
    assert (data.questions, data.golds) == (["a", "b", "c"], ["en_0_0", "en_0_0", "en_0_2"])
    found = {
        language: {
            question: [(candidate.id, candidate.text.strip()) for candidate in row]
            for question, row in zip(data.questions, rows, strict=True)
        }
        for language, rows in data.negatives.items()
    }
    assert found["en"]["c"] == [("en_0_1", "Three."), ("en_0_0", "One and two.")]
    assert found["en"]["a"] == [("en_0_1", "Three."), ("en_0_2", "4.")]
    # "Zwei." answers b, whose gold is a's own: the mask by identity finds it
    assert found["de"]["a"] == [("en_0_0", "Zwei."), ("de_0_2", "Drei."), ("en_0_2", "Vier.")]


def test_of_real_sentences(shared: Path) -> None:
    data = load_training("xquad_r", shared / "data" / "xquad-r", ["de", "en"], negatives=True)
    for language in data.languages:
        lists = data.negatives[language]
        assert sum(map(bool, lists)) > 0.95 * len(lists)
        for row, found in enumerate(lists):
            assert data.passages[language][row] not in {candidate.text for candidate in found}
    held = {candidate.id for found in data.negatives["en"] for candidate in found}
    assert len(held & set(data.golds)) > 0.9 * len(set(data.golds)), "golds are named as golds"


def test_of_ones_own_rows(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "queries": {"de": "q"}, "passages": {"de": "p"}, "gold": "g"},
        {"id": "2", "queries": {"de": "r"}, "passages": {"de": "s"}, "negatives": {"de": []}},
    ]
    file = tmp_path / "train.jsonl"

    def load() -> TrainingSet:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return load_training("jsonl", tmp_path, negatives=True)

    with pytest.raises(UserError, match="no hard negatives"):
        load()
    rows[1]["negatives"] = {"de": [{"id": "g", "text": "p"}, {"id": "7", "text": "t"}]}
    data = load()
    check(data)
    assert [[c.id for c in found] for found in data.negatives["de"]] == [[], ["g", "7"]]
    for wrong in ({"de": "t"}, {"de": ["t"]}, ["t"], {"de": [{"id": "7"}]}):
        rows[1]["negatives"] = wrong
        with pytest.raises(UserError, match=r"train\.jsonl"):
            load()


def test_of_a_source_without_any_are_refused(shared: Path) -> None:
    with pytest.raises(UserError, match=r"xquad has no hard negatives.*in_batch.*synthetic"):
        load_training("xquad", shared / "data" / "xquad-r", negatives=True)
