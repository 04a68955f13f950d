"""What training data and benchmark share is left out of the evaluation, of every cell alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.planning.build import make_plan
from study.spaces.schema import Space
from study.state.plan import Plan
from tests.checkpoints import make_checkpoint
from tests.trainables.data.samples import write_lines
from trainables.data import catalog
from trainables.data.contamination import LEFT_OUT
from trainables.errors import UserError
from trainables.spec import DataRef

FIXED = {"benchmark": "jsonl", "train": "jsonl", "validation": None, "steps": 2, "batch_size": 2}
LANGUAGES = ("de", "en")


def write_data(folder: Path, trained: list[int], tested: list[int]) -> None:
    """A parallel benchmark and training rows; equal numbers are equal questions."""

    def texts(kind: str, number: int) -> dict[str, str]:
        return {la: f"{kind} number {number} in {la}, long enough" for la in LANGUAGES}

    rows = [{"id": n, "queries": texts("question", n), "passages": texts("answer", n)}
            for n in trained]  # fmt: skip
    write_lines(folder / "train.jsonl", rows)
    for file, kind in (("queries", "question"), ("corpus", "answer")):
        rows = [
            {"id": f"{kind} {n} {la}", "language": la, "text": text, "question": f"t{n}"}
            for n in tested
            for la, text in texts(kind, n).items()
        ]
        write_lines(folder / f"{file}.jsonl", rows)
    judged = [(f"question {n} {a}", f"answer {n} {b}") for n in tested for a in LANGUAGES
              for b in LANGUAGES]  # fmt: skip
    write_lines(folder / "qrels.jsonl", [{"query": q, "candidate": c} for q, c in judged])


def plan_of(folder: Path, encoder: Path, **overrides: Any) -> tuple[Plan, dict[str, str]]:
    space = Space.model_validate(
        {
            "question": "?",
            "fixed": FIXED | {"encoder": str(encoder)},
            "search": {"sampling": ["X-X", "X-Y"]},
            "tiers": {"full": {}},
        }
    )
    return make_plan(space, "s", "full", overrides, data_dir=folder)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint("xlm-roberta", tmp_path_factory.mktemp("encoder") / "tiny" / "encoder")


def benchmarks_of(plan: Plan) -> set[DataRef]:
    return {spec.test for spec in plan.specs.values()}


def test_shared_questions_are_left_out_of_every_cell(tmp_path: Path, encoder: Path) -> None:
    write_data(tmp_path, trained=[1, 2, 3, 4, 5, 6], tested=[6, 7, 8])
    plan, places = plan_of(tmp_path, encoder)
    [test] = benchmarks_of(plan)  # of the untrained cell too
    assert test.left_out == (2, 6)
    assert [each.name for each in test.without or ()] == ["jsonl"]
    benchmark = catalog.open_benchmark(test, places)
    assert {q.question for items in benchmark.queries.values() for q in items} == {"t7", "t8"}
    assert sum(map(len, benchmark.corpus.values())) == 6
    assert benchmark.dropped == {LEFT_OUT: 2}


def test_one_training_language_leaves_the_same_questions_out(tmp_path: Path, encoder: Path) -> None:
    write_data(tmp_path, trained=[1, 2, 3, 4, 5, 6], tested=[6, 7, 8])
    both = benchmarks_of(plan_of(tmp_path, encoder)[0])
    assert benchmarks_of(plan_of(tmp_path, encoder, languages="de", sampling="X-X")[0]) == both


def test_nothing_is_left_out_of_a_clean_split_nor_without_training(
    tmp_path: Path, encoder: Path
) -> None:
    write_data(tmp_path / "clean", trained=[1, 2, 3, 4], tested=[6, 7, 8])
    write_data(tmp_path / "shared", trained=[1, 2, 3, 6], tested=[6, 7, 8])
    for folder, overrides in (("clean", {}), ("shared", {"steps": 0})):
        [test] = benchmarks_of(plan_of(tmp_path / folder, encoder, **overrides)[0])
        assert (test.without, test.left_out) == (None, None)


def test_training_on_the_whole_benchmark_leaves_nothing_to_evaluate(
    tmp_path: Path, encoder: Path
) -> None:
    write_data(tmp_path, trained=[6, 7, 8], tested=[6, 7, 8])
    plan, places = plan_of(tmp_path, encoder)
    [test] = benchmarks_of(plan)
    assert test.left_out == (6, 6)
    with pytest.raises(UserError):
        catalog.open_benchmark(test, places)
