"""SQuAD files: JSON, with or without LAReQA's sentence boundaries, and the hub's Parquet.

The position of an answer in its paragraph is an offset in code points. Some tools write offsets in
UTF-8 bytes or UTF-16 units, which would silently select another sentence; so the answer's text must
be found at its offset. An offset that is right in another unit is refused, or converted on request
and counted. An answer found in no unit is an annotation error: it is counted and its offset kept,
as the sources' own tools do. XQuAD, XQuAD-R and the English, Korean and Swahili training files of
TyDi QA have none, AmQA 20 of 2,323, the test file of SQuAD-it 41 of 7,609.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from trainables.data.formats.reading import (
    AGAIN,
    BadRowError,
    Skipped,
    identity_of,
    json_document,
    need,
    optional_text,
    records,
    skip_or_refuse,
    text_of,
)
from trainables.errors import DataError

Offsets = Literal["check", "convert", "unused"]
"""Treatment of offsets in another unit: refuse, convert, or ignore all offsets."""

NOT_THERE = "answers that do not stand at their offset"
CONVERTED = "answers whose offset was converted from"
UNITS = {"UTF-8 bytes": ("utf-8", 1), "UTF-16 units": ("utf-16-le", 2)}
"""Unit to its encoding, and the bytes of a unit."""

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a paragraph.

    Attributes:
        id: Unique in its file.
        text: As in the file, not stripped.
        answer_start: Code points into the context; -1 without an answer.
        answers: The answers' texts.
        language: BCP-47 tag, if the file gives it.
        remark: Key under which a wrong or converted offset is counted; empty if it is right.
    """

    id: str
    text: str
    answer_start: int
    answers: tuple[str, ...] = ()
    language: str = ""
    remark: str = ""

    @property
    def answer_end(self) -> int | None:
        """End of the first answer in the context, in code points; None without an answer."""
        if self.answer_start < 0 or not self.answers:
            return None
        return self.answer_start + len(self.answers[0])


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph of one file.

    Attributes:
        number: Running number over the whole file, from 0.
        article: Index of its article in the file, from 0; -1 in Parquet, which lacks it.
        title: The article's title; empty if the file gives none.
        context: The paragraph's text, not stripped.
        sentences: Sentences of the context in order; empty if boundaries were not requested.
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
        """Return the first sentence that contains the answer's first character, if any."""
        for sentence, start, end in zip(self.sentences, self.starts, self.ends, strict=True):
            if start <= question.answer_start < end:
                return sentence
        return None


def cluster_of(language: str, paragraph: Paragraph) -> str:
    """Return the article's title, else `<language>-article-<index>`, else the paragraph's name."""
    if paragraph.title:
        return paragraph.title
    if paragraph.article < 0:
        return f"{language}-paragraph-{paragraph.number}"
    return f"{language}-article-{paragraph.article}"


def offset_remarks(paragraphs: Iterable[Paragraph]) -> dict[str, int]:
    """Count remarks about answers' offsets, as `Benchmark.dropped` holds them."""
    return dict(Counter(q.remark for p in paragraphs for q in p.questions if q.remark))


@dataclass
class ParagraphReader:
    """Reader of one language, from JSON (`.gz` is unpacked) or the shards of a Parquet table.

    Attributes:
        name: Name of the data, for messages.
        sentences: Whether every paragraph must have sentence boundaries (`sentence_breaks`).
        skipped: Counts malformed articles, paragraphs and questions, which are left out; None
            refuses them.
        repeats: Whether an id may recur, with another paragraph.
        offsets: Treatment of offsets in another unit.
        language: Returns the language of a question's object, or raises `BadRowError`.
        ids: Ids of the questions read so far.
        unit: Unit assumed for an offset at which the answer is found in several units.
        evidence: Unit to number of answers found at their offset in that unit only.
    """

    name: str
    sentences: bool = False
    skipped: Skipped = None
    repeats: bool = False
    offsets: Offsets = "check"
    language: Callable[[Object], str] | None = None
    ids: set[str] = field(default_factory=set)
    unit: str = ""
    evidence: Counter[str] = field(default_factory=Counter)

    def read(self, *paths: Path) -> list[Paragraph]:
        """Read the language's file, or its shards.

        Raises:
            DataError: The file cannot be read, is not JSON or not in SQuAD's format, repeats an id,
                or has boundaries outside the context or offsets in another unit.
        """
        if self.offsets == "convert":
            # By chance an answer may also be found at its offset in the wrong unit.
            survey = replace(self, skipped=None if self.skipped is None else Counter())
            survey.files(*paths)
            self.unit = max(survey.evidence, key=survey.evidence.__getitem__, default="")
            self.ids.clear()
        return self.files(*paths)

    def files(self, *paths: Path) -> list[Paragraph]:
        """Read the files, given the unit of offsets."""
        return self.table(*paths) if paths[0].suffix == ".parquet" else self.document(*paths)

    def document(self, path: Path) -> list[Paragraph]:
        """Read JSON, in which a place is such as `data[0].paragraphs[2].qas[1]`."""
        document = json_document(path, self.name)
        try:
            articles = need(_object(document), "data", list)
        except BadRowError as error:
            shape = (
                "SQuAD's shape is data[] > paragraphs[] > context, qas[] > id, question, answers[]"
            )
            message = f"{self.name}: {path}: {error}; {shape}. {AGAIN}"
            raise DataError(message, path, None, error.key) from None
        paragraphs: list[Paragraph] = []
        for index, article in enumerate(articles):
            place = f"data[{index}]"
            with self._skipping(path, place):
                title = _title(_object(article))
                for paragraph_place, entry in _entries(_object(article), f"{place}.paragraphs"):
                    with self._skipping(path, paragraph_place):
                        paragraph = self._paragraph(_object(entry), path, paragraph_place)
                        number = len(paragraphs)
                        paragraphs.append(Paragraph(number, index, title, *paragraph))
        return paragraphs

    def table(self, *paths: Path) -> list[Paragraph]:
        """Read Parquet, with one row per question; a paragraph's rows are consecutive."""
        paragraphs: list[tuple[str, str, list[Question]]] = []
        for path in paths:
            for title, context, question in records(path, self.name, self._row, self.skipped):
                if not paragraphs or paragraphs[-1][:2] != (title, context):
                    paragraphs.append((title, context, []))
                paragraphs[-1][2].append(question)
        return [
            Paragraph(number, -1, title, context, (), (), (), tuple(questions))
            for number, (title, context, questions) in enumerate(paragraphs)
        ]

    @contextmanager
    def _skipping(self, path: Path, place: str) -> Iterator[None]:
        try:
            yield
        except BadRowError as error:
            skip_or_refuse(error, self.name, path, place, self.skipped)

    def _row(self, row: Object) -> tuple[str, str, Question]:
        context = text_of(row, "context")
        return _title(row), context, self._question(row, context)

    def _paragraph(self, entry: Object, path: Path, place: str) -> tuple[Any, ...]:
        """Return the fields of a paragraph from its context on."""
        context = text_of(entry, "context")
        breaks = list(_breaks(entry, len(context))) if self.sentences else []
        questions = []
        for index, item in enumerate(need(entry, "qas", list)):
            with self._skipping(path, f"{place}.qas[{index}]"):
                questions.append(self._question(_object(item), context))
        return (
            context,
            tuple(context[start:end] for start, end in breaks),
            tuple(start for start, _ in breaks),
            tuple(end for _, end in breaks),
            tuple(questions),
        )

    def _question(self, item: Object, context: str) -> Question:
        identity, text = identity_of(item, "id"), text_of(item, "question")
        if identity in self.ids and not self.repeats:
            raise BadRowError(f"question id {identity!r} is used twice", "id")
        start, answers = _answers(item)
        remark = ""
        if answers and self.offsets != "unused":
            start, remark = self._placed(context, start, answers[0], identity)
        language = self.language(item) if self.language else ""
        self.ids.add(identity)
        return Question(identity, text, start, answers, language, remark)

    def _placed(self, context: str, start: int, answer: str, identity: str) -> tuple[int, str]:
        """Return the answer's offset in code points, and the remark to count."""
        is_found = bool(answer) and start >= 0 and context.startswith(answer, start)
        if is_found and self.offsets == "check":
            return start, ""
        units = {}
        for unit, (encoding, width) in UNITS.items() if answer and start >= 0 else ():
            encoded = context.encode(encoding, "surrogatepass")
            if encoded.startswith(answer.encode(encoding, "surrogatepass"), start * width):
                units[unit] = len(encoded[: start * width].decode(encoding, "surrogatepass"))
        if is_found and self.unit not in units:
            self.evidence["code points"] += not units
            return start, ""
        if not units:
            return start, NOT_THERE if answer else ""
        unit = self.unit if self.unit in units else min(units)
        if self.offsets == "convert":
            self.evidence[unit] += not is_found
            return units[unit], f"{CONVERTED} {unit}" if units[unit] != start else ""
        raise BadRowError(
            f"question {identity!r}: 'answer_start' is {start}, which counts {unit}: the answer "
            f"{answer[:40]!r} stands {units[unit]} code points into its context. Convert such "
            "offsets with --set convert_offsets=true; what is measured then is not comparable with "
            "published numbers",
            "answer_start",
        )


def _object(value: Any) -> Object:
    if not isinstance(value, dict):
        raise BadRowError(f"an object is expected, not {type(value).__name__}")
    return value


def _title(row: Object) -> str:
    return str(row["title"]) if type(row.get("title")) is int else optional_text(row, "title")


def _entries(article: Object, place: str) -> list[tuple[str, Any]]:
    """Return paragraphs and their places; AmQA has an article with one paragraph outside a list."""
    if isinstance(article.get("paragraphs"), dict):
        return [(place, article["paragraphs"])]
    listed = need(article, "paragraphs", list)
    return [(f"{place}[{index}]", entry) for index, entry in enumerate(listed)]


def _answers(item: Object) -> tuple[int, tuple[str, ...]]:
    """Return the start of the first answer, -1 without one, and all answers' texts."""
    answers = item.get("answers")
    if isinstance(answers, dict):  # the format of the hub's tables
        starts, texts = (need(answers, key, list) for key in ("answer_start", "text"))
        if len(starts) != len(texts):
            raise BadRowError(
                f"{len(starts)} offsets of {len(texts)} answers in 'answers'", "answers"
            )
        answers = [
            {"answer_start": start, "text": text} for start, text in zip(starts, texts, strict=True)
        ]
    listed = [_object(answer) for answer in need({**item, "answers": answers}, "answers", list)]
    start = need(listed[0], "answer_start", int) if listed else -1
    return start, tuple(need(answer, "text", str) for answer in listed)


def _breaks(entry: Object, length: int) -> Iterator[tuple[int, int]]:
    if "sentence_breaks" not in entry:
        raise BadRowError(
            "no key 'sentence_breaks'. Sentence candidates need LAReQA's files (XQuAD-R, MLQA-R); "
            "for plain SQuAD files use paragraph candidates: benchmark xquad or mlqa",
            "sentence_breaks",
        )
    for pair in need(entry, "sentence_breaks", list):
        if not (
            isinstance(pair, list)
            and len(pair) == 2
            and all(type(offset) is int for offset in pair)
            and 0 <= pair[0] <= pair[1] <= length
        ):
            raise BadRowError(
                f"'sentence_breaks' has {pair!r:.60}; a pair [start, end] of offsets into the "
                f"context of {length} characters is expected",
                "sentence_breaks",
            )
        yield pair[0], pair[1]
