"""Sources of SQuAD's shape that are told apart by the names of their files.

TyDi QA GoldP, AmQA and XOR-TyDi's gold paragraphs are questions with one passage each; the
translations of SQuAD are parallel by question id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from trainables.data.corpus import Benchmark, TrainingSet
from trainables.data.languages import bcp47
from trainables.data.pairs import Pair, benchmark_of, divide, training_of
from trainables.data.paragraphs import parallel_rows
from trainables.data.reading import (
    BadRowError,
    choose,
    find,
    help_with,
    identity_of,
    need,
    records,
    skip_or_refuse,
    text_of,
)
from trainables.data.source import Found, Request
from trainables.data.squad_json import cluster_of, read_paragraphs
from trainables.errors import UserError

TYDIQA_FILES = {
    "dev": (
        r"tydiqa-goldp-v1\.1-dev\.json(\.gz)?",
        r"tydiqa-goldp-dev-(?P<language>[a-z]+)\.json",
        r"(?P<language>[a-z]+)_tydiqa_dev\.json",
        r"secondary_task/validation[^/]*\.parquet",
    ),
    "train": (
        r"tydiqa-goldp-v1\.1-train\.json(\.gz)?",
        r"(?P<language>[a-z]+)_tydiqa_train\.json",
        r"secondary_task/train[^/]*\.parquet",
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
    files = _tydiqa_files(request)
    languages = request.languages or tuple(sorted({p.language for p in _tydiqa_pairs(request)}))
    return Found(files, languages)


def load_tydiqa(request: Request) -> Benchmark:
    """TyDi QA GoldP: questions against the distinct passages of their own language.

    Passages are the gold paragraphs of all questions; `held-out` divides the training files by
    article, since several questions share one.

    Raises:
        UserError: Files that are missing or malformed.
    """
    return benchmark_of(_tydiqa_pairs(request), request.name, request.dropped)


def train_on_tydiqa(request: Request) -> TrainingSet:
    """The same as rows to train on; each has text in its own language alone."""
    return training_of(_tydiqa_pairs(request), request.name)


def amqa_files(request: Request) -> Found:
    """The one file of AmQA's part."""
    return _single(request, AMQA_FILES, ("am",))


def load_amqa(request: Request) -> Benchmark:
    """AmQA: Amharic questions against the paragraphs asked about."""
    return benchmark_of(_amqa_pairs(request), request.name, request.dropped)


def train_on_amqa(request: Request) -> TrainingSet:
    """The same as rows to train on."""
    return training_of(_amqa_pairs(request), request.name)


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
    pairs = [
        Pair(
            question.id,
            bcp47(question.language),
            question.text,
            "en",
            paragraph.context,
            title,
            question.answer_end,
        )
        for paragraph in read_paragraphs(path, request.name, False, request.skipped, repeats=True)
        for title in [_xor_title(paragraph.title)]
        for question in paragraph.questions
        if _has_language(question.language, question.id, path, request)
    ]
    wanted = request.languages or {pair.language for pair in pairs}
    _refuse_missing(request, {pair.language for pair in pairs}, path)
    asked = [pair for pair in pairs if pair.language in wanted]
    whole = benchmark_of(pairs, request.name, request.dropped)
    some = benchmark_of(asked, request.name, request.dropped)
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
        language: read_paragraphs(path, request.name, False, request.skipped)
        for language, path in _translations(request).items()
    }
    return parallel_rows(files, request.name)


def _tydiqa_files(request: Request) -> dict[str, Path]:
    split = "dev" if request.part == "dev" else "train"
    for pattern in TYDIQA_FILES[split]:
        found = find(request.folder, pattern)
        if found and "language" in found[0][1]:
            by_language = {bcp47(groups["language"]): path for path, groups in found}
            what = f"GoldP {split} file"
            chosen = choose(by_language, request.languages, request.name, request.folder, what)
            return {f"{language}.json": path for language, path in chosen.items()}
        if found:
            return {f"{split}-{number}": path for number, (path, _) in enumerate(found)}
    raise UserError(
        f"{request.name}: {request.folder} holds no {split} files of TyDi QA GoldP, such as "
        f"tydiqa-goldp-v1.1-{split}.json; {help_with(request.name)}"
        + ("" if split == "train" else ", or evaluate held-out articles of the training files: "
           f"--benchmark {request.name}:held-out")
    )  # fmt: skip


def _tydiqa_pairs(request: Request) -> list[Pair]:
    files = _tydiqa_files(request)
    pairs = [pair for path in files.values() for pair in _goldp(path, request)]
    present = {pair.language for pair in pairs}
    _refuse_missing(request, present, request.folder)
    kept = [pair for pair in pairs if pair.language in (request.languages or present)]
    if request.part in ("articles", "held-out"):
        return divide(kept, held_out=request.part == "held-out")
    return kept


def _goldp(path: Path, request: Request) -> Iterator[Pair]:
    """Pairs of a GoldP file; the language is the beginning of the id."""
    if path.suffix == ".parquet":
        yield from records(path, request.name, _goldp_row, request.skipped)
        return
    for paragraph in read_paragraphs(path, request.name, False, request.skipped):
        for question in paragraph.questions:
            row: dict[str, object] = {"id": question.id, "question": question.text}
            row |= {"context": paragraph.context, "title": paragraph.title}
            row["answers"] = {
                "answer_start": [question.answer_start],
                "text": list(question.answers[:1]),
            }
            try:
                pair = _goldp_row(row)
            except BadRowError as error:
                row = f"question {question.id!r}"
                skip_or_refuse(error, request.name, path, row, request.skipped)
            else:
                yield pair


def _goldp_row(row: object) -> Pair:
    assert isinstance(row, dict)
    identity = identity_of(row, "id")
    language, passage = _tydi_language(identity), text_of(row, "context")
    title = need(row, "title", str)
    question, end = text_of(row, "question"), _answer_end(row.get("answers"))
    return Pair(identity, language, question, language, passage, title, end)


def _answer_end(answers: object) -> int | None:
    """Where the first of a row's answers ends; None where it has none."""
    found = answers if isinstance(answers, dict) else {}
    starts, texts = (list(found.get(key, ())) for key in ("answer_start", "text"))
    return int(starts[0]) + len(texts[0]) if starts and texts and starts[0] >= 0 else None


def _tydi_language(identity: str) -> str:
    name = identity.partition("-")[0]
    if bcp47(name) == name:
        raise BadRowError(f"id {identity!r} does not begin with a language, such as swahili-")
    return bcp47(name)


def _amqa_pairs(request: Request) -> list[Pair]:
    [path] = amqa_files(request).files.values()
    return [
        Pair(
            question.id,
            "am",
            question.text,
            "am",
            paragraph.context,
            article,
            question.answer_end,
        )
        for paragraph in read_paragraphs(path, request.name, False, request.skipped)
        for article in [cluster_of("am", paragraph)]
        for question in paragraph.questions
    ]


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


def _has_language(language: str, identity: str, path: Path, request: Request) -> bool:
    if not language:
        error = BadRowError("no key 'lang'", "lang")
        skip_or_refuse(error, request.name, path, f"question {identity!r}", request.skipped)
    return bool(language)


def _refuse_missing(request: Request, present: set[str], where: Path) -> None:
    if missing := sorted(set(request.languages or ()) - present):
        raise UserError(
            f"{request.name}: no question in {missing[0]!r} in {where}; there is "
            f"{', '.join(sorted(present))}. Choose among these or add the files: "
            f"{help_with(request.name)}"
        )


def _translations(request: Request) -> dict[str, Path]:
    part = "train" if request.part == "train" else "dev"
    found = {
        bcp47(groups.get("language", "en")): path
        for pattern in TRANSLATIONS
        for path, groups in find(request.folder, pattern)
        if groups["split"].replace("test", "dev") == part
    }
    what = f"translated SQuAD file of part {part}"
    return choose(found, request.languages, request.name, request.folder, what)
