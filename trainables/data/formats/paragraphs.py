"""Questions against whole paragraphs, as MTEB builds XQuADRetrieval and MLQARetrieval.

As in MTEB, questions of equal text in a language become one query and equal contexts one candidate.
MTEB judges one pair of languages at a time; since questions are parallel by id, relevance is here
extended to every language that has the id, which leaves MTEB's monolingual settings unchanged.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace

from trainables.data.benchmark import Benchmark, Candidate, Query, TrainingSet
from trainables.data.formats.squad_json import Paragraph, cluster_of, offset_remarks
from trainables.data.formats.squad_languages import (
    ARTICLES,
    Files,
    Places,
    by_preference,
    clusters_of,
    files_by_language,
    language_files,
    read_languages,
)
from trainables.data.source import Loader, Request, SourceFiles
from trainables.errors import UserError

MERGED = "queries merged with another of equal text"

Pair = tuple[str, str]
"""Languages of the questions and of the paragraphs."""


def load_paragraphs(request: Request) -> Benchmark:
    """Load XQuAD; questions and contexts are stripped, like the data that MTEB reads.

    Returns:
        Query ids `{language}:{id}` (the last id of merged queries), candidate ids
        `{language}_{paragraph}` (the first of equal contexts).
    """
    return _benchmark(read_languages(request, _files(request)), request)


def train_on_paragraphs(request: Request) -> TrainingSet:
    """Load questions and their whole paragraphs as training rows.

    A row's gold and cluster are named in English if the id exists there, else in the first
    language that has it: questions of one paragraph share its gold in every language.

    Returns:
        Rows in the order of the reference languages' files; golds `{reference}_{paragraph}`;
        None if a language lacks the row.
    """
    files = read_languages(request, _files(request))
    rows = {
        language: {q.id: (q.text.strip(), p) for p in paragraphs for q in p.questions}
        for language, paragraphs in files.items()
    }
    reference: dict[str, tuple[str, Paragraph]] = {}
    for language in by_preference(rows):
        for identity, (_, paragraph) in rows[language].items():
            reference.setdefault(identity, (language, paragraph))
    columns = {la: [table.get(identity) for identity in reference] for la, table in rows.items()}
    return TrainingSet(
        name=request.name,
        questions=list(reference),
        golds=[f"{language}_{paragraph.number}" for language, paragraph in reference.values()],
        clusters=[cluster_of(language, paragraph) for language, paragraph in reference.values()],
        queries={la: [row and row[0] for row in column] for la, column in columns.items()},
        passages={
            la: [row and row[1].context.strip() for row in column] for la, column in columns.items()
        },
    )


def load_mlqa(request: Request) -> Benchmark:
    """Load MLQA; nothing is stripped, and a part such as `test/de-en` is one of MTEB's 49 subsets.

    MLQA is partly parallel. MTEB's subset of questions in q and paragraphs in c has only ids that
    both languages have, and only the paragraphs of these. Here `cross/q-c` is judged against all
    of c's paragraphs instead, and so is harder unless c has no others (q is English, or c). The
    monolingual settings are equal.

    Returns:
        Ids as in `load_paragraphs`.

    Raises:
        UserError: As `load_paragraphs`, or a pair of languages shares no question.
    """
    pair = _pair(request)
    files = read_languages(request, _mlqa_places(request))
    if pair is None:
        return _benchmark(files, request, strip=False)
    questions, paragraphs = ({q.id for p in files[la] for q in p.questions} for la in pair)
    if not questions & paragraphs:
        raise UserError(
            f"{request.name}: {pair[0]} and {pair[1]} have no question id in common in "
            f"{request.folder}; are the files of one release?"
        )
    return _benchmark(files, request, strip=False, pair=pair, only=questions & paragraphs)


def _mlqa_files(request: Request) -> SourceFiles:
    return files_by_language(_mlqa_places(request))


def _mlqa_places(request: Request) -> Places:
    """Return the files whose context and questions are in one language.

    The archive's other 42 files hold the same texts, and the hub's translations
    (`mlqa-translate-test.de`) are not MLQA; neither is read.
    """
    pair = _pair(request)
    return language_files(replace(request, languages=tuple(sorted({*pair}))) if pair else request)


def _pair(request: Request) -> Pair | None:
    """Return the languages of questions and paragraphs, if the part is restricted to them.

    Raises:
        UserError: The part does not exist.
    """
    if request.part in ARTICLES:
        raise UserError(request.source.untrained)
    split, _, pair = str(request.part).partition("/")
    first, _, second = pair.partition("-")
    known = request.source.languages
    if split not in request.source.parts or (pair and not {first, second} <= {*known}):
        raise UserError(
            f"mlqa has no part {request.part!r}; there is test, validation, and of each the pairs "
            "of languages of questions and paragraphs, such as test/de-en, of "
            f"{', '.join(known)}"
        )
    return (first, second) if pair else None


def _files(request: Request) -> Places:
    return language_files(request, default="en")


def _benchmark(
    files: Files,
    request: Request,
    *,
    strip: bool = True,
    pair: Pair | None = None,
    only: Container[str] | None = None,
) -> Benchmark:
    """Merge equal texts; keep the ids in `only`, the questions and paragraphs of `pair`."""
    clusters = clusters_of(files)
    corpus: dict[str, list[Candidate]] = {}
    holders: dict[str, dict[str, float]] = {}
    for language in [pair[1]] if pair else files:
        corpus[language] = _candidates(language, files[language], strip, only, holders)
    queries: dict[str, list[Query]] = {}
    qrels: dict[str, dict[str, float]] = {}
    merged = 0
    for language in [pair[0]] if pair else files:
        by_text = _questions(files[language], strip, only)
        merged += sum(len(ids) - 1 for ids in by_text.values())
        queries[language] = [
            Query(f"{language}:{ids[-1]}", text, ids[-1], clusters[ids[-1]])
            for text, ids in by_text.items()
        ]
        for ids in by_text.values():
            qrels[f"{language}:{ids[-1]}"] = {
                candidate: 1.0 for identity in ids for candidate in holders[identity]
            }
    dropped = {MERGED: merged} if merged else {}
    dropped |= offset_remarks(p for paragraphs in files.values() for p in paragraphs)
    return Benchmark(request.name, queries, corpus, qrels, dropped=dropped | request.dropped)


def _candidates(
    language: str,
    paragraphs: Sequence[Paragraph],
    strip: bool,
    only: Container[str] | None,
    holders: dict[str, dict[str, float]],
) -> list[Candidate]:
    """Return contexts with a question in `only`; add to `holders` the candidates of each id."""
    first: dict[str, str] = {}
    for paragraph in paragraphs:
        ids = [q.id for q in paragraph.questions if only is None or q.id in only]
        if only is None or ids:
            text = paragraph.context.strip() if strip else paragraph.context
            candidate = first.setdefault(text, f"{language}_{paragraph.number}")
            for identity in ids:
                holders.setdefault(identity, {})[candidate] = 1.0
    return [Candidate(identity, text) for text, identity in first.items()]


def _questions(
    paragraphs: Sequence[Paragraph], strip: bool, only: Container[str] | None
) -> dict[str, list[str]]:
    """Return the ids in `only` by text."""
    by_text: dict[str, list[str]] = {}
    for question in (q for paragraph in paragraphs for q in paragraph.questions):
        if only is None or question.id in only:
            text = question.text.strip() if strip else question.text
            by_text.setdefault(text, []).append(question.id)
    return by_text


PARALLEL = Loader(
    lambda request: files_by_language(_files(request)), load_paragraphs, train_on_paragraphs
)
TRANSLATIONS = Loader(PARALLEL.files, training=train_on_paragraphs)
MLQA = Loader(_mlqa_files, load_mlqa)
