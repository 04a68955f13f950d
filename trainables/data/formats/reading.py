"""Shared by all loaders: find a source's files, read their rows, report errors with their place.

A malformed row raises an error unless skipping is on; it is then counted by file in `skipped`,
which becomes part of `Benchmark.dropped`. Functions of a row and a key raise `BadRowError`. A byte
order mark at the start of a file is ignored.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zipfile
import zlib
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

import yaml

from trainables.data.languages import NotALanguageError, bcp47
from trainables.errors import DataError, UserError
from trainables.storage.paths import walk

T = TypeVar("T")
File = Path | zipfile.Path
Skipped = Counter[str] | None
"""Counter of malformed rows, which are left out; None makes a malformed row an error."""

LONGEST_LINE = 2**26
LARGEST_DOCUMENT = 2**29
"""Most bytes read into memory for one line, and for one JSON file, after unpacking."""

LARGEST_RATIO = 250
"""Largest compression ratio of a file above `LONGEST_LINE`: texts reach 20, zip bombs 1,000."""

MOST_VALUES = 10_000_000
"""Most values in one JSON text: each takes many times more bytes in memory than in the file."""

ROWS_AT_ONCE = 256
"""Rows of a Parquet file read at once: a value stored once may be that of every row."""

MOST_BLANK = 1_000_000
"""Most consecutive blank lines."""

LARGEST_NUMBER = 2**31
"""Bound of judgements: mteb and trec_eval store them in 32 bits."""

_QUERY, _PASSAGE = (
    "id qid query query_id topic topic_id",
    "corpus_id doc doc_id docid docno passage pid",
)
HEADERS: Mapping[str, Sequence[str]] = {
    "id": f"{_QUERY} {_PASSAGE}".split(),
    "query": ["query", "question", "text", "title", "topic"],
    "text": ["contents", "passage", "query", "text"],
    "query-id": _QUERY.split(),
    "Q0": ["0", "iter", "iteration", "q0"],
    "corpus-id": _PASSAGE.split(),
    "score": ["gain", "label", "rel", "relevance", "score"],
}
"""Columns and their names in a header row, with `_` for `-`."""

AGAIN = "Get the file again from its source"
SKIP = "or leave malformed rows out with skip_malformed (--set skip_malformed=true)"


class BadRowError(Exception):
    """A row that violates its format; the message says which key and what is allowed.

    Readers of rows turn it into a `DataError` with file and row, or count it.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        """Take what is wrong, and the key or column concerned."""
        super().__init__(message)
        self.key = key

    def __reduce__(self) -> tuple[type, tuple[str, str | None]]:
        """Pickle with both arguments, as `DataError`."""
        return type(self), (str(self), self.key)


class AbsentLanguageError(DataError):
    """The files lack languages that were requested.

    Attributes:
        present: Languages that the files hold.
    """

    def __init__(
        self,
        name: str,
        what: str,
        missing: Collection[str],
        present: Collection[str],
        folder: Path,
    ) -> None:
        """Name the languages for which the folder has no `what`, and those that are present."""
        self._arguments = name, what, tuple(missing), tuple(present), folder
        self.present = tuple(sorted(present))
        [first, *others] = map(repr, sorted(missing))
        what = what if others else what.replace("<language>", first.strip("'"))
        languages = f"languages {', '.join([first, *others])}" if others else f"language {first}"
        choices = ", ".join(self.present) or "none"
        super().__init__(
            f"{name}: no {what} of {languages} in {folder}; there is {choices}. "
            f"Add the files ({help_with(name)}), or choose among these with --set "
            f"eval_languages={','.join(self.present)} (to train, languages=...)",
            folder,
            None,
            "language",
        )

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle with the original arguments."""
        return type(self), self._arguments


def metadata(name: str) -> Any:
    """Read a YAML file of `trainables/data`, by libyaml's C parser, several times faster."""
    content = Path(__file__).parents[1].joinpath(name).read_bytes()
    return yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def help_with(name: str) -> str:
    """Return the sentence that tells a person which files to get and how."""
    return f"`python -m study data show {name}` says which files there are and how to get them"


def find(folder: Path, pattern: str) -> list[tuple[Path, dict[str, str]]]:
    """Return files below `folder` whose path matches, with the pattern's groups, in natural order.

    Args:
        folder: Folder to search, to any depth; hidden folders are skipped, links are followed.
        pattern: A regular expression with named groups for the end of the path, from a `/` on;
            one that starts with `/` is for files in `folder` itself. If there are several ways to
            match, the pattern covers as much of the path as it can.
    """
    matcher = re.compile(pattern[1:] if pattern[:1] == "/" else rf"(?:.*?/)??{pattern}")
    matches = []
    for path in files_below(folder):
        inside = path.relative_to(folder).as_posix()
        if match := matcher.fullmatch(inside):
            groups = {k: v for k, v in match.groupdict().items() if v is not None}
            matches.append((_natural(inside), path, groups))
    return [(path, groups) for _, path, groups in sorted(matches, key=lambda item: item[0])]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder that are not hidden, following links.

    Raises:
        UserError: A folder cannot be read.
    """
    try:
        yield from walk(folder, hidden=False)
    except OSError as error:
        place, reason = error.filename or folder, error.strerror or error
        raise UserError(f"cannot read the folder {place}: {reason}") from None


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts `docs-2` before `docs-10`."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def choose(
    table: Mapping[str, T],
    languages: Sequence[str] | None,
    name: str,
    folder: Path,
    what: str,
) -> dict[str, T]:
    """Select the requested languages from a table, in ascending order.

    Raises:
        UserError: The table is empty.
        AbsentLanguageError: It lacks a requested language.
    """
    if not table:
        raise UserError(f"{name}: {folder} holds no {what}; {help_with(name)}")
    if missing := set(languages or ()) - set(table):
        raise AbsentLanguageError(name, what, missing, table, folder)
    return {language: table[language] for language in sorted(languages or table)}


def shards_each(
    matches: Iterable[tuple[Path, Mapping[str, str]]], name: str, default: str = ""
) -> dict[str, list[Path]]:
    """Group the results of `find` by the pattern's group `language`, each file once.

    Args:
        matches: Paths and their groups.
        name: Name of the source, for messages.
        default: Language if the group took no part in the match.

    Raises:
        DataError: A name is not a language, or two spellings mean the same one.
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
        paths = files.setdefault(language, [])
        if path.resolve() not in [known.resolve() for known in paths]:
            paths.append(path)
    return files


def one_each(
    matches: Iterable[tuple[Path, Mapping[str, str]]], name: str, default: str = ""
) -> dict[str, Path]:
    """Group files as `shards_each`, with one file per language.

    Raises:
        DataError: As `shards_each`, or two files have the same language.
    """
    files = shards_each(matches, name, default)
    for language, paths in files.items():
        for path in paths[1:]:
            refuse_both(name, language, paths[0], path)
    return {language: paths[0] for language, paths in files.items()}


def refuse_both(name: str, language: str, first: Path, second: Path) -> NoReturn:
    """Refuse two files of one language, since either could be meant."""
    raise DataError(
        f"{name}: {first} and {second} are both of language {language}; move one of them away",
        second,
        None,
        "language",
    )


def refuse_missing_shard(paths: Sequence[Path], name: str) -> None:
    """Refuse a table or collection that lacks one of its numbered files.

    Raises:
        DataError: The numbers, from 0, have a gap, or are fewer than the names say.
    """
    matches = [match for path in paths if (match := _SHARD.search(path.name))]
    numbers = {int(match["number"]) for match in matches}
    expected = max((int(match["of"] or int(match["number"]) + 1) for match in matches), default=0)
    if missing := sorted({*range(expected)} - numbers):
        folder = paths[0].parent
        message = f"{name}: {folder} lacks file {missing[0]} (from 0) of {expected}. {AGAIN}"
        raise DataError(message, folder)


_SHARD = re.compile(r"(?:^|-)(?P<number>\d+)(?:-of-(?P<of>\d+)(?:-[0-9a-f]+)?)?\.[^/\d]+$")


def lines(file: File, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield lines that are not blank, with their numbers from 1; `.gz` is unpacked.

    A line that is too long is cut after its beginning, which `line_text` refuses.

    Raises:
        UserError: The file is missing.
        DataError: It cannot be read, is a broken archive, has too many blank lines, or is a zip
            bomb.
    """
    with _opened(file, name) as stream:
        number = blank = unpacked = 0
        packed = _packed(file)

        def piece() -> bytes:
            nonlocal unpacked
            content = stream.readline(LONGEST_LINE + 1)
            unpacked += len(content)
            refuse_trap(unpacked, packed, file, name)
            return content

        while line := piece():
            number += 1
            rest = line
            line = line.removeprefix(BOM_UTF8) if number == 1 else line
            blank = 0 if line.strip() else blank + 1
            if blank > MOST_BLANK:
                message = f"{name}: {file}, row {number}: {blank} blank lines in a row. {AGAIN}"
                raise DataError(message, file, number)
            if not blank:
                yield number, line
            while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
                rest = piece()


def refuse_trap(unpacked: int, packed: float, file: File, name: str) -> None:
    """Refuse a zip bomb: a file that unpacks to far more than its size.

    Args:
        unpacked: Bytes unpacked so far.
        packed: Size of the packed file in bytes.
        file: The file.
        name: Name of the source, for messages.
    """
    if unpacked > LONGEST_LINE and unpacked > LARGEST_RATIO * packed:
        raise DataError(
            f"{name}: {file} unpacks to more than {LARGEST_RATIO} times its size, as no data do. "
            f"{AGAIN}, or unpack it if you trust it",
            file,
        )


def _packed(file: File) -> float:
    """Return the packed bytes of an archive or its member; infinity for a plain file."""
    if isinstance(file, zipfile.Path):
        member = file.root.getinfo(file.at)
        return min(member.compress_size, os.path.getsize(str(file.root.filename)))
    return file.stat().st_size if file.suffix == ".gz" else float("inf")


@contextmanager
def _opened(file: File, name: str) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacked; report errors with their remedy."""
    try:
        with _open(file) as stream:
            yield stream
    except FileNotFoundError:
        raise UserError(f"{name}: no file {file}; {help_with(name)}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, RuntimeError) as error:
        # zipfile raises RuntimeError for a password or an unknown compression.
        message = f"{name}: {file} is a broken archive ({error}). {AGAIN}"
        raise DataError(message, file) from None
    except OSError as error:
        message = f"{name}: cannot read {file}: {error.strerror or error}. {AGAIN}"
        raise DataError(message, file) from error


def _open(file: File) -> IO[bytes]:
    if isinstance(file, Path) and file.suffix == ".gz":
        return gzip.open(file, "rb")  # type: ignore[return-value]
    return file.open("rb")


def json_document(file: Path, name: str) -> Any:
    """Read one JSON file.

    Raises:
        UserError: The file is missing.
        DataError: As `lines`, or it is not UTF-8, not complete JSON, or too large.
    """
    with _opened(file, name) as stream:
        content = stream.read(LARGEST_DOCUMENT + 1)
    try:
        if len(content) > LARGEST_DOCUMENT:
            raise BadRowError(f"more than {LARGEST_DOCUMENT >> 20} MB of JSON in one piece")
        return _parsed(_decoded(content.removeprefix(BOM_UTF8)), "not complete JSON")
    except BadRowError as error:
        raise DataError(f"{name}: {file} is {error}. {AGAIN}", file, None, error.key) from None


def records(
    file: File, name: str, convert: Callable[[Mapping[str, Any]], T], skipped: Skipped = None
) -> Iterator[T]:
    """Read and convert the rows of a JSON-lines or Parquet file.

    Args:
        file: A `.parquet` file, or one with a JSON object on each line.
        name: Name of the source, for messages.
        convert: Converts a row, or raises `BadRowError`.
        skipped: Counts malformed rows, which are left out; None refuses them.

    Raises:
        UserError: As `lines`, or a row is malformed and `skipped` is None.
    """
    if isinstance(file, Path) and file.suffix == ".parquet":
        rows: Iterable[tuple[int, Any]] = enumerate(_parquet(file, name), 1)
        return converted(rows, file, name, convert, skipped)
    return converted(lines(file, name), file, name, lambda line: convert(_object(line)), skipped)


def table(
    file: File,
    name: str,
    columns: str,
    convert: Callable[[Mapping[str, str]], T],
    skipped: Skipped = None,
) -> Iterator[T]:
    """Read and convert the rows of a file of tab-separated columns, as `records` does.

    A first row that names the columns is skipped.

    Args:
        file: If a line has no tab, blanks separate its columns; the last one may contain blanks.
        name: Name of the source, for messages.
        columns: Their names separated by blanks, as shown in messages.
        convert: Converts a row's values by column, or raises `BadRowError`.
        skipped: Counts malformed rows, which are left out; None refuses them.
    """
    names = columns.split()

    def split(line: bytes) -> list[str]:
        text = line_text(line)
        parts = text.split("\t") if "\t" in text else text.split(None, len(names) - 1)
        if len(parts) != len(names):
            raise BadRowError(f"{len(parts)} columns instead of {len(names)} ({columns})")
        return parts

    def rows() -> Iterator[tuple[int, bytes]]:
        for number, line in lines(file, name):
            if number > 1 or not _is_header(line, names):
                yield number, line

    def convert_line(line: bytes) -> T:
        return convert(dict(zip(names, split(line), strict=True)))

    return converted(rows(), file, name, convert_line, skipped)


def _is_header(line: bytes, names: Sequence[str]) -> bool:
    """Tell whether a first row names the columns; the last one may have any name."""
    text = line.decode("utf-8", "replace").lower().replace("-", "_").strip()
    cells = text.split("\t") if "\t" in text else text.split()
    return len(cells) == len(names) and all(
        cell in HEADERS.get(name, ()) for name, cell in zip(names[:-1], cells, strict=False)
    )


def need(row: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """Return the value of a required key, which must have the given type."""
    if key not in row:
        keys = ", ".join(map(repr, row)) or "none"
        raise BadRowError(f"no key {key!r}; keys are {keys}", key)
    value = row[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BadRowError(f"{key!r} is {type(value).__name__}, not {kind.__name__}", key)
    if isinstance(value, str):
        check_text(value, key)
    return value


def check_text(value: str, key: str) -> None:
    """Refuse a text with an unpaired surrogate, which UTF-8 cannot encode."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        surrogate = f"U+{ord(value[error.start]):04X}"
        raise BadRowError(
            f"{key!r} has half a character ({surrogate}) at {error.start}", key
        ) from None


def text_of(row: Mapping[str, Any], key: str) -> str:
    """Return a required text that is not blank."""
    value = need(row, key, str)
    if not value.strip():
        raise BadRowError(f"{key!r} is blank", key)
    return value


def texts_of(row: Mapping[str, Any], key: str) -> list[str]:
    """Return a caption or list of captions as a list, stripped; none may be blank."""
    value = row.get(key)
    captions: list[Any] = value if isinstance(value, list) else [value]
    if not captions or not all(isinstance(text, str) and text.strip() for text in captions):
        raise BadRowError(f"captions of {key!r} must be texts that are not blank", key)
    for text in captions:
        check_text(text, key)
    return [text.strip() for text in captions]


def optional_text(row: Mapping[str, Any], key: str) -> str:
    """Return a text that may be blank; "" if the key is missing or null."""
    return "" if row.get(key) is None else need(row, key, str)


def titled(row: Mapping[str, Any], key: str = "text") -> str:
    """Join title and text with a blank, as mteb does; one of them may be empty."""
    text = f"{optional_text(row, 'title')} {need(row, key, str)}".strip()
    if not text:
        raise BadRowError(f"'title' and {key!r} are blank", key)
    return text


def identity_of(row: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """Return an id, a string or an integer, or `default` if the key is missing or null.

    Raises:
        BadRowError: It is neither; a float such as 1.0 has several spellings, so it is no id.
    """
    value = row.get(key)
    if value is None and default is not None:
        return default
    if type(value) is int:
        return str(value)
    identity = text_of(row, key)
    if "\0" in identity:
        raise BadRowError(f"{key!r} has a NUL character", key)
    return identity


def number_of(row: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """Return a finite number below 2^31 in size, or `default` if the key is missing or null."""
    value: Any = row.get(key)
    if value is None and default is not None:
        return default
    # NaN compares as false.
    if type(value) not in (int, float) or not abs(value) < LARGEST_NUMBER:
        raise BadRowError(f"{key!r} is {value!r:.40}, not a number below {LARGEST_NUMBER}", key)
    return float(value)


def gain_of(row: Mapping[str, Any], key: str) -> float:
    """Return a TREC judgement, a number or digits; it must be whole, as for trec_eval and mteb."""
    value = row.get(key)
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,10}(\.0*)?", value.strip()):
        value = float(value)
    gain = number_of({key: value}, key)
    if gain != int(gain):
        raise BadRowError(f"{key!r} is {value!r}, not a whole number, as trec_eval asks", key)
    return gain


def language_of(row: Mapping[str, Any], key: str) -> str:
    """Return the BCP-47 code of the language that a key names."""
    return _language(text_of(row, key), key)


def _language(code: str, key: str) -> str:
    try:
        return bcp47(code)
    except UserError as error:
        raise BadRowError(f"{key!r}: {error}", key) from None


def by_language(
    table: Mapping[str, Any], key: str, convert: Callable[[Mapping[str, Any], str], T]
) -> dict[str, T]:
    """Convert a table by language, such as `{"sw": "…"}`, to BCP-47 keys; null is a gap.

    Args:
        table: Values by the file's names of languages.
        key: Key of the table in its row.
        convert: Converts the value of the table at one of its keys.

    Raises:
        BadRowError: A key is not a language, or two keys are the same one.
    """
    converted: dict[str, T] = {}
    names: dict[str, str] = {}
    for name in (name for name, value in table.items() if value is not None):
        language = _language(name, key)
        if language in converted:
            raise BadRowError(
                f"{key!r} has {names[language]!r} and {name!r}, which are both {language}", key
            )
        names[language] = name
        try:
            converted[language] = convert(table, name)
        except BadRowError as error:
            raise BadRowError(str(error), key) from None
    return converted


def refuse_repeat(ids: set[str], identity: str, key: str = "id") -> str:
    """Record an id and return it; raise `BadRowError` if it was used before."""
    if identity in ids:
        raise BadRowError(f"id {identity!r} is used twice", key)
    ids.add(identity)
    return identity


def converted(
    rows: Iterable[tuple[int, Any]],
    file: File,
    name: str,
    convert: Callable[[Any], T],
    skipped: Skipped,
) -> Iterator[T]:
    """Convert numbered rows; count or refuse malformed ones."""
    for number, row in rows:
        try:
            if isinstance(row, BadRowError):
                raise row
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


def line_text(line: bytes) -> str:
    """Decode a line of `lines`, without its line ending.

    Raises:
        BadRowError: It is too long, or not UTF-8.
    """
    if len(line) > LONGEST_LINE:
        raise BadRowError(f"the line is longer than {LONGEST_LINE >> 20} MB")
    return _decoded(line).rstrip("\r\n")


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRowError(f"not UTF-8 text at byte {error.start}") from None


def _parsed(text: str, otherwise: str) -> Any:
    if len(text) > MOST_VALUES and text.count(",") > MOST_VALUES:
        raise BadRowError(f"JSON of more than {MOST_VALUES} values in one piece")
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadRowError(f"{otherwise} ({place}: {error.msg})") from None
    except ValueError:
        raise BadRowError("not JSON: a number has thousands of digits") from None
    except RecursionError:
        raise BadRowError("not JSON that can be read: too many brackets in one another") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; refuse a repeated key, for which no standard says which value counts."""
    table = dict(pairs)
    if len(table) < len(pairs):
        [[key, _]] = Counter(key for key, _ in pairs).most_common(1)
        raise BadRowError(f"JSON with the key {key!r} twice in one object", key)
    return table


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _object(line: bytes) -> Mapping[str, Any]:
    value = _parsed(line_text(line), "not JSON")
    if not isinstance(value, dict):
        raise BadRowError(f"an object is expected, not {type(value).__name__}")
    return value


@contextmanager
def opened_table(file: Path, name: str) -> Iterator[Any]:
    """Open a Parquet file; report errors with their remedy.

    Raises:
        UserError: The file is missing.
        DataError: It cannot be read.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            yield opened
    except FileNotFoundError:
        raise UserError(f"{name}: no file {file}; {help_with(name)}") from None
    except (OSError, pyarrow.ArrowException) as error:
        message = f"{name}: {file} cannot be read as Parquet ({error}). {AGAIN}"
        raise DataError(message, file) from None


def _parquet(file: Path, name: str) -> Iterator[Mapping[str, Any] | BadRowError]:
    with opened_table(file, name) as opened:
        yield from table_rows(opened, file, name)


def table_rows(
    opened: Any, file: Path, name: str, columns: Sequence[str] | None = None
) -> Iterator[Mapping[str, Any] | BadRowError]:
    """Yield rows of an open Parquet file, a few at a time, with all or some of its columns.

    Raises:
        DataError: The values take far more memory than the file's size.
    """
    unpacked, packed, groups = 0, file.stat().st_size, opened.metadata
    size = sum(groups.row_group(number).total_byte_size for number in range(groups.num_row_groups))
    refuse_trap(size, packed, file, name)
    for batch in opened.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns):
        unpacked += batch.nbytes
        refuse_trap(unpacked, packed, file, name)
        yield from rows_in(batch)


def rows_in(batch: Any) -> Iterator[Mapping[str, Any] | BadRowError]:
    """Yield the rows of an Arrow batch; an error in place of a row that Python cannot represent."""
    try:
        yield from batch.to_pylist()
        return
    except (UnicodeDecodeError, OverflowError):
        rows = (batch.slice(row, 1) for row in range(batch.num_rows))
    for row in rows:
        try:
            yield from row.to_pylist()
        except (UnicodeDecodeError, OverflowError) as error:
            yield BadRowError(f"a value cannot be read ({error})")
