"""What all loaders share: finding a source's files, reading rows, and saying what is wrong where.

A malformed row stops the reading unless skipping was asked for; then it is counted by file in
`skipped`, which ends up in `Benchmark.dropped`.
"""

from __future__ import annotations

import gzip
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

from trainables.data.languages import NotALanguageError, bcp47
from trainables.errors import DataError, UserError

T = TypeVar("T")
File = Path | zipfile.Path
Skipped = Counter[str] | None
"""None: a malformed row is an error; else it is counted here and left out."""

AGAIN = "Get the file again from its source"
SKIP = "or leave malformed rows out with skip_malformed (--set skip_malformed=true)"


class BadRowError(Exception):
    """A row that is not as its format says; the message says which key and what is allowed.

    What reads rows makes a `DataError` of it, with file and row, or counts it.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        """Say what is wrong, and with which key or column."""
        super().__init__(message)
        self.key = key


class AbsentLanguageError(DataError):
    """Languages asked for of which the files hold nothing.

    Attributes:
        present: Those that the files hold.
    """

    def __init__(
        self,
        name: str,
        what: str,
        missing: Collection[str],
        present: Collection[str],
        folder: Path,
    ) -> None:
        """Say of which languages a source, as it lies in a folder, has no `what`, and of which."""
        self._arguments = name, what, tuple(missing), tuple(present), folder
        self.present = tuple(sorted(present))
        [first, *others] = map(repr, sorted(missing))
        what = what if others else what.replace("<language>", first.strip("'"))
        languages = f"languages {', '.join([first, *others])}" if others else f"language {first}"
        super().__init__(
            f"{name}: no {what} of {languages} in {folder}; there is {', '.join(self.present)}. "
            f"Add the files ({help_with(name)}), or choose among these with --set "
            f"eval_languages={','.join(self.present)} (to train, languages=...)",
            folder,
            None,
            "language",
        )

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """As for the base class."""
        return type(self), self._arguments


def help_with(name: str) -> str:
    """Where a person learns what to fetch and where to put it."""
    return f"`python -m study data show {name}` says which files there are and how to get them"


def find(folder: Path, pattern: str) -> list[tuple[Path, dict[str, str]]]:
    """Files below `folder` whose path in it matches, and the pattern's groups, in natural order.

    Args:
        folder: Where to look, to any depth; hidden folders are left out.
        pattern: A regular expression with named groups for the end of the path, from a `/` on.
    """
    matcher = re.compile(rf"(?:.*/)?{pattern}")
    found = []
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            continue
        if (match := matcher.fullmatch(inside.as_posix())) and path.is_file():
            found.append((path, {k: v for k, v in match.groupdict().items() if v is not None}))
    return sorted(found, key=lambda item: _natural(item[0].relative_to(folder).as_posix()))


def _natural(text: str) -> list[tuple[int, str]]:
    """`docs-2` comes before `docs-10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def choose(
    found: Mapping[str, T], wanted: Sequence[str] | None, name: str, folder: Path, what: str
) -> dict[str, T]:
    """Of what was found by language, what is wanted, in ascending order of languages.

    Raises:
        UserError: Nothing was found.
        AbsentLanguageError: Not all that is wanted.
    """
    if not found:
        raise UserError(f"{name}: {folder} holds no {what}; {help_with(name)}")
    if missing := set(wanted or ()) - set(found):
        raise AbsentLanguageError(name, what, missing, found, folder)
    return {language: found[language] for language in sorted(wanted or found)}


def shards_each(
    matches: Iterable[tuple[Path, Mapping[str, str]]], name: str, default: str = ""
) -> dict[str, list[Path]]:
    """Language to its files, of what `find` finds by a group `language`.

    Args:
        matches: Paths and their groups.
        name: Of the source, for messages.
        default: Stands for a group that took no part in the match.

    Raises:
        DataError: A name is of no language, or two names are of one.
    """
    files: dict[str, list[Path]] = {}
    spelled: dict[str, str] = {}
    for path, groups in matches:
        spelling = groups.get("language", default)
        try:
            language = bcp47(spelling)
        except NotALanguageError as error:
            message = f"{name}: {path}: {error}; rename or move the file"
            raise DataError(message, path, None, "language") from None
        if spelled.setdefault(language, spelling) != spelling:
            refuse_both(name, language, files[language][0], path)
        files.setdefault(language, []).append(path)
    return files


def one_each(
    matches: Iterable[tuple[Path, Mapping[str, str]]], name: str, default: str = ""
) -> dict[str, Path]:
    """As `shards_each`, where a language has one file.

    Raises:
        DataError: As there, or two files are of one language.
    """
    files = shards_each(matches, name, default)
    for language, paths in files.items():
        for path in paths[1:]:
            if path.resolve() != paths[0].resolve():
                refuse_both(name, language, paths[0], path)
    return {language: paths[0] for language, paths in files.items()}


def refuse_both(name: str, language: str, first: Path, second: Path) -> NoReturn:
    """Refuse two files of one language, of which nobody knows which one is meant.

    Raises:
        DataError: Always.
    """
    raise DataError(
        f"{name}: {first} and {second} are both of language {language}; move one of them away",
        second,
        None,
        "language",
    )


def lines(file: File, name: str) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, and their numbers from 1; `.gz` is unpacked.

    Raises:
        UserError: The file is missing, cannot be read, or is a broken archive.
    """
    try:
        with _open(file) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise UserError(f"{name}: no file {file}; {help_with(name)}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise UserError(f"{name}: {file} is a broken archive ({error}). {AGAIN}") from None
    except OSError as error:
        raise UserError(f"{name}: cannot read {file}: {error.strerror or error}. {AGAIN}") from None


def _open(file: File) -> IO[bytes]:
    if isinstance(file, Path) and file.suffix == ".gz":
        return gzip.open(file, "rb")  # type: ignore[return-value]
    return file.open("rb")


def json_document(file: Path, name: str) -> Any:
    """The value of one JSON file.

    Raises:
        UserError: As `lines`, or it is not UTF-8, or not complete JSON.
    """
    content = b"".join(line for _, line in lines(file, name))
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"{name}: {file} is not UTF-8 text. {AGAIN}") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{name}: {file} is not complete JSON (line {error.lineno}, column {error.colno}: "
            f"{error.msg}). {AGAIN}"
        ) from None


def records(
    file: File, name: str, convert: Callable[[Mapping[str, Any]], T], skipped: Skipped = None
) -> Iterator[T]:
    """Rows of a JSON-lines or Parquet file, converted.

    Args:
        file: Its name ends in `.parquet`, or it holds one JSON object a line.
        name: Of the source, for messages.
        convert: Makes what is wanted of a row, or raises `BadRowError`.
        skipped: See the module.

    Raises:
        UserError: As `lines`, or a malformed row and `skipped` is None.
    """
    if isinstance(file, Path) and file.suffix == ".parquet":
        rows: Iterable[tuple[int, Any]] = enumerate(_parquet(file, name), 1)
        return _converted(rows, file, name, convert, skipped)
    return _converted(lines(file, name), file, name, lambda line: convert(_object(line)), skipped)


def table(
    file: File,
    name: str,
    columns: str,
    convert: Callable[[Sequence[str]], T],
    skipped: Skipped = None,
) -> Iterator[T]:
    """Rows of a file of tab-separated columns, converted; as `records`.

    Args:
        file: The last column may hold blanks; where the others hold none, blanks separate too.
        name: Of the source, for messages.
        columns: Their names with blanks between, as shown in messages.
        convert: Makes what is wanted of the columns, or raises `BadRowError`.
        skipped: See the module.
    """
    number = len(columns.split())

    def split(line: bytes) -> T:
        text = _text(line)
        parts = text.split("\t") if "\t" in text else text.split(None, number - 1)
        if len(parts) != number:
            raise BadRowError(f"{len(parts)} columns instead of {number} ({columns})")
        return convert(parts)

    return _converted(lines(file, name), file, name, split, skipped)


def need(row: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """The value of a key that must be there, of a type that it must have.

    Raises:
        BadRowError: It is not.
    """
    if key not in row:
        keys = ", ".join(map(repr, row)) or "none"
        raise BadRowError(f"no key {key!r}; keys are {keys}", key)
    value = row[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BadRowError(f"{key!r} is {type(value).__name__}, not {kind.__name__}", key)
    return value


def text_of(row: Mapping[str, Any], key: str) -> str:
    """As `need`, for a text that is not blank."""
    value = need(row, key, str)
    if not value.strip():
        raise BadRowError(f"{key!r} is blank", key)
    return value


def identity_of(row: Mapping[str, Any], key: str) -> str:
    """As `need`, for an id: a string or a whole number."""
    value = row.get(key)
    return str(value) if type(value) is int else text_of(row, key)


def language_of(row: Mapping[str, Any], key: str) -> str:
    """The BCP-47 code of the language that a key names.

    Raises:
        BadRowError: It names none.
    """
    return _language(text_of(row, key), key)


def _language(code: str, key: str) -> str:
    try:
        return bcp47(code)
    except UserError as error:
        raise BadRowError(f"{key!r}: {error}", key) from None


def refuse_repeat(seen: set[str], identity: str) -> str:
    """Note an id.

    Raises:
        BadRowError: It was noted before.
    """
    if identity in seen:
        raise BadRowError(f"id {identity!r} is used twice")
    seen.add(identity)
    return identity


def _converted(
    rows: Iterable[tuple[int, Any]],
    file: File,
    name: str,
    convert: Callable[[Any], T],
    skipped: Skipped,
) -> Iterator[T]:
    for number, row in rows:
        try:
            value = convert(row)
        except BadRowError as error:
            skip_or_refuse(error, name, file, number, skipped)
        else:
            yield value


def skip_or_refuse(
    error: BadRowError, name: str, file: File, row: int | str, skipped: Skipped
) -> None:
    """Count a malformed row of a file, or refuse it.

    Raises:
        DataError: `skipped` is None.
    """
    if skipped is None:
        message = f"{name}: {file}, row {row}: {error}. {AGAIN}, {SKIP}"
        raise DataError(message, file, row, error.key) from None
    skipped[f"malformed rows of {file.name}"] += 1


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise BadRowError(f"not UTF-8 text at byte {error.start}") from None


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(_text(line))
    except json.JSONDecodeError as error:
        raise BadRowError(f"not JSON (column {error.colno}: {error.msg})") from None
    if not isinstance(value, dict):
        raise BadRowError(f"an object is expected, not {type(value).__name__}")
    return value


def _parquet(file: Path, name: str) -> Iterator[Mapping[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches():
                yield from batch.to_pylist()
    except FileNotFoundError:
        raise UserError(f"{name}: no file {file}; {help_with(name)}") from None
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{name}: {file} cannot be read as Parquet ({error}). {AGAIN}") from None
