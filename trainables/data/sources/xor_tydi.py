"""XOR-Retrieve's own measure: is an answer among the first tokens of the retrieved passages?

The benchmark `xor_tydi` ranks gold paragraphs (`squad_files`). The official measure searches all of
English Wikipedia and looks for answer strings, so it needs no judgements; it is offered here for
passages from anywhere (Asai et al. 2021, arXiv:2010.11856; `eval_xor_retrieve.py`).
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
    """A question of `xor_dev_retrieve_eng_span_v1_1.jsonl`: its language and English answers."""

    language: str
    answers: tuple[str, ...]


def read_answers(path: Path) -> dict[str, SpanQuestion]:
    """Question id to what counts as an answer."""

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
    """R@2kt, or R@5kt with `tokens=5000`, by language, and `macro`, the mean over languages.

    Args:
        passages: Question id to retrieved English passages, best first; a question that is
            missing counts as not found.
        questions: Of `read_answers`; those answered only by yes or no are left out, as officially.
        tokens: How many of the first tokens are looked at.
        tokenize: Officially NLTK's `word_tokenize`, which published numbers need; blanks by
            default, which is close and needs no package.
    """
    hits: dict[str, list[bool]] = {}
    for identity, question in questions.items():
        answers = [answer for answer in question.answers if answer not in YES_NO]
        if answers:
            read = " ".join(_first(passages.get(identity, ()), tokens, tokenize))
            hit = any(answer in read for answer in answers)
            hits.setdefault(question.language, []).append(hit)
    shares = {language: sum(each) / len(each) for language, each in sorted(hits.items())}
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
