"""Benchmarks and training data by name: `sources.yaml` describes them, loaders read them.

Texts and pictures stand in one catalog, in one shape. No picture is decoded here.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from trainables.data.benchmark import Benchmark, TrainingSet
from trainables.data.contamination import shared_questions, without_questions
from trainables.data.formats.reading import AbsentLanguageError, metadata
from trainables.data.source import Request, Source
from trainables.data.worlds import embedded_sources
from trainables.errors import UserError
from trainables.spec import CandidateText, DataRef
from trainables.storage import atomic as storage

METADATA = "sources.yaml"

ABSENT = "absent"
"""What the digest of a thing not at hand starts with: it can be planned with, not run."""

SUBSTITUTES = {"ndqa": "belebele", "flickr30k_x": "xflickrco:flickr30k"}
"""What, and which part of it, is evaluated where nobody knows a public benchmark of a name and no
own files are given."""

world = embedded_sources.world_of


@cache
def table() -> dict[str, Source]:
    """Every source by name, the embedded worlds first."""
    entries = metadata(METADATA).items()
    return embedded_sources.SOURCES | {name: _entry(name, facts) for name, facts in entries}


def _entry(name: str, facts: dict[str, Any]) -> Source:
    """A source of its entry in YAML, where the loader is `module:NAME` of this package."""
    loader = resolve_name(f"{__package__}.{facts['loader']}")
    return Source.model_validate({**facts, "name": name, "loader": loader})


def names() -> list[str]:
    """All names that `load_benchmark` knows."""
    return sorted(name for name, source in table().items() if source.loader.benchmark)


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
    parts = source(name).parts
    if "held-out" in parts:
        return "articles"
    return "train" if "train" in parts else source(name).training_part


def is_divided(name: str, part: str | None) -> bool:
    """Whether training on this part leaves `held-out` of the same source to evaluate."""
    return "held-out" in source(name).parts and source(name).check_part(part, training=True) == (
        "articles"
    )


def is_embedded(name: str) -> bool:
    """Whether the data are made by this project and need no folder."""
    return name in table() and table()[name].embedded


def has_pictures(name: str) -> bool:
    """Whether captions search pictures there and pictures captions."""
    return source(name).modality == "image"


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

    Args:
        name: One of `names()`.
        path: The folder with the source's own files, or one that holds it under the source's
            name; not for the embedded world.
        languages: BCP-47 codes to keep; all the source has by default.
        part: One of the source's parts, such as `test` or `held-out`; see `data show NAME`.
        text: For LAReQA files `sentence` or `sentence+context` (default, as in XTREME-R).
        skip_malformed: Leave malformed rows, and pictures that are missing or damaged, out and
            count them in `Benchmark.dropped`.
        convert_offsets: Convert answer offsets that count bytes or UTF-16 units, and count them in
            `Benchmark.dropped`; what is measured is not comparable with published numbers.

    Raises:
        UserError: An unknown name, language or part, or files that are not as they should be.
            Where no picture is there at all, `refusal` of what is returned says so: it can be
            counted, not evaluated.
    """
    load = source(name).loader.benchmark
    if load is None:
        raise UserError(f"{name} is training data and cannot be evaluated; see `data list`")
    request = request_for(source(name), path, languages, part, text, skip_malformed)
    request = replace(request, convert_offsets=convert_offsets)
    benchmark = load(request)
    if missing := set(request.languages or ()) - _present(benchmark):
        try:
            there = _present(load(replace(request, languages=None)))
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
    """Load training data by name; arguments and errors are those of `load_benchmark`.

    With `aligned` only the rows are kept that exist in all of `languages`, so that every arm sees
    the same questions; otherwise all rows, with gaps. With `negatives` hard negatives are read
    too, which the source must have.
    """
    data = source(name)
    request = request_for(data, path, languages, part, text, skip_malformed, training=True)
    if data.loader.training is None or data.untrained:
        raise UserError(untrained(data))
    if negatives and not data.has_negatives:
        raise UserError(_without_negatives(name))
    request = replace(request, negatives=negatives, convert_offsets=convert_offsets)
    training = data.loader.training(request)
    if negatives and not any(any(lists) for lists in training.negatives.values()):
        raise UserError(_without_negatives(name))
    chosen = languages or training.languages
    if aligned and len(chosen) > 1 and data.relevance in ("own language", "other language"):
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

    Arguments are those of `load_benchmark`, and whether the data are for `training`, which decides
    the part by default.

    Raises:
        UserError: An unknown name or language, or a missing file.
    """
    data = source(name)
    if data.embedded:
        return DataRef(
            name=name,
            digest=data.content,
            languages=tuple(sorted(languages or data.languages)),
            part=part or "test",
        )
    if training and not data.is_trainable:
        raise UserError(untrained(data))
    request = request_for(data, path, languages, part, text, skip_malformed, training)
    files = data.loader.files(replace(request, convert_offsets=convert_offsets))
    return DataRef(
        name=name,
        digest=storage.tree_digest(dict(files.files)),
        languages=tuple(sorted(files.languages)),
        part=request.part if part is not None or data.names_part else None,
        text=request.text,
        skip_malformed=skip_malformed or None,
        convert_offsets=(convert_offsets and data.has_offsets) or None,
    )


def absent(name: str, languages: Sequence[str] | None, part: str | None) -> DataRef:
    """Name data whose files are not at hand, as far as that can be done without them.

    Raises:
        UserError: An unknown name, language or part, or a source whose files say its languages.
    """
    data = source(name)
    known = data.check_languages(tuple(languages) if languages else data.languages or None)
    if not known:
        raise UserError(
            f"{name}: its languages are those of its files, which are not at hand; name them with "
            "--set languages=... and --set eval_languages=..., or give --data-dir"
        )
    return DataRef(name=name, digest=ABSENT, languages=known, part=part)


def open_benchmark(ref: DataRef, places: Mapping[str, str]) -> Benchmark:
    """Load the very benchmark that `ref` names, without the questions that `ref.without` holds.

    Args:
        ref: Names it by content.
        places: Digest to folder, for data that lie in files.

    Raises:
        UserError: The files are not those that `ref` was made from, or no question is left.
    """
    benchmark = load_benchmark(**_arguments(ref, places, training=False))
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
    arguments = _arguments(ref, places, training=True)
    return load_training(**arguments, aligned=aligned, negatives=negatives)


def _arguments(ref: DataRef, places: Mapping[str, str], *, training: bool) -> dict[str, Any]:
    """Arguments that load what `ref` names, once its files are known to be those.

    Raises:
        UserError: They are others.
    """
    arguments: dict[str, Any] = {
        "name": ref.name,
        "path": places.get(ref.digest),
        "languages": ref.languages,
        "part": ref.part,
        "text": ref.text,
        "skip_malformed": bool(ref.skip_malformed),
        "convert_offsets": bool(ref.convert_offsets),
    }
    now = reference(**arguments, training=training)
    if now.digest != ref.digest:
        raise UserError(
            f"{ref.name}: {arguments['path'] or 'the embedded world'} now has content "
            f"{now.digest}, but the study was planned with {ref.digest}; restore the files, or "
            "start a new study with another --name"
        )
    return arguments


def request_for(
    data: Source,
    path: str | Path | None,
    languages: Sequence[str] | None,
    part: str | None,
    text: str | None,
    skip_malformed: bool,
    training: bool = False,
) -> Request:
    """A request to a source, checked as far as that needs no file.

    Raises:
        UserError: An unknown language, part or candidate text, or no such folder.
    """
    chosen: CandidateText = "sentence" if text == "sentence" else "sentence+context"
    if text not in (None, "sentence", "sentence+context"):
        raise UserError(f"no candidate text {text!r}; there is sentence+context, sentence")
    return Request(
        data,
        Path() if data.embedded else _folder(data, path),
        languages=data.check_languages(tuple(languages or ()) or None),
        part=data.check_part(part, training=training),
        text=chosen if data.has_text else None,
        skipped=Counter() if skip_malformed else None,
        training=training,
    )


def _folder(data: Source, path: str | Path | None) -> Path:
    if path is None:
        raise UserError(
            f"{data.name} is read from files: name their folder with --data-dir DIR; "
            f"`python -m study data show {data.name}` says which files and where to get them"
        )
    folder = Path(os.path.realpath(os.path.expanduser(path)))
    if not os.path.isdir(folder):
        raise UserError(
            f"--data-dir {path}: no such folder; {data.name} is read from the source's files"
        )
    inside = folder / data.name
    return inside if inside.is_dir() else folder


def untrained(data: Source) -> str:
    """Why a source cannot be trained on."""
    if data.untrained.startswith(data.name):
        return data.untrained
    return f"{data.name} cannot be trained on: {data.untrained}"


def _without_negatives(name: str) -> str:
    known = ", ".join(sorted(each for each, data in table().items() if data.has_negatives))
    return (
        f"{name} has no hard negatives to train on; use --set negatives=in_batch, or data that "
        f"has them: {known}"
    )
