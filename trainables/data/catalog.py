"""Names of benchmarks and training data, and the loader of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from trainables import storage
from trainables.data import lareqa, paragraphs, synthetic
from trainables.data.corpus import Benchmark, TrainingSet
from trainables.errors import UserError
from trainables.spec import CandidateText, DataRef

LAREQA_LANGUAGES = {
    "xquad_r": ("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"),
    "mlqa_r": ("ar", "de", "en", "es", "hi", "vi", "zh"),
}
PARAGRAPH_LANGUAGES = {
    "xquad": LAREQA_LANGUAGES["xquad_r"],
    "mlqa": LAREQA_LANGUAGES["mlqa_r"],
}
"""The same questions against whole paragraphs, as MTEB builds XQuADRetrieval, MLQARetrieval."""

FILE_LANGUAGES = LAREQA_LANGUAGES | PARAGRAPH_LANGUAGES

LAREQA_ARTICLES = 1_000
"""More than any LAReQA or XQuAD file has."""

LAREQA_PARTS = {
    "articles": frozenset(range(0, LAREQA_ARTICLES, 2)),
    "held-out": frozenset(range(1, LAREQA_ARTICLES, 2)),
}
"""Every second article for training, the others for evaluation: same domain, no shared text."""

_UNTRAINED = (
    "mlqa has no training part: its articles differ from language to language and all are "
    "evaluated; train on other data with --set train=..., for example xquad_r:articles"
)


def names() -> list[str]:
    """All names that `load_benchmark` knows."""
    return sorted([*FILE_LANGUAGES, *_worlds()])


def is_embedded(name: str) -> bool:
    """Whether the data are made by this project and need no folder."""
    return name in _worlds()


def world(name: str) -> synthetic.World:
    """The embedded world behind a name such as `synthetic` or `synthetic:null`."""
    return _worlds()[name]


def load_benchmark(
    name: str,
    path: str | Path | None = None,
    languages: Sequence[str] | None = None,
    *,
    part: str | None = None,
    text: CandidateText | None = None,
) -> Benchmark:
    """Load a benchmark by name.

    Args:
        name: One of `names()`.
        path: The folder with the source's own files; not for the embedded world.
        languages: BCP-47 codes to keep; all the source has by default.
        part: For the embedded world `validation` or `test` (default); for LAReQA files and
            `xquad` `held-out`, the articles that `articles` leaves out of training; for `mlqa`
            `test` (default) or `validation`, which MLQA calls dev, or one of MTEB's subsets:
            `test/de-en` has German questions and English paragraphs.
        text: For LAReQA files `sentence` or `sentence+context` (default, as in XTREME-R).

    Raises:
        UserError: An unknown name, language or part, or files that are not as they should be.
    """
    if is_embedded(name):
        split: Literal["test", "validation"] = "test" if part in (None, "test") else "validation"
        _one_of(part, "test", "validation")
        benchmark = synthetic.synthetic_benchmark(world(name), split)
        return _keep_languages(benchmark, languages)
    folder, known = _folder(name, path), _known_languages(name, languages)
    if name == "mlqa":
        split, pair = _mlqa_part(part)
        return paragraphs.load_mlqa_paragraphs(folder, known, split, pair)
    articles = None if part is None else LAREQA_PARTS[_one_of(part, "held-out", "articles")]
    if name in PARAGRAPH_LANGUAGES:
        return paragraphs.load_paragraphs(folder, name, known, articles)
    return lareqa.load_lareqa(folder, name, known, _text(text), articles)


def load_training(
    name: str,
    path: str | Path | None = None,
    languages: Sequence[str] | None = None,
    *,
    part: str | None = None,
    text: CandidateText | None = None,
) -> TrainingSet:
    """Load training data by name; arguments and errors as for `load_benchmark`.

    The rows kept exist in all of `languages`, so that every arm sees the same questions.
    """
    if is_embedded(name):
        training = synthetic.synthetic_training(world(name))
    else:
        folder, known = _folder(name, path), _known_languages(name, languages)
        if name == "mlqa":
            raise UserError(_UNTRAINED)
        articles = LAREQA_PARTS[_one_of(part, "articles", "held-out")]
        training = (
            paragraphs.paragraph_pairs(folder, name, known, articles)
            if name in PARAGRAPH_LANGUAGES
            else lareqa.training_pairs(folder, name, known, _text(text), articles)
        )
    return training.restrict(languages or training.languages)


def reference(
    name: str,
    path: str | Path | None = None,
    languages: Sequence[str] | None = None,
    *,
    part: str | None = None,
    text: CandidateText | None = None,
) -> DataRef:
    """Name data by content; the files are read and hashed, nothing is kept in memory.

    Raises:
        UserError: An unknown name or language, or a missing file.
    """
    if is_embedded(name):
        return DataRef(
            name=name,
            digest=synthetic.world_digest(world(name)),
            languages=tuple(sorted(languages or world(name).languages)),
            part=part or "test",
        )
    folder, known = _folder(name, path), _known_languages(name, languages)
    files = {f"{language}.json": folder / f"{language}.json" for language in known}
    if name == "mlqa":
        split, pair = _mlqa_part(part)
        known = sorted({*pair}) if pair else known
        found = paragraphs.mlqa_files(folder, known, split)
        files = {f"{language}.json": path for language, path in found.items()}
        part = part or split
    for file in files.values():
        if not file.is_file():
            raise UserError(
                f"{name}: {file} is missing; put the source's own files in one folder and name "
                f"it with --data-dir, or choose languages with --set eval_languages=..."
            )
    return DataRef(
        name=name,
        digest=storage.tree_digest(files),
        languages=tuple(known),
        part=part,
        text=None if name in PARAGRAPH_LANGUAGES else _text(text),
    )


def open_benchmark(ref: DataRef, places: Mapping[str, str]) -> Benchmark:
    """Load the very benchmark that `ref` names.

    Args:
        ref: What to load.
        places: Digest to folder, for data that lie in files.

    Raises:
        UserError: The files are not those that `ref` was made from.
    """
    return load_benchmark(
        ref.name, _verified(ref, places), ref.languages, part=ref.part, text=ref.text
    )


def open_training(ref: DataRef, places: Mapping[str, str]) -> TrainingSet:
    """Load the very training data that `ref` names; arguments and errors as `open_benchmark`."""
    return load_training(
        ref.name, _verified(ref, places), ref.languages, part=ref.part, text=ref.text
    )


def _worlds() -> dict[str, synthetic.World]:
    return {
        "synthetic" if name == "standard" else f"synthetic:{name}": value
        for name, value in synthetic.WORLDS.items()
    }


def _verified(ref: DataRef, places: Mapping[str, str]) -> str | None:
    """The folder of `ref`, once its content has been found to be what it names."""
    folder = places.get(ref.digest)
    now = reference(ref.name, folder, ref.languages, part=ref.part, text=ref.text)
    if now.digest != ref.digest:
        raise UserError(
            f"{ref.name}: {folder or 'the embedded world'} now has content {now.digest}, "
            f"but the study was planned with {ref.digest}; restore the files, or start a new "
            "study with another --name"
        )
    return folder


def _folder(name: str, path: str | Path | None) -> Path:
    if name not in FILE_LANGUAGES:
        raise UserError(f"unknown benchmark or training data {name!r}; known: {', '.join(names())}")
    if path is None:
        raise UserError(f"{name} is read from files: name their folder with --data-dir DIR")
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(
            f"--data-dir {path}: no such folder; {name} is read from the source's files"
        )
    return folder


def _known_languages(name: str, languages: Sequence[str] | None) -> list[str]:
    known = FILE_LANGUAGES[name]
    if unknown := sorted(set(languages or ()) - set(known)):
        raise UserError(f"{name} has no language {unknown[0]!r}; it has {', '.join(known)}")
    return sorted(languages or known)


def _one_of(part: str | None, default: str, *others: str) -> str:
    if part is not None and part not in (default, *others):
        raise UserError(f"no part {part!r}; there is {', '.join((default, *others))}")
    return part or default


def _mlqa_part(
    part: str | None,
) -> tuple[Literal["test", "validation"], tuple[str, str] | None]:
    """Split, and the languages of questions and paragraphs where only these are asked for."""
    if part in ("articles", "held-out"):
        raise UserError(_UNTRAINED)
    split, _, pair = (part or "test").partition("/")
    asked, _, answered = pair.partition("-")
    known = PARAGRAPH_LANGUAGES["mlqa"]
    if split not in ("test", "validation") or (pair and not {asked, answered} <= {*known}):
        raise UserError(
            f"mlqa has no part {part!r}; there is test, validation, and of each the pairs of "
            f"languages of questions and paragraphs, such as test/de-en, of {', '.join(known)}"
        )
    chosen: Literal["test", "validation"] = "test" if split == "test" else "validation"
    return chosen, (asked, answered) if pair else None


def _text(text: str | None) -> CandidateText:
    chosen = _one_of(text, "sentence+context", "sentence")
    return "sentence" if chosen == "sentence" else "sentence+context"


def _keep_languages(benchmark: Benchmark, languages: Sequence[str] | None) -> Benchmark:
    if languages is None:
        return benchmark
    if unknown := sorted(set(languages) - set(benchmark.languages)):
        raise UserError(
            f"{benchmark.name} has no language {unknown[0]!r}; "
            f"it has {', '.join(benchmark.languages)}"
        )
    corpus = {language: benchmark.corpus[language] for language in sorted(languages)}
    kept = {candidate.id for items in corpus.values() for candidate in items}
    queries = {language: benchmark.queries[language] for language in sorted(languages)}
    return Benchmark(
        name=benchmark.name,
        queries=queries,
        corpus=corpus,
        qrels={
            query.id: {
                candidate: gain
                for candidate, gain in benchmark.qrels[query.id].items()
                if candidate in kept
            }
            for items in queries.values()
            for query in items
        },
        judged_in_all_languages=benchmark.judged_in_all_languages,
        dropped=benchmark.dropped,
    )
