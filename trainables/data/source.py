"""Metadata of a data source, as in `sources.yaml`, and the loader of its files."""

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
    """Data of a source to read, and options for reading them.

    Attributes:
        source: Source to read from.
        folder: Folder that holds the source's own files, at any depth.
        languages: BCP-47 codes; None for all that the files hold.
        part: One of the source's parts; None for all of it, or if it has none.
        text: Form of a candidate's text, for sources that offer a choice.
        skipped: Counts malformed rows, which are left out; None refuses them.
        training: Whether the data are to be trained on rather than evaluated.
        negatives: Whether to read hard negatives of training rows.
        convert_offsets: Whether to convert answer offsets that do not count code points.
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
        """Name of the source."""
        return self.source.name

    @property
    def offsets(self) -> Offsets:
        """Treatment of answer offsets that do not count code points."""
        return "convert" if self.convert_offsets else "check"

    def find(self, pattern: str) -> list[tuple[Path, dict[str, str]]]:
        """Return the files whose path matches, with the pattern's groups (`reading.find`)."""
        return reading.find(self.folder, pattern)

    def find_one(self, pattern: str, called: str) -> Path:
        """Return the first file whose path matches.

        Raises:
            UserError: There is none; the message names it as `called`.
        """
        for path, _ in self.find(pattern):
            return path
        raise UserError(
            f"{self.name}: no {called} in {self.folder}; {reading.help_with(self.name)}"
        )

    def choose(
        self, table: Mapping[str, T], what: str, languages: Sequence[str] | None = None
    ) -> dict[str, T]:
        """Select languages from a table, by default those requested (`reading.choose`)."""
        return reading.choose(table, languages or self.languages, self.name, self.folder, what)

    def records(self, file: File, convert: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
        """Read and convert the rows of a JSON-lines or Parquet file (`reading.records`)."""
        return reading.records(file, self.name, convert, self.skipped)

    @property
    def dropped(self) -> dict[str, int]:
        """Number of rows skipped so far by reason, for `Benchmark.dropped`."""
        return dict(self.skipped or Counter())


@dataclass(frozen=True)
class SourceFiles:
    """Files that a request reads.

    Attributes:
        files: Path by role or canonical name, whatever the file's actual name.
        languages: BCP-47 codes in ascending order.
    """

    files: Mapping[str, Path]
    languages: tuple[str, ...]


@dataclass(frozen=True)
class Loader:
    """Functions that read one file format.

    Each raises `UserError` if a file is missing or malformed, or lacks a requested language.

    Attributes:
        files: Finds the files of a request.
        benchmark: Loads them for evaluation; None if that is not possible.
        training: Loads them for training; None if that is not possible.
        modality: Whether candidates are texts or images.
    """

    files: Callable[[Request], SourceFiles]
    benchmark: Callable[[Request], Benchmark] | None = None
    training: Callable[[Request], TrainingSet] | None = None
    modality: Literal["text", "image"] = "text"


@dataclass(frozen=True)
class Hub:
    """Data set on the Hugging Face hub.

    Attributes:
        id: As `owner/name`.
        files: Patterns of the files to fetch; `{}` stands for the source's name of a language.
        revision: A commit; None if unknown: the newest is then fetched and noted.
    """

    id: str
    files: tuple[str, ...]
    revision: str | None = None


@dataclass(frozen=True)
class Web:
    """Files at web addresses.

    Attributes:
        files: Addresses, or their ends; `{}` stands for the source's name of a language.
        base: Common start of all addresses; `{revision}` stands for the revision.
        revision: Commit of the repository that holds them; None if unknown: `main` is then used.
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
    """Files of one part, for formats that several sources share.

    Attributes:
        called: Name of such a file in messages.
        paths: Regular expressions for `reading.find`, with a group `language` if a file holds one
            language.
    """

    called: str
    paths: tuple[str, ...]


def _sentences(value: object) -> object:
    """Join a list of sentences, which lets sources share some in YAML."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


class Source(BaseModel):
    """One source of data.

    Attributes:
        name: Name in commands and spaces.
        about: Description in one line.
        loader: Reads its files.
        reference: Address of its home page.
        citation: Its paper: arXiv id, DOI or anthology id, or authors and year.
        licence: Licence of the texts.
        languages: BCP-47 codes that the source has; empty if its files decide. By default those
            of `codes`.
        optional_languages: Subset of `languages` read by default only if their files exist.
        sizes: Size in words.
        relevance: Languages in which a query's relevant candidates were judged: all (parallel
            data, the setting `multi`), the query's own, another one, or as the files say.
        can: What it can show.
        cannot: What it cannot show.
        layout: Files that it reads, as described to people.
        patterns: Files by part, or under `whole`, for loaders that leave file names open.
        origins: Where to get the files.
        parts: Its parts; empty for a source in one piece.
        part: Part to evaluate by default; None for all of it.
        training_part: Part to train on by default.
        untrained: Why it cannot be trained on; empty if it can.
        has_text: Whether it offers a choice of candidate text.
        has_negatives: Whether its training rows can have hard negatives.
        has_offsets: Whether it reads the offsets of answers in passages.
        embedded: Whether this project generates it, so that there are no files.
        content: Identifies the content of an embedded source, in place of a digest of files.
        free_parts: Whether the loader checks parts beyond `parts`.
        names_part: Whether a spec names the part even if it is the default.
        codes: BCP-47 code to the name of the language in the origins' files; in YAML the names
            alone.
        checksums: File name to its size in bytes and git blob id, as far as known. A file that is
            not listed is not wrong, only unknown.
        counts: Part, or `whole`, to language to the number of queries and, if known, candidates,
            as published or counted; for image data those of captions and images.
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
        """Expand a list of codes to a mapping, and default `languages` to its keys."""
        codes = fields.get("codes", {})
        if isinstance(codes, list):
            codes = {bcp47(code): code for code in codes}
        assert isinstance(codes, dict)
        return {"languages": sorted(codes), **fields, "codes": codes}

    @property
    def kind(self) -> Literal["benchmark", "training", "both"]:
        """Permitted use."""
        if self.loader.benchmark is None:
            return "training"
        return "both" if self.is_trainable else "benchmark"

    @property
    def modality(self) -> Literal["text", "image"]:
        """Whether candidates are texts or images."""
        return self.loader.modality

    @property
    def is_trainable(self) -> bool:
        """Whether it can be trained on."""
        return not self.untrained

    @property
    def parallel(self) -> bool:
        """Whether each row exists in all of its languages."""
        return self.relevance == "all languages"

    def patterns_of(self, part: str | None) -> Patterns:
        """Return the files of a part; `test/de-en` has those of `test`."""
        return self.patterns.get((part or "").partition("/")[0]) or self.patterns["whole"]

    def check_part(self, part: str | None, *, training: bool) -> str | None:
        """Return the part, or the default one if None.

        Raises:
            UserError: The source has no such part, or not for training.
        """
        if part is None:
            return self.training_part if training else self.part
        if part not in self.parts and not self.free_parts:
            choices = f"there is {', '.join(self.parts)}" if self.parts else "it has no parts"
            raise UserError(f"{self.name}: no part {part!r}; {choices}")
        training_parts = [known for known in self.parts if known.startswith("train")]
        if training and self.modality == "image" and training_parts and part not in training_parts:
            raise UserError(
                f"{self.name}: part {part} is evaluated and not trained on; choose "
                f"{', '.join(training_parts)}"
            )
        return part

    def check_languages(self, languages: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Return BCP-47 tags, unique and in ascending order.

        Raises:
            UserError: The source has no such language, whatever its files are.
            NotALanguageError: A tag is malformed.
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
