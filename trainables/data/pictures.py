"""Pictures with captions in several languages, and the two directions they are searched in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from trainables.data.benchmark import Benchmark, Candidate, Query
from trainables.errors import UserError

IMAGE = "image"
"""What stands where a language would: pictures have none."""

Kind = Literal["t2i", "i2t"]


@dataclass(frozen=True, slots=True)
class TableImage:
    """Where a table holds an encoded picture: `column` of row `row` of a Parquet file."""

    file: Path
    column: str
    row: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, not read yet.

    Attributes:
        id: Unique in its benchmark.
        source: An image file, a cell of a table, or the bytes of an image file.
        cluster: The highest unit of dependence known, such as a family of pictures.
    """

    id: str
    source: Path | TableImage | bytes
    cluster: str


@dataclass(frozen=True, slots=True)
class Caption:
    """What a picture shows, or what is asked of it, in one language.

    Attributes:
        id: Unique in its benchmark.
        text: What the encoder is given, before any prefix.
        picture: Id of the picture.
        parallel: Shared by all translations of this caption.
    """

    id: str
    text: str
    picture: str
    parallel: str


@dataclass(frozen=True)
class PictureBenchmark:
    """Pictures and their captions in one or more languages.

    Attributes:
        name: As in the catalog.
        pictures: In file order, which breaks ties.
        captions: Language to its captions, in file order; languages in ascending order.
        parallel: Whether every picture has one caption in each language, all of the same: rank
            distance means something only there.
        dropped: Why items of the source are not here, to how many.
        refusal: Why this can be counted but not evaluated; empty where it can be.
    """

    name: str
    pictures: Sequence[Picture]
    captions: Mapping[str, Sequence[Caption]]
    parallel: bool = True
    dropped: Mapping[str, int] = field(default_factory=dict)
    refusal: str = ""

    def __post_init__(self) -> None:
        """Check what every later step relies on.

        Raises:
            UserError: Languages out of order, an id used twice, or a caption without its picture.
        """
        if list(self.captions) != sorted(self.captions):
            raise UserError(f"{self.name}: languages of captions must be in ascending order")
        known = {picture.id for picture in self.pictures}
        every = [caption for items in self.captions.values() for caption in items]
        if len(known) < len(self.pictures) or len({c.id for c in every}) < len(every):
            raise UserError(f"{self.name}: an id is used twice; make ids unique")
        for caption in every:
            if caption.picture not in known:
                raise UserError(
                    f"{self.name}: caption {caption.id!r} is of picture {caption.picture!r}, which "
                    "is not there; add the picture or leave the caption out"
                )

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of the captions."""
        return tuple(self.captions)

    @property
    def repeated(self) -> Mapping[str, int]:
        """Language to how many of its captions another picture has too, word for word.

        No encoder can find the one picture that counts for such a caption.
        """
        repeated_by = {}
        for language, captions in self.captions.items():
            shown: dict[str, set[str]] = {}
            for caption in captions:
                shown.setdefault(caption.text, set()).add(caption.picture)
            repeated_by[language] = sum(len(shown[caption.text]) > 1 for caption in captions)
        return repeated_by

    def benchmark(self, kind: Kind) -> Benchmark:
        """One direction, as every evaluation reads it; a picture's text there is its id.

        `t2i` searches the pictures with captions, `i2t` the captions of each language, and of all
        languages together, with pictures.
        """
        cluster = {picture.id: picture.cluster for picture in self.pictures}
        pictures = [Candidate(picture.id, picture.id) for picture in self.pictures]
        judged_ids = {
            language: [Query(c.id, c.text, c.parallel, cluster[c.picture]) for c in captions]
            for language, captions in self.captions.items()
        }
        shown = [Query(p.id, p.id, p.id, p.cluster) for p in self.pictures]
        judged: dict[str, dict[str, float]] = {}
        for captions in self.captions.values():
            for caption in captions:
                pair = (caption.id, caption.picture)
                query, candidate = pair if kind == "t2i" else reversed(pair)
                judged.setdefault(query, {})[candidate] = 1.0
        texts = {
            language: [Candidate(c.id, c.text) for c in captions]
            for language, captions in self.captions.items()
        }
        return Benchmark(
            name=self.name,
            queries=judged_ids if kind == "t2i" else {IMAGE: shown},
            corpus={IMAGE: pictures} if kind == "t2i" else texts,
            qrels=judged,
            judged_in_all_languages=kind == "i2t" and self.parallel,
            dropped=self.dropped,
            refusal=self.refusal,
        )


@dataclass(frozen=True)
class PictureTraining:
    """Pictures with captions, aligned over languages: row r is one picture's captions.

    Attributes:
        name: As in the catalog.
        pictures: (n,) the picture of each row; a picture may have several rows.
        rows: (n,) unique ids.
        clusters: (n,) units of dependence, for checks of contamination.
        captions: Language to n texts; None where a row lacks the language.
        dropped: Why items of the source are not here, to how many.
        refusal: Why this can be counted but not trained on; empty where it can be.
    """

    name: str
    pictures: Sequence[Picture]
    rows: Sequence[str]
    clusters: Sequence[str]
    captions: Mapping[str, Sequence[str | None]]
    dropped: Mapping[str, int] = field(default_factory=dict)
    refusal: str = ""

    def __post_init__(self) -> None:
        """Check that all columns have the same length."""
        n = len(self.rows)
        columns = [self.pictures, self.clusters, *self.captions.values()]
        if any(len(column) != n for column in columns) or len(set(self.rows)) != n:
            raise UserError(f"{self.name}: columns differ in length, or a row's id repeats")

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages in ascending order."""
        return tuple(sorted(self.captions))

    def refuse_if_incomplete(self) -> None:
        """Stop where nothing can be trained on.

        Raises:
            UserError: `refusal` says why.
        """
        if self.refusal:
            raise UserError(f"{self.name} cannot be trained on: {self.refusal}")

    def restrict(self, languages: Sequence[str], *, aligned: bool = True) -> PictureTraining:
        """The same rows in fewer languages.

        Args:
            languages: BCP-47 codes, each one of `languages`.
            aligned: Keep the rows that have all of them, else those that have any.

        Raises:
            UserError: A language that is not there, or no row is left.
        """
        if unknown := sorted(set(languages) - set(self.captions)):
            raise UserError(
                f"{self.name} has no captions in {unknown[0]!r}; it has {', '.join(self.languages)}"
            )
        chosen = {language: self.captions[language] for language in sorted(set(languages))}
        enough = all if aligned else any
        remaining = [
            row
            for row in range(len(self.rows))
            if enough(texts[row] is not None for texts in chosen.values())
        ]
        if not remaining:
            raise UserError(
                f"{self.name}: no picture has captions in all of {', '.join(chosen)}; choose fewer "
                "languages"
            )
        return replace(
            self,
            pictures=[self.pictures[row] for row in remaining],
            rows=[self.rows[row] for row in remaining],
            clusters=[self.clusters[row] for row in remaining],
            captions={la: [texts[row] for row in remaining] for la, texts in chosen.items()},
        )
