"""SQuAD data with a file for each language: find the files and read them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from trainables.data.formats.reading import refuse_both, refuse_missing_shard, shards_each
from trainables.data.formats.squad_json import Paragraph, ParagraphReader, cluster_of
from trainables.data.languages import is_language
from trainables.data.source import Request, SourceFiles
from trainables.errors import UserError

Files = Mapping[str, Sequence[Paragraph]]
"""Language to the paragraphs of its file."""

Places = dict[str, list[Path]]
"""Language to its file, or to the shards of its table."""

ARTICLES = {"articles": 0, "held-out": 1}
"""Parts that divide each file by article: even indices for training, odd ones for evaluation, with
the same domain and no shared text. The value is the article's index modulo 2."""


def language_files(request: Request, default: str = "") -> Places:
    """Find the files or shards of the requested languages, by default of all that the source has.

    A source's optional languages are included if their files exist; any other missing language
    is refused rather than silently left out.

    Args:
        request: Request whose source describes the files by patterns.
        default: Language of a file whose name has none.

    Raises:
        UserError: There is no file.
        DataError: Two files, or a file and a table, have the same language.
    """
    source, patterns = request.source, request.source.patterns_of(request.part)
    matches = [
        match
        for pattern in patterns.paths
        for match in request.find(pattern)
        if not pattern.startswith("/") or is_language(match[1]["language"])
    ]
    places = one_source_each(matches, request.name, default)
    optional = {*source.optional_languages} - places.keys()
    expected = [language for language in source.languages if language not in optional]
    return request.choose(places, patterns.called, request.languages or expected)


def read_languages(request: Request, places: Places, sentences: bool = False) -> Files:
    """Read the files of each language, in ascending order.

    Args:
        request: Its part may divide files by article; paragraph numbers do not change.
        places: Language to its files.
        sentences: Whether every paragraph must have sentence boundaries.

    Raises:
        UserError: As `ParagraphReader.read`, or the part divides files by article and
            translations of a question are in different ones.
    """
    name = request.name
    offsets = request.offsets if request.source.has_offsets else "unused"
    files = {
        language: ParagraphReader(name, sentences, request.skipped, offsets=offsets).read(*paths)
        for language, paths in places.items()
    }
    if request.part not in ARTICLES:
        return files
    _refuse_misaligned(files, name)
    remainder = ARTICLES[request.part]
    divided = {
        language: [p for p in paragraphs if p.article % 2 == remainder]
        for language, paragraphs in files.items()
    }
    if not any(divided.values()):
        raise UserError(
            f"{name}: none of the articles of part {request.part} is in {request.folder}"
        )
    return divided


def by_preference(languages: Iterable[str]) -> list[str]:
    """Sort languages, English first: the order in which shared ids and titles are looked up."""
    return sorted(languages, key=lambda language: (language != "en", language))


def clusters_of(files: Files) -> dict[str, str]:
    """Return question id to article, from the preferred language that has the question."""
    clusters: dict[str, str] = {}
    for language in by_preference(files):
        for paragraph in files[language]:
            for question in paragraph.questions:
                clusters.setdefault(question.id, cluster_of(language, paragraph))
    return clusters


def one_source_each(
    matches: Iterable[tuple[Path, Mapping[str, str]]], name: str, default: str = ""
) -> Places:
    """Group the results of `find` by language: one file, or the shards of one table, each.

    Raises:
        DataError: Two files, or a file and a table, have the same language.
    """
    places = shards_each(matches, name, default)
    for language, (first, *others) in places.items():
        for path in others:
            if path.suffix != ".parquet" or path.parent != first.parent:
                refuse_both(name, language, first, path)
        refuse_missing_shard([first, *others], name)
    return places


def files_by_language(places: Places, kind: str = "json") -> SourceFiles:
    """Name the languages' files uniformly, whatever they are called on disk."""
    files = {
        f"{language}.{number}.parquet" if path.suffix == ".parquet" else f"{language}.{kind}": path
        for language, paths in places.items()
        for number, path in enumerate(paths)
    }
    return SourceFiles(files, tuple(places))


def _refuse_misaligned(files: Files, name: str) -> None:
    """Refuse articles that differ between translations, as division by article index would leak."""
    places: dict[str, tuple[str, int]] = {}
    for language, paragraphs in files.items():
        for paragraph in paragraphs:
            if paragraph.article < 0:
                raise UserError(
                    f"{name}: the Parquet files of {language} do not say which article a paragraph "
                    "is of, so nobody can divide them by article; take the source's JSON files"
                )
            for question in paragraph.questions:
                other, article = places.setdefault(question.id, (language, paragraph.article))
                if article != paragraph.article:
                    raise UserError(
                        f"{name}: question {question.id!r} is in article {article} of {other}.json "
                        f"but {paragraph.article} of {language}.json, so a division by article "
                        "index would leak. Divide by question ids instead"
                    )
