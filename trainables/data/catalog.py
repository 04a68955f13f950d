"""Names of benchmarks and training data become what they name; the table is in `sources`."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from trainables import storage
from trainables.data import embedded_sources, picture_sources
from trainables.data.corpus import Benchmark, TrainingSet
from trainables.data.overlap import shared_questions, without_questions
from trainables.data.reading import AbsentLanguageError
from trainables.data.source import Found, Request, Source
from trainables.data.sources import SOURCES
from trainables.data.worlds import WORLDS, World
from trainables.errors import UserError
from trainables.spec import CandidateText, DataRef

ABSENT = "absent"
"""What the digest of a thing not at hand starts with: it can be planned with, not run."""

SUBSTITUTES = {"ndqa": "belebele", "flickr30k_x": "xflickrco:flickr30k"}
"""What, and which part of it, is evaluated where nobody knows a public benchmark of a name and no
own files are given."""


def names() -> list[str]:
    """All names that `load_benchmark` knows."""
    return sorted(name for name, source in table().items() if source.benchmark is not None)


@cache
def table() -> dict[str, Source]:
    """Every source by name, the embedded worlds first."""
    return embedded_sources.SOURCES | SOURCES | picture_sources.SOURCES


def source(name: str) -> Source:
    """The source of this name.

    Raises:
        UserError: There is none.
    """
    if name not in table():
        near = difflib.get_close_matches(name, table(), 1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"unknown benchmark or training data {name!r}; {guess}known: "
            f"{', '.join(sorted(table()))}"
        )
    return table()[name]


def split_name(text: str) -> tuple[str, str | None]:
    """`tydiqa:held-out` is the part `held-out` of `tydiqa`; `synthetic:null` is a name."""
    if text in table():
        return text, None
    name, _, part = text.partition(":")
    return name, part or None


def own_part(name: str) -> str | None:
    """The part of a benchmark that may be trained on where it is evaluated too."""
    found = source(name)
    if "held-out" in found.parts:
        return "articles"
    return "train" if "train" in found.parts else found.training_part


def is_divided(name: str, part: str | None) -> bool:
    """Whether training on this part leaves `held-out` of the same source to evaluate."""
    return "held-out" in source(name).parts and source(name).check_part(part, training=True) == (
        "articles"
    )


def is_embedded(name: str) -> bool:
    """Whether the data are made by this project and need no folder."""
    return name in table() and table()[name].embedded


def has_pictures(name: str) -> bool:
    """Whether captions search pictures there and pictures captions (`picture_catalog`)."""
    return source(name).pictures is not None


def world(name: str) -> World:
    """The embedded world behind a name such as `synthetic`, `synthetic:null` or `scenes:null`."""
    return WORLDS[name.partition(":")[2] or "standard"]


def load_benchmark(
    name: str,
    path: str | Path | None = None,
    languages: Sequence[str] | None = None,
    *,
    part: str | None = None,
    text: CandidateText | None = None,
    skip_malformed: bool = False,
    convert_offsets: bool = False,
) -> Benchmark:
    """Load a benchmark by name.

    Of one with pictures this is the direction from captions to pictures, whose corpus has the
    language `image` and holds their ids; `picture_catalog` loads the pictures too.

    Args:
        name: One of `names()`.
        path: The folder with the source's own files, or one that holds it under the source's
            name; not for the embedded world.
        languages: BCP-47 codes to keep; all the source has by default.
        part: One of the source's parts, such as `test` or `held-out`; see `data show NAME`.
        text: For LAReQA files `sentence` or `sentence+context` (default, as in XTREME-R).
        skip_malformed: Leave malformed rows out and count them in `Benchmark.dropped`.
        convert_offsets: Convert answer offsets that count bytes or UTF-16 units, and count them in
            `Benchmark.dropped`; what is measured is not comparable with published numbers.

    Raises:
        UserError: An unknown name, language or part, or files that are not as they should be.
    """
    found = source(name)
    if found.benchmark is None:
        raise UserError(f"{name} is training data and cannot be evaluated; see `data list`")
    request = request_for(found, path, languages, part, text, skip_malformed)
    request = replace(request, convert_offsets=convert_offsets)
    benchmark = found.benchmark(request)
    if missing := set(request.languages or ()) - _present(benchmark):
        try:
            there = _present(found.benchmark(replace(request, languages=None)))
        except AbsentLanguageError as error:
            there = {*error.present} - missing
        raise AbsentLanguageError(name, "text", missing, there, request.folder)
    return benchmark


def _present(benchmark: Benchmark) -> set[str]:
    """Languages of at least one query or candidate."""
    tables = (benchmark.queries, benchmark.corpus)
    return {language for table in tables for language, items in table.items() if items}


def load_training(
    name: str,
    path: str | Path | None = None,
    languages: Sequence[str] | None = None,
    *,
    part: str | None = None,
    text: CandidateText | None = None,
    skip_malformed: bool = False,
    aligned: bool = True,
    negatives: bool = False,
    convert_offsets: bool = False,
) -> TrainingSet:
    """Load training data by name; other arguments and errors as for `load_benchmark`.

    Args:
        name: Of a source that can be trained on.
        path: As for `load_benchmark`, like those that follow.
        languages: BCP-47 codes.
        part: A part that may be trained on.
        text: Candidate text.
        skip_malformed: Leave malformed rows out.
        aligned: Keep the rows that exist in all of `languages`, so that every arm sees the same
            questions; otherwise all rows, with gaps.
        negatives: Read hard negatives too, which the source must have.
        convert_offsets: As for `load_benchmark`.
    """
    found = source(name)
    request = request_for(found, path, languages, part, text, skip_malformed, training=True)
    if found.training is None:
        raise UserError(untrained(found))
    if negatives and not found.has_negatives:
        raise UserError(_without_negatives(name))
    request = replace(request, negatives=negatives, convert_offsets=convert_offsets)
    training = found.training(request)
    if negatives and not any(any(lists) for lists in training.negatives.values()):
        raise UserError(_without_negatives(name))
    chosen = languages or training.languages
    if aligned and len(chosen) > 1 and found.relevance in ("own language", "other language"):
        raise UserError(
            f"{name} cannot be trained on in {', '.join(chosen)} at once: no row of it exists in "
            "two languages as a whole. Train on one with --set languages=..., on parallel data, or "
            "on each row in the languages that it has with --set rows=in_any --set sampling=X-X"
        )
    return training.restrict(chosen, aligned=aligned)


def reference(
    name: str,
    path: str | Path | None = None,
    languages: Sequence[str] | None = None,
    *,
    part: str | None = None,
    text: CandidateText | None = None,
    skip_malformed: bool = False,
    training: bool = False,
    convert_offsets: bool = False,
) -> DataRef:
    """Name data by content; the files are read and hashed, nothing is kept in memory.

    Args:
        name: Of a source.
        path: As for `load_benchmark`, like the others.
        languages: BCP-47 codes.
        part: A part, or None for the one that is evaluated or trained on by default.
        text: Candidate text.
        skip_malformed: Leave malformed rows out.
        training: Whether it is to be trained on.
        convert_offsets: As for `load_benchmark`; without effect where no answer has an offset.

    Raises:
        UserError: An unknown name or language, or a missing file.
    """
    found = source(name)
    if found.embedded:
        return DataRef(
            name=name,
            digest=found.content,
            languages=tuple(sorted(languages or found.languages)),
            part=part or "test",
        )
    if training and not found.is_trainable:
        raise UserError(untrained(found))
    request = request_for(found, path, languages, part, text, skip_malformed, training)
    files: Found = found.find(replace(request, convert_offsets=convert_offsets))
    return DataRef(
        name=name,
        digest=storage.tree_digest(dict(files.files)),
        languages=tuple(sorted(files.languages)),
        part=request.part if part is not None or found.names_part else None,
        text=request.text,
        skip_malformed=skip_malformed or None,
        convert_offsets=(convert_offsets and found.has_offsets) or None,
    )


def absent(name: str, languages: Sequence[str] | None, part: str | None) -> DataRef:
    """Name data whose files are not at hand, as far as that can be done without them.

    Raises:
        UserError: An unknown name, language or part, or a source whose files say its languages.
    """
    found = source(name)
    known = found.check_languages(tuple(languages) if languages else found.languages or None)
    if not known:
        raise UserError(
            f"{name}: its languages are those of its files, which are not at hand; name them with "
            "--set languages=... and --set eval_languages=..., or give --data-dir"
        )
    return DataRef(name=name, digest=ABSENT, languages=known, part=part)


def open_benchmark(ref: DataRef, places: Mapping[str, str]) -> Benchmark:
    """Load the very benchmark that `ref` names, without the questions that `ref.without` holds.

    Args:
        ref: What to load.
        places: Digest to folder, for data that lie in files.

    Raises:
        UserError: The files are not those that `ref` was made from, or no question is left.
    """
    folder = verified(ref, places, training=False)
    benchmark = load_benchmark(
        ref.name,
        folder,
        ref.languages,
        part=ref.part,
        text=ref.text,
        skip_malformed=bool(ref.skip_malformed),
        convert_offsets=bool(ref.convert_offsets),
    )
    if not ref.without:
        return benchmark
    shared = frozenset[str]().union(
        *(
            shared_questions(open_training(train, places, aligned=False), benchmark)
            for train in ref.without
        )
    )
    fewer = without_questions(benchmark, shared)
    if not any(fewer.queries.values()):
        raise UserError(
            f"{ref.name}: the training data {', '.join(each.name for each in ref.without)} hold "
            "every question of it, so nothing is left to evaluate; choose other training data "
            "with --set train=NAME, or another --benchmark"
        )
    return fewer


def open_training(
    ref: DataRef, places: Mapping[str, str], *, aligned: bool = True, negatives: bool = False
) -> TrainingSet:
    """Load the very training data that `ref` names; errors and arguments as above."""
    folder = verified(ref, places, training=True)
    return load_training(
        ref.name,
        folder,
        ref.languages,
        part=ref.part,
        text=ref.text,
        skip_malformed=bool(ref.skip_malformed),
        aligned=aligned,
        negatives=negatives,
        convert_offsets=bool(ref.convert_offsets),
    )


def verified(ref: DataRef, places: Mapping[str, str], *, training: bool) -> str | None:
    """The folder of `ref`, once its content has been found to be what it names.

    Raises:
        UserError: It is not.
    """
    folder = places.get(ref.digest)
    now = reference(
        ref.name,
        folder,
        ref.languages,
        part=ref.part,
        text=ref.text,
        skip_malformed=bool(ref.skip_malformed),
        training=training,
        convert_offsets=bool(ref.convert_offsets),
    )
    if now.digest != ref.digest:
        raise UserError(
            f"{ref.name}: {folder or 'the embedded world'} now has content {now.digest}, "
            f"but the study was planned with {ref.digest}; restore the files, or start a new "
            "study with another --name"
        )
    return folder


def request_for(
    found: Source,
    path: str | Path | None,
    languages: Sequence[str] | None,
    part: str | None,
    text: str | None,
    skip_malformed: bool,
    training: bool = False,
) -> Request:
    """What is asked of a source, checked as far as that needs no file.

    Raises:
        UserError: An unknown language, part or candidate text, or no such folder.
    """
    chosen: CandidateText = "sentence" if text == "sentence" else "sentence+context"
    if text not in (None, "sentence", "sentence+context"):
        raise UserError(f"no candidate text {text!r}; there is sentence+context, sentence")
    return Request(
        name=found.name,
        folder=Path() if found.embedded else _folder(found, path),
        languages=found.check_languages(tuple(languages or ()) or None),
        part=found.check_part(part, training=training),
        text=chosen if found.has_text else None,
        skipped=Counter() if skip_malformed else None,
        training=training,
    )


def _folder(found: Source, path: str | Path | None) -> Path:
    if path is None:
        raise UserError(
            f"{found.name} is read from files: name their folder with --data-dir DIR; "
            f"`python -m study data show {found.name}` says which files and where to get them"
        )
    folder = Path(os.path.realpath(os.path.expanduser(path)))
    if not os.path.isdir(folder):
        raise UserError(
            f"--data-dir {path}: no such folder; {found.name} is read from the source's files"
        )
    inside = folder / found.name
    return inside if inside.is_dir() else folder


def untrained(found: Source) -> str:
    """Why a source cannot be trained on."""
    if found.untrained.startswith(found.name):
        return found.untrained
    return f"{found.name} cannot be trained on: {found.untrained}"


def _without_negatives(name: str) -> str:
    known = ", ".join(sorted(each for each, found in table().items() if found.has_negatives))
    return (
        f"{name} has no hard negatives to train on; use --set negatives=in_batch, or data that "
        f"has them: {known}"
    )
