"""Data of SQuAD's shape in several languages, a file each: which files there are, read together."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from trainables.data.languages import is_language
from trainables.data.reading import (
    Skipped,
    choose,
    find,
    refuse_both,
    refuse_missing_shard,
    shards_each,
)
from trainables.data.squad_json import Offsets, Paragraph, read_paragraphs
from trainables.errors import UserError

Files = Mapping[str, Sequence[Paragraph]]
"""Language to the paragraphs of its file."""

Places = dict[str, list[Path]]
"""Language to its file, or to the shards of its table."""

WHAT = "<language>.json"


def read_languages(
    folder: Path,
    name: str,
    languages: Sequence[str] | None,
    articles: Container[int] | None = None,
    sentences: bool = True,
    skipped: Skipped = None,
    offsets: Offsets = "check",
) -> Files:
    """Read the file of each language, in ascending order.

    Args:
        folder: As for `language_files`.
        name: As for `language_files`.
        languages: To read; None for every file in the folder.
        articles: Keep only articles with these indices; paragraph numbers stay the same.
        sentences: Whether every paragraph must have sentence boundaries.
        skipped: As for `read_paragraphs`.
        offsets: As for `read_paragraphs`.

    Raises:
        UserError: As `language_files`, `choose` and `read_paragraphs`, or translations of a
            question lie in different articles where `articles` divides them.
    """
    places = choose(language_files(folder, name), languages, name, folder, WHAT)
    files = {
        language: read_paragraphs(paths, name, sentences, skipped, offsets=offsets)
        for language, paths in places.items()
    }
    if articles is None:
        return files
    _refuse_misaligned(files, name)
    divided = {
        la: [p for p in paragraphs if p.article in articles] for la, paragraphs in files.items()
    }
    if not any(divided.values()):
        raise UserError(f"{name}: none of the articles asked for is in {folder}; indices from 0")
    return divided


def by_preference(languages: Iterable[str]) -> list[str]:
    """English first, then ascending: where ids and titles shared by translations come from."""
    return sorted(languages, key=lambda language: (language != "en", language))


def language_files(folder: Path, name: str) -> Places:
    """`<language>.json[.gz]` in a folder.

    Of `xquad` also its authors' `xquad.<language>.json`, and the hub's Parquet in folders
    `xquad.<language>`.

    Raises:
        UserError: No such folder.
        DataError: Two files are of one language.
    """
    if not folder.is_dir():
        raise UserError(
            f"{name}: no folder {folder}. Name the folder that holds its <language>.json files "
            "with --data-dir"
        )
    matches = []
    for path in sorted(folder.glob("*.json*")):
        stem, _, ending = path.name.partition(".json")
        code = stem.removeprefix("xquad.") if name == "xquad" else stem
        if ending in ("", ".gz") and is_language(code):
            matches.append((path, {"language": code}))
    # XTREME's copy on the hub has capitals
    tables = r"(?i:xquad)\.(?P<language>[\w-]+)/([^/]*validation[^/]*|validation/\d+)\.parquet"
    matches += find(folder, tables) if name == "xquad" else []
    return one_source_each(matches, name)


def one_source_each(matches: Iterable[tuple[Path, Mapping[str, str]]], name: str) -> Places:
    """Language to its file, or to the shards of its table, of what `find` finds.

    Raises:
        DataError: Two files, or a file and a table, are of one language.
    """
    places = shards_each(matches, name)
    for language, (first, *others) in places.items():
        for path in others:
            if path.suffix != ".parquet" or path.parent != first.parent:
                refuse_both(name, language, first, path)
        refuse_missing_shard([first, *others], name)
    return places


def named(places: Places, kind: str = "json") -> dict[str, Path]:
    """The files as `Found` has them, whatever they are called where they lie."""
    return {
        f"{language}.{number}.parquet" if path.suffix == ".parquet" else f"{language}.{kind}": path
        for language, paths in places.items()
        for number, path in enumerate(paths)
    }


def _refuse_misaligned(files: Files, name: str) -> None:
    """Article indices divide the data only where translations lie in the same article."""
    first: dict[str, tuple[str, int]] = {}
    for language, paragraphs in files.items():
        for paragraph in paragraphs:
            if paragraph.article < 0:
                raise UserError(
                    f"{name}: the Parquet files of {language} do not say which article a paragraph "
                    "is of, so nobody can divide them by article; take the source's JSON files"
                )
            for question in paragraph.questions:
                other, article = first.setdefault(question.id, (language, paragraph.article))
                if article != paragraph.article:
                    raise UserError(
                        f"{name}: question {question.id!r} is in article {article} of {other}.json "
                        f"but {paragraph.article} of {language}.json, so a division by article "
                        "index would leak. Divide by question ids instead"
                    )
