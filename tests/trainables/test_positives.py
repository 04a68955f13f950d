"""Which passages of a batch answer other rows' queries, against a brute force over all pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.samples import embedded_spec
from trainables.data.benchmark import Candidate, TrainingSet
from trainables.data.catalog import load_training
from trainables.data.formats.pairs import Pair, training_of
from trainables.encoders.registry import open_encoder
from trainables.spec import Execution
from trainables.training.positives import Positives
from trainables.training.trainer import Trainer

LANGUAGES = ("de", "en")
NAMES = st.sampled_from("abcdefgh")
TEXTS = st.lists(st.none() | NAMES, min_size=2, max_size=2)


def rows_of_one_question(ids: list[str], queries: list[list[str | None]]) -> list[set[int]]:
    """The rows of each row's question, by joining sets until nothing changes."""
    rows = [
        {s for s in range(len(ids)) if ids[r] == ids[s] or {*queries[r]} & {*queries[s]} - {None}}
        for r in range(len(ids))
    ]
    while (joined := [set().union(*(rows[s] for s in row)) for row in rows]) != rows:
        rows = joined
    return rows


def numbered(names: dict[str | None, int], texts: Any) -> Any:
    return np.array([[names.setdefault(t, len(names)) for t in row] for row in texts]).T


@settings(max_examples=80, deadline=None)
@given(
    table=st.lists(st.tuples(NAMES, TEXTS, NAMES, TEXTS), min_size=2, max_size=12),
    data=st.data(),
)
def test_all_passages_of_a_question_answer_it(table: list[Any], data: st.DataObject) -> None:
    ids, queries, golds, passages = (list(column) for column in zip(*table, strict=True))
    rows = data.draw(st.permutations(range(len(ids))).map(lambda order: order[:6]))
    partners = list(data.draw(st.permutations(range(len(ids)))))
    others = data.draw(st.lists(st.lists(NAMES, max_size=1), min_size=len(ids), max_size=len(ids)))
    hard = data.draw(st.lists(st.tuples(NAMES, NAMES), max_size=4))
    languages = data.draw(st.lists(st.integers(0, 1), min_size=len(rows), max_size=len(rows)))
    read = [passages[partners[r]][x] for r, x in zip(rows, languages, strict=True)]
    batch = [*zip((golds[partners[r]] for r in rows), read, strict=True), *hard]
    same = rows_of_one_question(ids, queries)
    expected = {
        (i, j)
        for i, row in enumerate(rows)
        for j, (gold, text) in enumerate(batch)
        if i != j
        and any(
            gold in (golds[partners[s]], *others[s])
            or (text is not None and text in passages[partners[s]])
            for s in same[row]
        )
    }
    texts: dict[str | None, int] = {None: -1}
    numbers: dict[str | None, int] = {}
    known = Positives(
        ids,
        numbered({None: -1}, queries),
        numbered(numbers, [[g] for g in golds])[0],
        numbered(texts, passages),
        np.array(partners),
        _pairs(others, numbers),
    )
    found = known.false_negatives(
        np.array(rows),
        numbered(numbers, [[gold] for gold, _ in batch])[0],
        numbered(texts, [[text] for _, text in batch])[0],
    )
    pairs = list(zip(*found.tolist(), strict=True))
    assert set(pairs) == expected
    assert len(set(pairs)) == len(pairs)


def _pairs(others: list[list[str]], numbers: dict[str | None, int]) -> Any:
    pairs = [
        (r, numbers.setdefault(one, len(numbers))) for r, row in enumerate(others) for one in row
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T


def training(**changes: Any) -> TrainingSet:
    """Four questions in two languages, with three passages each; ids say nothing."""
    n = 12
    fields: dict[str, Any] = {
        "questions": [f"row {r}" for r in range(n)],
        "golds": [f"gold {r}" for r in range(n)],
        "clusters": ["a"] * n,
        "queries": {x: [f"{x} question {r // 3}" for r in range(n)] for x in LANGUAGES},
        "passages": {x: [f"{x} passage {r}" for r in range(n)] for x in LANGUAGES},
    }
    return TrainingSet(name="own", **(fields | changes))


ONE_QUESTION_EACH = {x: [f"{x} question {r}" for r in range(12)] for x in LANGUAGES}
SAME_IDS = {"questions": [f"{r // 3}" for r in range(12)], "queries": ONE_QUESTION_EACH}
SAME_IN_GERMAN = {"queries": ONE_QUESTION_EACH | {"de": [f"Frage {r // 3}" for r in range(12)]}}


def trainer(data: TrainingSet, **changes: Any) -> Trainer:
    """Of an embedded encoder on these rows, all of them in each batch."""
    fixed: dict[str, Any] = {"steps": 2, "batch_size": 12, "learning_rate": 1e-3, "sampling": "X-Y"}
    spec = embedded_spec(**fixed | changes)
    spec = spec.model_copy(update={"languages": LANGUAGES})
    return Trainer(
        spec, open_encoder(spec.encoder, "synthetic", {}, Execution()), data, Execution()
    )


@pytest.mark.parametrize("changes", [{}, SAME_IDS, SAME_IN_GERMAN], ids=["texts", "ids", "german"])
@pytest.mark.parametrize(
    "settings",
    [
        {"sampling": "X-X"},
        {"sampling": "X-Y", "symmetric": True},
        {"sampling": "X-X-mixed"},
        {"sampling": "row-hybrid", "alpha": 0.5},
    ],
    ids=lambda settings: settings["sampling"],
)
def test_other_passages_of_a_question_are_no_negatives_of_it_in_any_sampling(
    changes: dict[str, Any], settings: dict[str, Any]
) -> None:
    found = trainer(training(**changes), **settings)
    found.take_step()
    assert found.history[-1]["train/masked"] == pytest.approx(12 * 2 / (12 * 11))


def test_what_is_masked_can_be_switched_off() -> None:
    found = trainer(training(), sampling="X-X", mask_false_negatives=False)
    found.take_step()
    assert found.history[-1]["train/masked"] == 0


def test_a_hard_negative_that_is_another_passage_of_the_question_is_masked() -> None:
    """Row r has the passage of row r + 1, of one question for two rows of three."""
    negatives = {
        x: [[Candidate(f"gold {(r + 1) % 12}", f"{x} passage {(r + 1) % 12}")] for r in range(12)]
        for x in LANGUAGES
    }
    found = trainer(training(negatives=negatives), sampling="X-X", negatives="hard")
    found.take_step()
    assert found.history[-1]["train/masked"] == pytest.approx(8 / 12)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("sampling", ["X-X", "X-Y", "X-X-mixed"])
def test_the_loss_of_a_step_is_that_of_texts_compared_one_by_one(
    sampling: str, symmetric: bool
) -> None:
    """InfoNCE in float64 over the texts themselves: what answers a question counts never."""
    negatives = {
        x: [[Candidate(f"gold {(r + d) % 12}", f"{x} passage {(r + d) % 12}") for d in (1, 5)]
            for r in range(12)]
        for x in LANGUAGES
    }  # fmt: skip
    data = training(negatives=negatives)
    found = trainer(
        data,
        sampling=sampling,
        negatives="both",
        symmetric=symmetric,
        batch_size=8,
    )
    batch = found.batches[0]
    passages: Any = found.passages.of(0, batch.passage_languages, batch.rows)
    vectors = found.encoder.encode(
        [*found.queries.pick(batch.query_languages, batch.rows), *passages.tokens]
    ).astype(np.float64)
    scores = vectors[:8] @ vectors[8:].T / 0.05
    question = [r // 3 for r in batch.rows]
    # golds are numbered in the order of the rows, so that a third of one is its question
    gold = [int(g) // 3 for g in passages.golds]
    assert gold[:8] == question
    rows = [
        sum(np.exp(scores[i, j]) for j in range(scores.shape[1]) if gold[j] != question[i])
        for i in range(8)
    ]
    expected = np.mean([np.log(np.exp(scores[i, i]) + rows[i]) - scores[i, i] for i in range(8)])
    if symmetric:
        back = [
            sum(np.exp(scores[j, i]) for j in range(8) if question[j] != gold[i]) for i in range(8)
        ]
        both = [np.log(np.exp(scores[i, i]) + back[i]) - scores[i, i] for i in range(8)]
        expected = (expected + np.mean(both)) / 2
    assert found.take_step() == pytest.approx(expected, rel=1e-4)


def test_an_answer_that_no_row_of_the_question_has_is_masked_where_another_row_has_it() -> None:
    data = training(queries=ONE_QUESTION_EACH, other_golds=[[f"gold {r ^ 1}"] for r in range(12)])
    found = trainer(data.restrict(LANGUAGES), sampling="X-X")
    found.take_step()
    assert found.history[-1]["train/masked"] == pytest.approx(12 / (12 * 11))


def test_further_passages_of_a_question_are_known_where_a_source_names_them() -> None:
    pairs = [Pair("q", "en", "Who?", "en", text, "") for text in ("He.", "She.", "He.")]
    found = training_of([*pairs, Pair("r", "en", "Why?", "en", "She.", "")], "own")
    assert (list(found.golds), list(found.other_golds)) == (["en_0", "en_1"], [["en_1"], []])


def test_rows_of_a_file_are_of_one_question_by_its_key(tmp_path: Path) -> None:
    """As `queries.jsonl` has it; the id stays the row's own, and null is no question."""
    rows = [
        {"id": "a", "queries": {"en": "Who?"}, "passages": {"en": "He."}, "question": 7},
        {"id": "b", "queries": {"en": "Who is it?"}, "passages": {"en": "She."}, "question": "7"},
        {"id": "c", "queries": {"en": "Why?"}, "passages": {"en": "So."}, "question": None},
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load_training("jsonl", tmp_path)
    assert (list(data.questions), list(data.clusters)) == (["7", "7", "c"], ["7", "7", "c"])
    assert list(data.golds) == ["a", "b", "c"]


def test_four_questions_of_four_rows_mask_a_fifth_of_the_negatives() -> None:
    words = ("food", "fox", "dog", "bread")
    data = TrainingSet(
        name="own",
        questions=[f"{q}-{p}" for q in range(4) for p in range(4)],
        golds=[f"{q}-{p}" for q in range(4) for p in range(4)],
        clusters=[""] * 16,
        queries={x: [f"Where is {w}?" for w in words for _ in words] for x in LANGUAGES},
        passages={x: [f"{w} ends in {v} {x}." for w in words for v in words] for x in LANGUAGES},
    )
    found = trainer(data, sampling="X-X", batch_size=16)
    while found.step < found.steps:
        found.take_step()
    found.curve()
    assert found.summary()["masked_fraction"] == 48 / 240
    assert torch.isfinite(found.log_scale)
