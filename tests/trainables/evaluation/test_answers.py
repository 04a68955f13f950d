"""Answers that lie beyond what an encoder reads."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.data.benchmark import Benchmark
from trainables.data.formats.pairs import Pair, benchmark_of
from trainables.encoders.encoder import Embeddings
from trainables.evaluation.encode import truncated_answers


class Reader:
    """Reads ten code points of a passage."""

    def encode_queries(self, texts: Sequence[str], language: str) -> Embeddings:
        raise NotImplementedError

    def encode_passages(self, texts: Sequence[str], language: str) -> Embeddings:
        raise NotImplementedError

    def passage_reach(self, texts: Sequence[str]) -> list[int]:
        return [min(10, len(text)) for text in texts]


class Silent(Reader):
    passage_reach = None  # type: ignore[assignment]


def made(*ends: int | None) -> Benchmark:
    pairs = [
        Pair(f"{number}", "fi" if number % 2 else "sw", f"q {number}?", "en", "x" * 20, "a", end)
        for number, end in enumerate(ends)
    ]
    return benchmark_of(pairs, "test")


def test_an_answer_counts_as_cut_when_its_last_letter_is_not_read() -> None:
    counts = truncated_answers(made(10, 11, 3, 10, 20), Reader())
    assert counts == {
        "answers/fi": 2,
        "answers/cut/fi": 1,
        "answers/sw": 3,
        "answers/cut/sw": 1,
    }


def test_where_nobody_says_nothing_is_counted() -> None:
    assert truncated_answers(made(None, None), Reader()) == {}
    assert truncated_answers(made(10, None), Silent()) == {}
    assert truncated_answers(made(10, None), Reader()) == {"answers/sw": 1, "answers/cut/sw": 0}
