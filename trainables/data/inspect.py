"""Compare local files with the known checksums and counts of their source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainables.data import catalog
from trainables.data.benchmark import Benchmark
from trainables.data.formats.reading import AbsentLanguageError, files_below
from trainables.data.source import Source
from trainables.errors import DataError, UserError

State = Literal["whole", "incomplete", "differs", "not known", "read", "not at hand", "malformed"]


@dataclass(frozen=True)
class Inspection:
    """State of a part, or of a file, of a source.

    Attributes:
        subject: `part` and its name, or the name of a file.
        state: `whole` if everything known agrees, `incomplete` if languages are missing,
            `differs` if something disagrees, `not known` if no counts are known, `read` for
            user-supplied files, which have nothing to compare with, `not at hand` if missing, or
            `malformed`.
        detail: Counts, or what is wrong, in words.
    """

    subject: str
    state: State
    detail: str


def check(source: Source, folder: Path) -> list[Inspection]:
    """Compare files by checksum, and parts by counts, with what is known of them.

    Args:
        source: A source that is read from files.
        folder: Folder that holds them.
    """
    if not (source.languages or source.parts or source.modality == "image"):
        return [*_user_files(source, folder)]
    findings = list(_files(source, folder))
    for part in _parts(source):
        findings.append(_part(source, folder, part))
    return findings


def recognised(folder: Path) -> list[Source]:
    """Return the sources of which a folder holds at least one part.

    Of sources for user-supplied files of one format, only the first is returned.
    """
    formats: dict[object, Source] = {}
    for source in catalog.table().values():
        if _is_present(source, folder):
            formats.setdefault(source.name if source.languages else source.layout, source)
    return [*formats.values()]


def blob_id(path: Path) -> str:
    """Return git's blob id of a file's content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _is_present(source: Source, folder: Path) -> bool:
    if source.embedded:
        return False
    for part in _parts(source):
        for training in (False, True):
            try:
                _absent(source, folder, part, training)
            except DataError:
                return True
            except UserError:
                continue
            return True
    return False


def _parts(source: Source) -> tuple[str | None, ...]:
    """Return the parts to inspect: all, and None if the source is evaluated as a whole."""
    return source.parts if source.parts and source.names_part else (None, *source.parts)


def _absent(source: Source, folder: Path, part: str | None, training: bool) -> list[str]:
    """Return the languages that a part lacks; damaged images count as present.

    Raises:
        UserError: The part is missing in every language.
    """
    damaged = source.modality == "image"
    facts: dict[str, Any] = {"part": part, "skip_malformed": damaged, "training": training}
    try:
        catalog.reference(source.name, folder, **facts)
        return []
    except AbsentLanguageError as error:
        present = [language for language in error.present if language in source.languages]
        if not present:
            raise
        catalog.reference(source.name, folder, present, **facts)
        return [language for language in source.languages if language not in present]


def _user_files(source: Source, folder: Path) -> Iterator[Inspection]:
    """Inspect user-supplied files: their amount, as a benchmark and as training data."""
    for subject, training in (("benchmark", False), ("training", True)):
        if training and not source.is_trainable:
            continue
        try:
            _absent(source, folder, None, training)
            if training:
                rows = catalog.load_training(source.name, folder)
                number = len(rows.questions)
                summary = f"{number} row{'s' * (number != 1)} in {_list(rows.languages)}"
            else:
                summary = _amount(catalog.load_benchmark(source.name, folder))
            yield Inspection(subject, "read", summary)
        except DataError as error:
            yield Inspection(subject, "malformed", str(error))
        except UserError as error:
            yield Inspection(subject, "not at hand", str(error))


def _amount(benchmark: Benchmark) -> str:
    queries, passages = (
        sum(map(len, table.values())) for table in (benchmark.queries, benchmark.corpus)
    )
    languages = sorted({*benchmark.queries, *benchmark.corpus})
    parallel = "parallel " if len(languages) > 1 and benchmark.judged_in_all_languages else ""
    summary = f"{queries} queries, {passages} passages, {parallel}in {_list(languages)}"
    notes = [f"{number} {why}" for why, number in benchmark.dropped.items()]
    return "; ".join([summary, *notes, *_repeated(benchmark)])


def _repeated(benchmark: Benchmark) -> list[str]:
    same = sum(benchmark.repeated.values())
    return [f"{same} queries have the text of another one"] if same else []


def _list(languages: Iterable[str]) -> str:
    return " ".join(languages)


def _files(source: Source, folder: Path) -> list[Inspection]:
    findings = []
    for path in files_below(folder):
        if path.name in source.checksums:
            size, blob = source.checksums[path.name]
            state: State = "differs"
            if path.stat().st_size != size:
                detail = f"{path.stat().st_size} bytes instead of {size}"
            elif blob_id(path) != blob:
                detail = "another content, of equal size"
            else:
                state, detail = "whole", f"{size} bytes, checksum as published"
            findings.append(Inspection(path.name, state, detail))
    return findings


def _part(source: Source, folder: Path, part: str | None) -> Inspection:
    subject = f"part {part}" if part else "all of it"
    training = source.kind == "training"
    try:
        absent = _absent(source, folder, part, training)
    except UserError as error:
        return Inspection(subject, "not at hand", str(error))
    languages = [la for la in source.languages if la not in absent] if absent else None
    try:
        if training:
            rows = catalog.load_training(source.name, folder, languages, part=part)
            summary = f"{len(rows.questions)} rows in {', '.join(rows.languages)}"
            return Inspection(subject, "not known", summary)
        benchmark = catalog.load_benchmark(source.name, folder, languages, part=part)
    except UserError as error:
        return Inspection(subject, "malformed", str(error))
    counts, what = _counts(benchmark)
    summary = ", ".join(
        f"{la} {queries}/{candidates}" for la, (queries, candidates) in counts.items()
    )
    summary = f"{what}: {summary}" + "".join(
        f"; {number} {reason}" for reason, number in benchmark.dropped.items()
    )
    if not benchmark.pictures:
        summary = "; ".join([summary, *_repeated(benchmark)])
    wrong = _count_mismatches(source, part, counts, counted_only=bool(benchmark.refusal))
    state: State = "not known" if wrong is None else "differs" if wrong else "whole"
    notes = [*(wrong or ()), *([benchmark.refusal] if benchmark.refusal else ())]
    if absent:
        state = "differs" if wrong else "incomplete"
        notes.append(f"without {', '.join(absent)}")
    return Inspection(subject, state, "; ".join([summary, *notes]))


def _counts(benchmark: Benchmark) -> tuple[dict[str, tuple[int, int]], str]:
    """Return two counts for each language, and a description of what they count."""
    if benchmark.pictures:
        counts = {}
        for language, captions in benchmark.queries.items():
            images = {picture for caption in captions for picture in benchmark.qrels[caption.id]}
            counts[language] = len(captions), len(images)
        same = sum(benchmark.repeated.values())
        note = f" ({same} captions are of several pictures, word for word)" if same else ""
        return counts, f"{len(benchmark.pictures)} pictures{note}, captions/pictures"
    queries, corpus = benchmark.queries, benchmark.corpus
    languages = sorted({*queries, *corpus})
    counts = {la: (len(queries.get(la, ())), len(corpus.get(la, ()))) for la in languages}
    return counts, "queries/candidates"


def _count_mismatches(
    source: Source, part: str | None, counts: dict[str, tuple[int, int]], counted_only: bool
) -> list[str] | None:
    """Return the differences from the known counts; None if no counts are known."""
    known = source.counts.get(part or "whole")
    if known is None:
        return None
    first, second = (
        ("captions", "pictures") if source.modality == "image" else ("queries", "candidates")
    )
    wrong = []
    for language, (queries, candidates) in counts.items():
        expected = known.get(language)
        if expected is None:
            wrong.append(f"{language} is not known")
        elif queries != expected[0]:
            wrong.append(f"{language} should have {expected[0]} {first}")
        elif expected[1] is not None and candidates != expected[1] and not counted_only:
            wrong.append(f"{language} should have {expected[1]} {second}")
    return wrong
