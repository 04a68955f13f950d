"""Questions that training data and a benchmark share, and the benchmark without them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainables.data.benchmark import Benchmark, Candidate, Query, TrainingSet
from trainables.data.contamination import LEFT_OUT, shared_questions, without_questions


def evaluated(**texts: str) -> Benchmark:
    """One question, `q`, in the languages given, and another one in English."""
    queries = {la: [Query(f"{la}:q", text, "q", "a")] for la, text in sorted(texts.items())}
    queries["en"] = [*queries.get("en", []), Query("en:other", "Is that so?", "other", "b")]
    corpus = {la: [Candidate(f"{la}_0", f"passage in {la}")] for la in sorted(queries)}
    qrels = {q.id: {f"{la}_0": 1.0} for la, items in queries.items() for q in items}
    answers = {"en:other": ("en_0", 3)}
    return Benchmark("toy", dict(sorted(queries.items())), corpus, qrels, answers=answers)


def trained(identity: str = "t", **texts: str) -> TrainingSet:
    columns = {la: [text] for la, text in texts.items()}
    return TrainingSet("train", [identity], ["g"], ["a"], columns, columns)


@pytest.mark.parametrize(
    ("train", "shared"),
    [
        (trained(de="wo endet der NIL"), True),  # case and punctuation aside, in any language
        (trained(de="Wo endet der Rhein?"), False),
        (trained(fr="Wo endet der Nil?"), False),  # a short text in another language
        (trained(fr="Where does the river Nile end, in which sea?"), True),  # a long one
        (trained("q", de="Wo endet der Rhein?"), False),  # an id too short to mean anything
    ],
)
def test_a_question_is_shared_by_its_text(train: TrainingSet, shared: bool) -> None:
    benchmark = evaluated(de="Wo endet der Nil?", en="Where does the river Nile end, in which sea?")
    assert shared_questions(train, benchmark) == ({"q"} if shared else set())


@pytest.mark.parametrize(
    ("identity", "shared"),
    [
        ("56beb4343aeaaa14008c925b", True),  # SQuAD's
        ("7931051574381133444", True),  # XOR-TyDi's
        ("swahili--7021183754302550141-3", True),  # TyDi QA's
        ("question-000017", False),  # numbers of rows are alike everywhere
        ("sw_train_000017", False),
        ("p3-q1", False),
    ],
)
def test_a_question_is_shared_by_an_id_that_is_no_number_of_a_row(
    identity: str, shared: bool
) -> None:
    query = Query("de:1", "Wo endet der Nil?", identity, "a")
    benchmark = Benchmark("toy", {"de": [query]}, {"de": []}, {})
    found = shared_questions(trained(identity, es="¿Dónde termina el Nilo?"), benchmark)
    assert found == ({identity} if shared else set())


def test_all_translations_are_left_out_and_the_corpus_stays() -> None:
    benchmark = replace(evaluated(de="Wo?", en="Where?", th="ที่ไหน"), dropped={"other": 2})
    fewer = without_questions(benchmark, {"q"})
    assert {la: [q.id for q in items] for la, items in fewer.queries.items()} == {
        "de": [],
        "en": ["en:other"],
        "th": [],
    }
    assert fewer.corpus == benchmark.corpus
    assert fewer.qrels == {"en:other": {"en_0": 1.0}}
    assert fewer.answers == benchmark.answers
    assert fewer.dropped == {"other": 2, LEFT_OUT: 3}
    assert without_questions(benchmark, frozenset()) == benchmark


def test_texts_without_letters_are_compared_as_they_are() -> None:
    benchmark = evaluated(en="🐈?")
    assert shared_questions(trained(en="🐈?"), benchmark) == {"q"}
    assert shared_questions(trained(en="🐕?"), benchmark) == frozenset()
