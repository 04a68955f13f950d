"""Data of SQuAD's shape: JSON, with LAReQA's sentence boundaries or without, and the hub's Parquet.

Where an answer stands in its paragraph is an offset in code points. Tools that count UTF-8 bytes or
UTF-16 units write others, which choose another sentence in silence; so the answer's text must stand
there. An offset that is right in another unit is refused, or converted on request and counted. An
answer that stands there in no unit is a slip of annotation: it is counted, and its offset is taken
as it is, as the sources' own tools do. XQuAD, XQuAD-R and the English, Korean and Swahili training
files of TyDi QA have none, AmQA 20 of 2,323, the test file of SQuAD-it 41 of 7,609.
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
"""Whether offsets in another unit are refused or converted, or no answer is looked for."""

NOT_THERE = "answers that do not stand at their offset"
CONVERTED = "answers whose offset was converted from"
UNITS = {"UTF-8 bytes": ("utf-8", 1), "UTF-16 units": ("utf-16-le", 2)}
"""Their encodings, and bytes of a unit."""

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a paragraph.

    Attributes:
        id: Unique in its file.
        text: As in the file, not stripped.
        answer_start: Code points into the context; -1 without an answer.
        answers: The answers' texts.
        language: BCP 47 tag, where the file says it.
        remark: What is counted about the offset; empty where it is right.
    """

    id: str
    text: str
    answer_start: int
    answers: tuple[str, ...] = ()
    language: str = ""
    remark: str = ""

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
        article: Index of its article in the file, from 0; -1 in Parquet, which does not say it.
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


def cluster_of(language: str, paragraph: Paragraph) -> str:
    """The article's title, else `<language>-article-<index>`, else the paragraph."""
    if paragraph.title:
        return paragraph.title
    if paragraph.article < 0:
        return f"{language}-paragraph-{paragraph.number}"
    return f"{language}-article-{paragraph.article}"


def offset_remarks(paragraphs: Iterable[Paragraph]) -> dict[str, int]:
    """What is said about answers' offsets, to how many, as `Benchmark.dropped` holds it."""
    return dict(Counter(q.remark for p in paragraphs for q in p.questions if q.remark))


@dataclass
class ParagraphReader:
    """Reads one language from JSON (`.gz` is unpacked), or from the shards of one Parquet table.

    Attributes:
        name: Of the data, for messages.
        sentences: Whether every paragraph must have sentence boundaries (`sentence_breaks`).
        skipped: Counts malformed articles, paragraphs and questions, which are left out; None
            refuses them.
        repeats: Whether an id may come again, with another paragraph.
        offsets: What is done about offsets in another unit.
        language: Makes a question's object in the file its language, or raises `BadRowError`.
        ids: Of the questions so far.
        unit: What offsets are taken to count where an answer stands in several readings.
        evidence: Answers that stand where the offset says in one unit alone, by unit.
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
            DataError: The file cannot be read, is not JSON or not of the shape, names an id twice,
                or has boundaries outside the context or offsets in another unit.
        """
        if self.offsets == "convert":
            # A text may stand by chance where an offset points in the wrong unit.
            survey = replace(self, skipped=None if self.skipped is None else Counter())
            survey.files(*paths)
            self.unit = max(survey.evidence, key=survey.evidence.__getitem__, default="")
            self.ids.clear()
        return self.files(*paths)

    def files(self, *paths: Path) -> list[Paragraph]:
        """As `read`, with offsets in the unit that is known."""
        return self.table(*paths) if paths[0].suffix == ".parquet" else self.document(*paths)

    def document(self, path: Path) -> list[Paragraph]:
        """Of JSON, in which a place is such as `data[0].paragraphs[2].qas[1]`."""
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
                for at, entry in _entries(_object(article), f"{place}.paragraphs"):
                    with self._skipping(path, at):
                        paragraph = self._paragraph(_object(entry), path, at)
                        number = len(paragraphs)
                        paragraphs.append(Paragraph(number, index, title, *paragraph))
        return paragraphs

    def table(self, *paths: Path) -> list[Paragraph]:
        """Of Parquet, a row a question; those of one paragraph stand together."""
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
        """The fields of a paragraph from its context on."""
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
        """Where an answer stands in code points, and what is to be counted."""
        stands = bool(answer) and start >= 0 and context.startswith(answer, start)
        if stands and self.offsets == "check":
            return start, ""
        units = {}
        for unit, (encoding, width) in UNITS.items() if answer and start >= 0 else ():
            encoded = context.encode(encoding, "surrogatepass")
            if encoded.startswith(answer.encode(encoding, "surrogatepass"), start * width):
                units[unit] = len(encoded[: start * width].decode(encoding, "surrogatepass"))
        if stands and self.unit not in units:
            self.evidence["code points"] += not units
            return start, ""
        if not units:
            return start, NOT_THERE if answer else ""
        unit = self.unit if self.unit in units else min(units)
        if self.offsets == "convert":
            self.evidence[unit] += not stands
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
    """Paragraphs and their places; AmQA has one article whose only paragraph is not in a list."""
    if isinstance(article.get("paragraphs"), dict):
        return [(place, article["paragraphs"])]
    listed = need(article, "paragraphs", list)
    return [(f"{place}[{index}]", entry) for index, entry in enumerate(listed)]


def _answers(item: Object) -> tuple[int, tuple[str, ...]]:
    """Where the first answer starts, -1 without one, and all answers' texts."""
    answers = item.get("answers")
    if isinstance(answers, dict):  # as the hub's tables have them
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
