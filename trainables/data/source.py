"""A source of data: its metadata, as `sources.yaml` has it, and the loader of its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, InstanceOf, model_validator

from trainables.data.benchmark import Benchmark, TrainingSet
from trainables.data.formats import reading
from trainables.data.formats.reading import File, Skipped
from trainables.data.formats.squad_json import Offsets
from trainables.data.languages import bcp47, is_language
from trainables.errors import UserError
from trainables.spec import CandidateText

T = TypeVar("T")

Relevance = Literal["all languages", "own language", "other language", "as given"]


@dataclass(frozen=True)
class Request:
    """Which data of a source to read, and how.

    Attributes:
        source: To read from.
        folder: Holds the source's own files, at any depth.
        languages: BCP-47 codes; None for all that the files hold.
        part: A part that the source has; None where it has none, or for all of it.
        text: What a candidate's text is, where the source leaves it open.
        skipped: Counts malformed rows, which are left out; None refuses them.
        training: Whether it is to be trained on, not evaluated.
        negatives: Whether training rows are to have their hard negatives.
        convert_offsets: Whether answer offsets in another unit than code points are converted.
    """

    source: Source
    folder: Path
    languages: tuple[str, ...] | None = None
    part: str | None = None
    text: CandidateText | None = None
    skipped: Skipped = None
    training: bool = False
    negatives: bool = False
    convert_offsets: bool = False

    @property
    def name(self) -> str:
        """Of the source."""
        return self.source.name

    @property
    def offsets(self) -> Offsets:
        """What is done about answer offsets in another unit."""
        return "convert" if self.convert_offsets else "check"

    def find(self, pattern: str) -> list[tuple[Path, dict[str, str]]]:
        """Files whose path matches, and the pattern's groups (`reading.find`)."""
        return reading.find(self.folder, pattern)

    def find_one(self, pattern: str, called: str) -> Path:
        """The first file whose path matches.

        Raises:
            UserError: There is none; it is `called` so in the message.
        """
        for path, _ in self.find(pattern):
            return path
        raise UserError(
            f"{self.name}: no {called} in {self.folder}; {reading.help_with(self.name)}"
        )

    def choose(
        self, table: Mapping[str, T], what: str, languages: Sequence[str] | None = None
    ) -> dict[str, T]:
        """Of a table by language some, by default the languages asked for (`reading.choose`)."""
        return reading.choose(table, languages or self.languages, self.name, self.folder, what)

    def records(self, file: File, convert: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
        """Rows of a JSON-lines or Parquet file, converted (`reading.records`)."""
        return reading.records(file, self.name, convert, self.skipped)

    @property
    def dropped(self) -> dict[str, int]:
        """Rows skipped so far by reason, as `Benchmark.dropped` holds them."""
        return dict(self.skipped or Counter())


@dataclass(frozen=True)
class SourceFiles:
    """The files that a request reads.

    Attributes:
        files: Role or name, whatever the file is called here, to where it lies.
        languages: BCP-47 codes in ascending order.
    """

    files: Mapping[str, Path]
    languages: tuple[str, ...]


@dataclass(frozen=True)
class Loader:
    """The functions that read one file format.

    Each raises `UserError` where a file is missing or malformed, or lacks a language asked for.

    Attributes:
        files: Finds the files of a request.
        benchmark: Loads them to evaluate on; None where they cannot be.
        training: Loads them to train on; None where they cannot be.
        modality: Whether candidates are texts, or pictures.
    """

    files: Callable[[Request], SourceFiles]
    benchmark: Callable[[Request], Benchmark] | None = None
    training: Callable[[Request], TrainingSet] | None = None
    modality: Literal["text", "image"] = "text"


@dataclass(frozen=True)
class Hub:
    """A data set of the Hugging Face hub.

    Attributes:
        id: As `owner/name`.
        files: Patterns of the files to fetch; `{}` stands for a language as the source names it.
        revision: A commit; None where none is known: the newest is fetched, and noted.
    """

    id: str
    files: tuple[str, ...]
    revision: str | None = None


@dataclass(frozen=True)
class Web:
    """Files at addresses of their own.

    Attributes:
        files: Addresses, or their ends; `{}` stands for a language as the source names it.
        base: Where all of them begin; `{revision}` stands for the revision.
        revision: A commit of the repository that holds them; None where none is known.
    """

    files: tuple[str, ...]
    base: str = ""
    revision: str | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """Complete addresses."""
        base = self.base.replace("{revision}", self.revision or "main")
        return tuple(base + file for file in self.files)


@dataclass(frozen=True)
class Patterns:
    """The files of one part, for formats that several sources share.

    Attributes:
        called: How messages name such a file.
        paths: Regular expressions for `reading.find`, with a group `language` where a file is of
            one language.
    """

    called: str
    paths: tuple[str, ...]


def _sentences(value: object) -> object:
    """Sentences that several sources share are items of a list."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


class Source(BaseModel):
    """One source of data.

    Attributes:
        name: As commands and spaces name it.
        about: One line.
        loader: Reads its files.
        reference: Address of its home page.
        citation: Its paper: arXiv id, DOI or anthology id, or authors and year.
        licence: Of the texts.
        languages: BCP-47 codes that the source has; empty where the files decide. By default those
            of `codes`.
        optional_languages: Of these, read by default only where their files are.
        sizes: In words.
        relevance: Where a query's relevant candidates were judged: in all languages (parallel
            data, the setting `multi`), in the query's own, in another one, or as the files say.
        can: What it can show.
        cannot: What it cannot show.
        layout: Which files it reads, as people are told.
        patterns: Part, or `whole`, to its files, for a loader that leaves open how they are called.
        origins: Where to get the files.
        parts: Its parts; empty for a source in one piece.
        part: Evaluated unless another is asked for; None for all of it.
        training_part: Trained on unless another is asked for.
        untrained: Why it cannot be trained on; empty where it can.
        has_text: Whether it leaves open what a candidate's text is.
        has_negatives: Whether its training rows can have hard negatives.
        has_offsets: Whether it reads where answers stand in passages.
        embedded: Whether this project makes it, so that there are no files.
        content: Names the content of what this project makes.
        free_parts: Whether the loader checks parts beyond `parts`.
        names_part: Whether a spec names the part even where it is the usual one.
        codes: BCP-47 code to the name of the language in the origins' files; in YAML the names.
        checksums: File name to its bytes and git's blob id, where they are known. A file that is
            not listed is not wrong, only not known.
        counts: Part, or `whole`, to language to queries and, where known, candidates, as published
            or counted; of pictures captions and pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    about: str
    loader: InstanceOf[Loader]
    reference: str = ""
    citation: str = ""
    licence: str
    languages: tuple[str, ...]
    optional_languages: tuple[str, ...] = ()
    sizes: str
    relevance: Relevance
    can: str
    cannot: Annotated[str, BeforeValidator(_sentences)]
    layout: tuple[str, ...] = ()
    patterns: Mapping[str, Patterns] = {}
    origins: tuple[Hub | Web, ...] = ()
    parts: tuple[str, ...] = ()
    part: str | None = None
    training_part: str | None = None
    untrained: str = ""
    has_text: bool = False
    has_negatives: bool = False
    has_offsets: bool = False
    embedded: bool = False
    content: str = ""
    free_parts: bool = False
    names_part: bool = True
    codes: Mapping[str, str] = {}
    checksums: Mapping[str, tuple[int, str]] = {}
    counts: Mapping[str, Mapping[str, tuple[int, int | None]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _with_codes(cls, fields: dict[str, object]) -> dict[str, object]:
        """Codes by language, and the languages that they are of."""
        codes = fields.get("codes", {})
        if isinstance(codes, list):
            codes = {bcp47(code): code for code in codes}
        assert isinstance(codes, dict)
        return {"languages": sorted(codes), **fields, "codes": codes}

    @property
    def kind(self) -> Literal["benchmark", "training", "both"]:
        """What it can be used for."""
        if self.loader.benchmark is None:
            return "training"
        return "both" if self.is_trainable else "benchmark"

    @property
    def modality(self) -> Literal["text", "image"]:
        """Whether candidates are texts, or pictures."""
        return self.loader.modality

    @property
    def is_trainable(self) -> bool:
        """Whether it can be trained on, as texts or as pictures."""
        return not self.untrained

    @property
    def parallel(self) -> bool:
        """Whether a row exists in all of its languages."""
        return self.relevance == "all languages"

    def patterns_of(self, part: str | None) -> Patterns:
        """The files of a part; `test/de-en` has those of `test`."""
        return self.patterns.get((part or "").partition("/")[0]) or self.patterns["whole"]

    def check_part(self, part: str | None, *, training: bool) -> str | None:
        """The part that is meant.

        Raises:
            UserError: It has no such part.
        """
        if part is None:
            return self.training_part if training else self.part
        if part not in self.parts and not self.free_parts:
            there = f"there is {', '.join(self.parts)}" if self.parts else "it has no parts"
            raise UserError(f"{self.name}: no part {part!r}; {there}")
        trained = [each for each in self.parts if each.startswith("train")]
        if training and self.modality == "image" and trained and part not in trained:
            raise UserError(
                f"{self.name}: part {part} is evaluated and not trained on; choose "
                f"{', '.join(trained)}"
            )
        return part

    def check_languages(self, languages: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """BCP 47 tags in ascending order, each once.

        Raises:
            UserError: The source has no such language, whatever files there are.
            NotALanguageError: It is none.
        """
        if languages is None:
            return None
        if not self.languages or all(map(is_language, languages)):
            languages = tuple(map(bcp47, languages))
        if self.languages and (unknown := sorted(set(languages) - set(self.languages))):
            raise UserError(
                f"{self.name} has no language {unknown[0]!r}; it has {', '.join(self.languages)}"
            )
        return tuple(sorted(set(languages)))
