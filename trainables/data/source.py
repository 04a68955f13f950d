"""What a source of data is: the facts that people are told, and the functions that read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainables.data.corpus import Benchmark, TrainingSet
from trainables.data.languages import bcp47, is_language
from trainables.data.pictures import PictureBenchmark, PictureTraining
from trainables.data.reading import Skipped
from trainables.data.squad_json import Offsets
from trainables.errors import UserError
from trainables.spec import CandidateText

Relevance = Literal["all languages", "own language", "other language", "as given"]


@dataclass(frozen=True)
class Request:
    """What is asked of a source.

    Attributes:
        name: Of the source.
        folder: Holds the source's own files, at any depth.
        languages: BCP-47 codes; None for all that the files hold.
        part: A part that the source has; None where it has none, or for all of it.
        text: What a candidate's text is, where the source leaves it open.
        skipped: Counts malformed rows, which are left out; None refuses them.
        training: Whether it is to be trained on, not evaluated.
        negatives: Whether training rows are to have their hard negatives.
        convert_offsets: Whether answer offsets in another unit than code points are converted.
    """

    name: str
    folder: Path
    languages: tuple[str, ...] | None = None
    part: str | None = None
    text: CandidateText | None = None
    skipped: Skipped = None
    training: bool = False
    negatives: bool = False
    convert_offsets: bool = False

    @property
    def offsets(self) -> Offsets:
        """What is done about answer offsets in another unit."""
        return "convert" if self.convert_offsets else "check"

    @property
    def dropped(self) -> dict[str, int]:
        """What was skipped so far, as `Benchmark.dropped` holds it."""
        return dict(self.skipped or Counter())


@dataclass(frozen=True)
class Found:
    """The files that a request reads.

    Attributes:
        files: What each is, whatever it is called here, to where it lies.
        languages: BCP-47 codes in ascending order.
    """

    files: Mapping[str, Path]
    languages: tuple[str, ...]


@dataclass(frozen=True)
class Hub:
    """A data set of the Hugging Face hub.

    Attributes:
        id: As `owner/name`.
        files: Patterns of the files to fetch; `{}` stands for a language as the source names it.
        revision: A commit; `main` where none is known, and what was fetched is then noted.
    """

    id: str
    files: tuple[str, ...]
    revision: str = "main"


@dataclass(frozen=True)
class Web:
    """Files that lie at addresses of their own.

    Attributes:
        urls: Complete addresses.
    """

    urls: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """One source of data.

    Attributes:
        name: As commands and spaces name it.
        about: One line.
        licence: Of the texts.
        languages: BCP-47 codes that the source has; empty where the files decide.
        sizes: In words.
        relevance: Where a query's relevant candidates were judged: in all languages (parallel
            data, the setting `multi`), in the query's own, in another one, or as the files say.
        can: What it can show.
        cannot: What it cannot show.
        layout: Which files it reads, as patterns of their paths.
        find: The files of a request.
        origins: Where to get the files.
        parts: Its parts; empty for a source in one piece.
        part: Evaluated unless another is asked for; None for all of it.
        training_part: Trained on unless another is asked for.
        benchmark: Loads it to evaluate on; None where it cannot be.
        training: Loads it to train on; None where it cannot be, or has pictures.
        pictures: Loads it with its pictures; None where it has none. `benchmark` is then one
            direction of it, captions searching pictures.
        picture_training: Loads its pictures and captions to train on; None where it cannot.
        untrained: Why it cannot be trained on.
        has_text: Whether it leaves open what a candidate's text is.
        has_negatives: Whether its training rows can have hard negatives.
        has_offsets: Whether it reads where answers stand in passages.
        embedded: Whether this project makes it, so that there are no files.
        content: What names the content of what this project makes.
        free_parts: Whether parts beyond `parts` are checked by its own functions.
        names_part: Whether a spec names the part even where it is the usual one.
        codes: BCP-47 code to the name of the language in the origins' files.
    """

    name: str
    about: str
    licence: str
    languages: tuple[str, ...]
    sizes: str
    relevance: Relevance
    can: str
    cannot: str
    layout: tuple[str, ...]
    find: Callable[[Request], Found]
    origins: tuple[Hub | Web, ...] = ()
    parts: tuple[str, ...] = ()
    part: str | None = None
    training_part: str | None = None
    benchmark: Callable[[Request], Benchmark] | None = None
    training: Callable[[Request], TrainingSet] | None = None
    pictures: Callable[[Request], PictureBenchmark] | None = None
    picture_training: Callable[[Request], PictureTraining] | None = None
    untrained: str = ""
    has_text: bool = False
    has_negatives: bool = False
    has_offsets: bool = False
    embedded: bool = False
    content: str = ""
    free_parts: bool = False
    names_part: bool = True
    codes: Mapping[str, str] | None = None

    @property
    def kind(self) -> Literal["benchmark", "training", "both"]:
        """What it can be used for."""
        if self.benchmark is None:
            return "training"
        return "both" if self.is_trainable else "benchmark"

    @property
    def is_trainable(self) -> bool:
        """Whether it can be trained on, as texts or as pictures."""
        return self.training is not None or self.picture_training is not None

    @property
    def parallel(self) -> bool:
        """Whether a row exists in all of its languages."""
        return self.relevance == "all languages"

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
        if training and self.picture_training is not None and trained and part not in trained:
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
