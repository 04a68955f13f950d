"""XOR-Retrieve's official metric: is an answer among the first tokens of the retrieved passages?

The benchmark `xor_tydi` ranks gold paragraphs (`squad_pairs`). The official metric searches all of
English Wikipedia for answer strings, so it needs no judgements; here it takes passages from any
retriever (Asai et al. 2021, arXiv:2010.11856; `eval_xor_retrieve.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.data.formats.reading import identity_of, language_of, need, records

YES_NO = frozenset({"yes", "no"})


@dataclass(frozen=True, slots=True)
class SpanQuestion:
    """Language and English answers of a question in `xor_dev_retrieve_eng_span_v1_1.jsonl`."""

    language: str
    answers: tuple[str, ...]


def read_answers(path: Path) -> dict[str, SpanQuestion]:
    """Read questions with their accepted answers by id."""

    def question(row: Mapping[str, Any]) -> tuple[str, SpanQuestion]:
        answers = need(row, "answers", list)
        for answer in answers:
            need({"answers": answer}, "answers", str)
        return identity_of(row, "id"), SpanQuestion(language_of(row, "lang"), tuple(answers))

    return dict(records(path, "xor_tydi", question))


def answer_recall(
    passages: Mapping[str, Sequence[str]],
    questions: Mapping[str, SpanQuestion],
    tokens: int = 2000,
    tokenize: Callable[[str], Sequence[str]] = str.split,
) -> dict[str, float]:
    """Compute R@2kt, or R@5kt with `tokens=5000`, by language and as their mean, `macro`.

    Args:
        passages: Question id to retrieved English passages, best first; a missing question
            counts as a miss.
        questions: From `read_answers`; as officially, those answered only by yes or no are left
            out.
        tokens: Number of first tokens to search for an answer.
        tokenize: Officially NLTK's `word_tokenize`, which is needed to compare with published
            numbers; by default split at blanks, which is close and needs no package.
    """
    hits: dict[str, list[bool]] = {}
    for identity, question in questions.items():
        answers = [answer for answer in question.answers if answer not in YES_NO]
        if answers:
            text = " ".join(_first(passages.get(identity, ()), tokens, tokenize))
            hit = any(answer in text for answer in answers)
            hits.setdefault(question.language, []).append(hit)
    shares = {language: sum(flags) / len(flags) for language, flags in sorted(hits.items())}
    return shares | ({"macro": sum(shares.values()) / len(shares)} if shares else {})


def _first(
    passages: Sequence[str], number: int, tokenize: Callable[[str], Sequence[str]]
) -> list[str]:
    words: list[str] = []
    for passage in passages:
        words.extend(tokenize(passage))
        if len(words) >= number:
            break
    return words[:number]
