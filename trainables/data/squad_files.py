"""Sources of SQuAD's shape that are told apart by the names of their files.

TyDi QA GoldP, AmQA and XOR-TyDi's gold paragraphs are questions with one passage each; the
translations of SQuAD are parallel by question id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.data.corpus import Benchmark, TrainingSet
from trainables.data.languages import NAMES, bcp47
from trainables.data.pairs import Pair, benchmark_of, divide, training_of
from trainables.data.paragraphs import parallel_rows
from trainables.data.reading import (
    AbsentLanguageError,
    BadRowError,
    choose,
    find,
    help_with,
    identity_of,
    language_of,
    one_each,
    refuse_missing_shard,
)
from trainables.data.source import Found, Request
from trainables.data.squad_json import Paragraph, cluster_of, offset_remarks, read_paragraphs
from trainables.data.squad_languages import Places, named, one_source_each
from trainables.errors import DataError, UserError

TYDIQA_FILES = {
    "dev": (
        r"tydiqa-goldp-v1\.1-dev\.json(\.gz)?",
        r"tydiqa-goldp-dev-(?P<language>[a-z]+)\.json",
        r"(?P<language>[a-z]+)_tydiqa_dev\.json",
        r"secondary_task/validation([^/]*|/\d+)\.parquet",
    ),
    "train": (
        r"tydiqa-goldp-v1\.1-train\.json(\.gz)?",
        r"(?P<language>[a-z]+)_tydiqa_train\.json",
        r"secondary_task/train([^/]*|/\d+)\.parquet",
    ),
}
"""The official files, one file a language, and the hub's; the first kind found is read."""

AMQA_FILES = {"dev": "dev_data.json", "train": "train_data.json"}
XOR_FILES = {"dev": "gp_squad_dev_data.json", "train": "gp_squad_train_data.json"}

TRANSLATIONS = (
    r"squad\.translate\.(?P<split>train|dev)\.en-(?P<language>[a-z]{2})\.json(\.gz)?",
    r"(?P<split>train|dev)-v1\.1-(?P<language>es)(_small)?\.json(\.gz)?",
    r"SQuAD_(?P<language>it)-(?P<split>train|test)\.json(\.gz)?",
    r"(?P<split>train|dev)-v1\.1\.json(\.gz)?",
)
"""XTREME's, the Spanish ones of TranslateAlignRetrieve, SQuAD-it, and SQuAD itself."""


def tydiqa_files(request: Request) -> Found:
    """Files of TyDi QA GoldP for a part: `dev`, `train`, or `articles` and `held-out` of train."""
    places = _tydiqa_files(request)
    languages = request.languages or sorted({pair.language for pair in _tydiqa_pairs(request)[0]})
    return Found(named(places), tuple(languages))


def load_tydiqa(request: Request) -> Benchmark:
    """TyDi QA GoldP: questions against the distinct passages of their own language.

    Passages are the gold paragraphs of all questions; `held-out` divides the training files by
    article, since several questions share one.

    Raises:
        UserError: Files that are missing or malformed.
    """
    pairs, remarks = _tydiqa_pairs(request)
    return benchmark_of(pairs, request.name, request.dropped | remarks)


def train_on_tydiqa(request: Request) -> TrainingSet:
    """The same as rows to train on; each has text in its own language alone."""
    return training_of(_tydiqa_pairs(request)[0], request.name)


def amqa_files(request: Request) -> Found:
    """The one file of AmQA's part."""
    return _single(request, AMQA_FILES, ("am",))


def load_amqa(request: Request) -> Benchmark:
    """AmQA: Amharic questions against the paragraphs asked about."""
    pairs, remarks = _amqa_pairs(request)
    return benchmark_of(pairs, request.name, request.dropped | remarks)


def train_on_amqa(request: Request) -> TrainingSet:
    """The same as rows to train on."""
    return training_of(_amqa_pairs(request)[0], request.name)


def xor_files(request: Request) -> Found:
    """The one file of XOR-TyDi's gold paragraphs for a part."""
    languages = request.languages or ("ar", "bn", "fi", "ja", "ko", "ru", "te")
    return _single(request, XOR_FILES, languages)


def load_xor_tydi(request: Request) -> Benchmark:
    """XOR-TyDi: questions in seven languages against English paragraphs.

    This is candidate-paragraph retrieval among the gold paragraphs of all questions of the part.
    XOR-Retrieve itself searches English Wikipedia and counts answer strings; see `xor_tydi`.
    """
    [path] = xor_files(request).files.values()
    paragraphs = _paragraphs(path, request, lambda item: language_of(item, "lang"), repeats=True)
    pairs = [
        Pair(
            question.id,
            question.language,
            question.text,
            "en",
            paragraph.context,
            title,
            question.answer_end,
        )
        for paragraph in paragraphs
        for title in [_xor_title(paragraph.title)]
        for question in paragraph.questions
    ]
    wanted = request.languages or {pair.language for pair in pairs}
    _refuse_missing(request, {pair.language for pair in pairs})
    asked = [pair for pair in pairs if pair.language in wanted]
    dropped = request.dropped | offset_remarks(paragraphs)
    whole = benchmark_of(pairs, request.name, dropped)
    some = benchmark_of(asked, request.name, dropped)
    # The candidates are those of all languages, so that a language's figure stands alone.
    return Benchmark(
        name=whole.name,
        queries=some.queries,
        corpus=whole.corpus,
        qrels={q.id: whole.qrels[q.id] for items in some.queries.values() for q in items},
        judged_in_all_languages=False,
        dropped=whole.dropped,
        answers={
            q.id: whole.answers[q.id]
            for items in some.queries.values()
            for q in items
            if q.id in whole.answers
        },
    )


def translation_files(request: Request) -> Found:
    """One file a language of the translations of SQuAD; part `train` or `dev`."""
    files = _translations(request)
    return Found({f"{language}.json": path for language, path in files.items()}, tuple(files))


def train_on_translations(request: Request) -> TrainingSet:
    """Questions and paragraphs of SQuAD in several languages, parallel by id."""
    files = {
        language: read_paragraphs(path, request.name, False, request.skipped, offsets="unused")
        for language, path in _translations(request).items()
    }
    return parallel_rows(files, request.name)


def _tydiqa_files(request: Request) -> Places:
    """Files by language, or all under the name of the split."""
    split = "dev" if request.part == "dev" else "train"
    for pattern in TYDIQA_FILES[split]:
        matches = find(request.folder, pattern)
        if matches and "language" in matches[0][1]:
            what = f"GoldP {split} file"
            places = one_source_each(matches, request.name)
            return choose(places, request.languages, request.name, request.folder, what)
        if matches:
            paths = [path for path, _ in matches]
            if len(paths) > 1 and paths[0].suffix != ".parquet":
                raise DataError(
                    f"{request.name}: {paths[0]} and {paths[1]} both hold all languages; move one "
                    "of them away",
                    paths[1],
                )
            refuse_missing_shard(paths, request.name)
            return {split: paths}
    raise UserError(
        f"{request.name}: {request.folder} holds no {split} files of TyDi QA GoldP, such as "
        f"tydiqa-goldp-v1.1-{split}.json; {help_with(request.name)}"
        + ("" if split == "train" else ", or evaluate held-out articles of the training files: "
           f"--benchmark {request.name}:held-out")
    )  # fmt: skip


def _tydiqa_pairs(request: Request) -> tuple[list[Pair], dict[str, int]]:
    """Pairs, and what is counted about their answers' offsets."""
    paragraphs = [
        paragraph
        for paths in _tydiqa_files(request).values()
        for paragraph in _paragraphs(paths, request, _tydi_language)
    ]
    pairs = [
        Pair(q.id, q.language, q.text, q.language, p.context, p.title, q.answer_end)
        for p in paragraphs
        for q in p.questions
    ]
    present = {pair.language for pair in pairs}
    _refuse_missing(request, present)
    chosen = [pair for pair in pairs if pair.language in (request.languages or present)]
    if request.part in ("articles", "held-out"):
        chosen = divide(chosen, held_out=request.part == "held-out")
    return chosen, offset_remarks(paragraphs)


def _tydi_language(row: Mapping[str, Any]) -> str:
    """The language that an id of TyDi QA begins with."""
    name = identity_of(row, "id").partition("-")[0].lower()
    if name not in NAMES.values():
        raise BadRowError("'id' does not begin with a language, such as swahili-", "id")
    return bcp47(name)


def _paragraphs(
    files: Path | Sequence[Path],
    request: Request,
    language: Callable[[Mapping[str, Any]], str] | None = None,
    *,
    repeats: bool = False,
) -> list[Paragraph]:
    return read_paragraphs(
        files,
        request.name,
        sentences=False,
        skipped=request.skipped,
        repeats=repeats,
        offsets=request.offsets,
        language=language,
    )


def _amqa_pairs(request: Request) -> tuple[list[Pair], dict[str, int]]:
    """Pairs, and what is counted about their answers' offsets."""
    [path] = amqa_files(request).files.values()
    paragraphs = _paragraphs(path, request)
    pairs = [
        Pair(q.id, "am", q.text, "am", p.context, cluster_of("am", p), q.answer_end)
        for p in paragraphs
        for q in p.questions
    ]
    return pairs, offset_remarks(paragraphs)


def _single(request: Request, names: dict[str, str], languages: tuple[str, ...]) -> Found:
    wanted = names[str(request.part)]
    found = find(request.folder, re.escape(wanted))
    if not found:
        raise UserError(
            f"{request.name}: no file {wanted} in {request.folder}; {help_with(request.name)}"
        )
    return Found({wanted: found[0][0]}, languages)


def _xor_title(title: str) -> str:
    """`title: Helsinki _parentSection: …` is the article Helsinki."""
    return re.sub(r"^_?title:?", "", title.partition("_parentSection")[0]).strip(" _:")


def _refuse_missing(request: Request, present: set[str]) -> None:
    if missing := set(request.languages or ()) - present:
        raise AbsentLanguageError(request.name, "question", missing, present, request.folder)


def _translations(request: Request) -> dict[str, Path]:
    part = "train" if request.part == "train" else "dev"
    matches = (
        (path, groups)
        for pattern in TRANSLATIONS
        for path, groups in find(request.folder, pattern)
        if groups["split"].replace("test", "dev") == part
    )
    what = f"translated SQuAD file of part {part}"
    files = one_each(matches, request.name, default="en")
    return choose(files, request.languages, request.name, request.folder, what)
