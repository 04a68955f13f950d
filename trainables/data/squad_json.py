"""Files of SQuAD's shape, optionally with LAReQA's sentence boundaries: `<language>.json`."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from trainables.data.reading import Skipped, json_document
from trainables.errors import UserError

T = TypeVar("T")
_SHAPE = "SQuAD's shape is data[] > paragraphs[] > context, qas[] > id, question, answers[]"
_AGAIN = "Get the file again from its source, or name another folder with --data-dir"


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a paragraph.

    Attributes:
        id: Unique in its file.
        text: As in the file, not stripped.
        answer_start: Code points into the context; -1 without an answer.
        answers: The answers' texts.
        language: As the file names it; empty where it does not.
    """

    id: str
    text: str
    answer_start: int
    answers: tuple[str, ...] = ()
    language: str = ""

    @property
    def answer_end(self) -> int | None:
        """One past the first answer's last code point in the context; None without an answer."""
        if self.answer_start < 0 or not self.answers:
            return None
        return self.answer_start + len(self.answers[0])


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph of one file.

    Attributes:
        number: Running number over the whole file, from 0.
        article: Index of its article in the file, from 0.
        title: The article's title; empty where the file gives none.
        context: The paragraph's text, not stripped.
        sentences: Sentences of the context in order; empty where boundaries were not asked for.
        starts: Offset of each sentence's first code point.
        ends: Offset one past each sentence's last code point.
        questions: In file order.
    """

    number: int
    article: int
    title: str
    context: str
    sentences: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    questions: tuple[Question, ...]

    def target(self, question: Question) -> str | None:
        """The first sentence that holds the answer's first character, if any does."""
        for sentence, start, end in zip(self.sentences, self.starts, self.ends, strict=True):
            if start <= question.answer_start < end:
                return sentence
        return None


class Keep(Protocol):
    """Makes one thing, or none; see `_keeping`."""

    def __call__(self, make: Callable[[], T]) -> list[T]: ...  # noqa: D102


Files = Mapping[str, Sequence[Paragraph]]
"""Language to the paragraphs of its file."""


def read_languages(
    folder: Path,
    name: str,
    languages: Sequence[str] | None,
    articles: Container[int] | None = None,
    sentences: bool = True,
    skipped: Skipped = None,
) -> Files:
    """Read `<language>.json` of each language, in ascending order.

    Args:
        folder: Holds the files.
        name: Of the data, for messages.
        languages: To read; None for every file in the folder.
        articles: Keep only articles with these indices; paragraph numbers stay the same.
        sentences: Whether every paragraph must have sentence boundaries.
        skipped: As for `read_paragraphs`.

    Raises:
        UserError: As `pick_languages` and `read_paragraphs`, or translations of a question lie in
            different articles where `articles` divides them.
    """
    files = {
        language: read_paragraphs(folder / f"{language}.json", name, sentences, skipped)
        for language in pick_languages(folder, name, languages)
    }
    if articles is None:
        return files
    _refuse_misaligned(files, name)
    kept = {
        la: [p for p in paragraphs if p.article in articles] for la, paragraphs in files.items()
    }
    if not any(kept.values()):
        raise UserError(f"{name}: none of the articles asked for is in {folder}; indices from 0")
    return kept


def by_preference(languages: Iterable[str]) -> list[str]:
    """English first, then ascending: where ids and titles shared by translations come from."""
    return sorted(languages, key=lambda language: (language != "en", language))


def cluster_of(language: str, paragraph: Paragraph) -> str:
    """The article's title, else `<language>-article-<index>`."""
    return paragraph.title or f"{language}-article-{paragraph.article}"


def pick_languages(folder: Path, name: str, languages: Sequence[str] | None) -> list[str]:
    """Languages to read, in ascending order: those asked for, or every `<language>.json`.

    Raises:
        UserError: No such folder, no file in it, or a language without a file.
    """
    if not folder.is_dir():
        raise UserError(
            f"{name}: no folder {folder}. Name the folder that holds its <language>.json files "
            "with --data-dir"
        )
    found = sorted(path.stem for path in folder.glob("*.json"))
    if not found:
        raise UserError(f"{name}: no <language>.json in {folder}. {_AGAIN}")
    unknown = sorted(set(languages or ()) - set(found))
    if unknown:
        raise UserError(
            f"{name}: no file {unknown[0]}.json for language {unknown[0]!r} in {folder}; "
            f"there are {', '.join(found)}. Choose among these or add the file"
        )
    return sorted(set(languages)) if languages else found


def read_paragraphs(
    path: Path,
    name: str,
    sentences: bool = True,
    skipped: Skipped = None,
    *,
    repeats: bool = False,
) -> list[Paragraph]:
    """Read one file; every paragraph must carry `sentence_breaks` if `sentences` is asked for.

    Args:
        path: The file; `.gz` is unpacked.
        name: Of the data, for messages.
        sentences: Whether every paragraph must have sentence boundaries.
        skipped: Counts malformed paragraphs and questions, which are left out; None refuses them.
        repeats: Whether an id may come again, with another paragraph.

    Raises:
        UserError: The file cannot be read, is not JSON or not of the shape above, names an id
            twice, or has boundaries outside the context.
    """
    document = json_document(path, name)
    where = f"{name}: {path.name}"
    keep = _keeping(path, skipped)
    paragraphs: list[Paragraph] = []
    for index, article in enumerate(_list(document, "data", where)):
        place = f"{where}: data[{index}]"
        entries = article.get("paragraphs") if isinstance(article, dict) else None
        # AmQA has one article whose only paragraph is not in a list.
        entries = [entries] if isinstance(entries, dict) else _list(article, "paragraphs", place)
        for entry in entries:
            number = len(paragraphs)
            at = f"{place}, paragraph {number}"
            make = partial(_paragraph, entry, article, index, number, sentences, at, keep)
            paragraphs += keep(make)
    if not repeats:
        _refuse_repeats((q.id for p in paragraphs for q in p.questions), where)
    return paragraphs


def _keeping(path: Path, skipped: Skipped) -> Keep:
    """What makes one thing, or none where that fails and skipping is asked for."""

    def keep(make: Callable[[], T]) -> list[T]:
        try:
            return [make()]
        except UserError as error:
            if skipped is None:
                raise
            skipped[f"malformed rows of {path.name}"] += 1
            return []

    return keep


def _value(table: Any, key: str, kind: type, where: str) -> Any:
    if not isinstance(table, dict):
        raise UserError(f"{where}: an object is expected, not {type(table).__name__}; {_SHAPE}")
    if key not in table:
        raise UserError(f"{where}: no key {key!r}; {_SHAPE}. {_AGAIN}")
    if not isinstance(table[key], kind) or isinstance(table[key], bool):
        raise UserError(
            f"{where}: {key!r} is {type(table[key]).__name__}, not {kind.__name__}; {_SHAPE}"
        )
    return table[key]


def _list(table: Any, key: str, where: str) -> list[Any]:
    items: list[Any] = _value(table, key, list, where)
    return items


def _paragraph(
    entry: Any, article: Any, index: int, number: int, sentences: bool, where: str, keep: Keep
) -> Paragraph:
    context = _value(entry, "context", str, where)
    breaks = list(_breaks(entry, len(context), where)) if sentences else []
    return Paragraph(
        number=number,
        article=index,
        title=str(article.get("title") or ""),
        context=context,
        sentences=tuple(context[start:end] for start, end in breaks),
        starts=tuple(start for start, _ in breaks),
        ends=tuple(end for _, end in breaks),
        questions=tuple(
            question
            for item in _list(entry, "qas", where)
            for question in keep(partial(_question, item, where))
        ),
    )


def _breaks(entry: Any, length: int, where: str) -> Iterator[tuple[int, int]]:
    if "sentence_breaks" not in entry:
        raise UserError(
            f"{where}: no key 'sentence_breaks'. Sentence candidates need LAReQA's files "
            "(XQuAD-R, MLQA-R); for plain SQuAD files use paragraph candidates: "
            "benchmark xquad or mlqa"
        )
    for pair in _list(entry, "sentence_breaks", where):
        if not (
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(offset, int) for offset in pair)
            and 0 <= pair[0] <= pair[1] <= length
        ):
            raise UserError(
                f"{where}: sentence_breaks has {pair!r}; a pair [start, end] of offsets into the "
                f"context of {length} characters is expected. {_AGAIN}"
            )
        yield pair[0], pair[1]


def _question(item: Any, where: str) -> Question:
    # AmQA's ids are whole numbers.
    found = item.get("id") if isinstance(item, dict) else None
    identity = str(found if type(found) is int else _value(item, "id", str, f"{where}, qas"))
    where = f"{where}, question {identity!r}"
    answers = _list(item, "answers", where)
    start = _value(answers[0], "answer_start", int, where) if answers else -1
    return Question(
        identity,
        _value(item, "question", str, where),
        start,
        tuple(str(answer.get("text", "")) for answer in answers if isinstance(answer, dict)),
        str(item.get("lang", "")),
    )


def _refuse_repeats(ids: Iterator[str], where: str) -> None:
    seen: set[str] = set()
    for identity in ids:
        if identity in seen:
            raise UserError(f"{where}: question id {identity!r} is used twice. {_AGAIN}")
        seen.add(identity)


def _refuse_misaligned(files: Files, name: str) -> None:
    """Article indices divide the data only where translations lie in the same article."""
    first: dict[str, tuple[str, int]] = {}
    for language, paragraphs in files.items():
        for paragraph in paragraphs:
            for question in paragraph.questions:
                other, article = first.setdefault(question.id, (language, paragraph.article))
                if article != paragraph.article:
                    raise UserError(
                        f"{name}: question {question.id!r} is in article {article} of {other}.json "
                        f"but {paragraph.article} of {language}.json, so a division by article "
                        "index would leak. Divide by question ids instead"
                    )
