"""LAReQA: SQuAD-shaped files in several languages as retrieval (XQuAD-R, MLQA-R, and XQuAD).

Sentence candidates follow Roy et al. 2020 (arXiv:2004.05484) as google-research/xtreme evaluates
them; paragraph candidates follow MTEB's XQuADRetrieval.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.data.corpus import Benchmark, Candidate, Query, TrainingSet
from trainables.data.squad_json import Paragraph, Question, pick_languages, read_paragraphs
from trainables.errors import UserError
from trainables.spec import CandidateText

Files = Mapping[str, Sequence[Paragraph]]

NO_TARGET = "queries whose answer starts in no sentence"
MERGED = "queries merged with another of equal text"


@dataclass(frozen=True, slots=True)
class _Target:
    """A question together with where its answer lies, in one language."""

    paragraph: Paragraph
    question: Question
    sentences: tuple[int, ...]
    """Positions in the paragraph whose text equals the target sentence; empty without target."""


def load_lareqa(
    folder: Path,
    name: str = "xquad_r",
    languages: Sequence[str] | None = None,
    text: CandidateText = "sentence+context",
    articles: Container[int] | None = None,
) -> Benchmark:
    r"""Questions against sentences, relevance shared by all languages that hold a question's id.

    Relevant are the sentences of the question's paragraph that equal its target sentence, the
    first that holds the answer's first character. Questions of equal text are not merged.

    Args:
        folder: Holds `<language>.json`, each of SQuAD's shape with `sentence_breaks`.
        name: Of the benchmark.
        languages: To read; None for every file in the folder.
        text: A candidate's text: the sentence, or LAReQA's `sentence + context` as one string
            without separator; line breaks are removed.
        articles: Keep only articles with these indices; ids and paragraph numbers stay the same.

    Returns:
        Query ids `{language}:{id}`, candidate ids `{language}_{paragraph}_{sentence}`, clusters
        the articles' titles (else `<language>-article-<index>`), taken from English where the id
        exists there, else from the first language that holds it.

    Raises:
        UserError: A missing, broken or differently shaped file, or a language without file.
    """
    files = _read(folder, name, languages, articles)
    targets = _targets(files)
    relevant: dict[str, dict[str, float]] = {}
    for language, table in targets.items():
        for identity, target in table.items():
            number = target.paragraph.number
            for position in target.sentences:
                relevant.setdefault(identity, {})[f"{language}_{number}_{position}"] = 1.0
    clusters = _clusters(targets)
    queries = {
        language: [
            Query(f"{language}:{identity}", target.question.text, identity, clusters[identity])
            for identity, target in table.items()
            if target.sentences
        ]
        for language, table in targets.items()
    }
    corpus = {
        language: [
            Candidate(f"{language}_{p.number}_{position}", _text(p, position, text))
            for p in paragraphs
            for position in range(len(p.sentences))
        ]
        for language, paragraphs in files.items()
    }
    dropped = sum(not target.sentences for table in targets.values() for target in table.values())
    return Benchmark(
        name=name,
        queries=queries,
        corpus=corpus,
        qrels={query.id: relevant[query.question] for items in queries.values() for query in items},
        dropped={NO_TARGET: dropped} if dropped else {},
    )


def load_paragraphs(
    folder: Path,
    name: str = "xquad",
    languages: Sequence[str] | None = None,
    articles: Container[int] | None = None,
) -> Benchmark:
    """Questions against whole paragraphs, as MTEB builds XQuADRetrieval.

    Questions and contexts are stripped; questions of equal text in a language become one query
    (the last id names it) with the paragraphs of all of them relevant; equal contexts are one
    candidate. MTEB judges only the query's own language; since paragraphs are parallel by
    question id, relevance is extended to every language, which leaves the monolingual settings
    (MTEB's) unchanged.

    Args:
        folder: Holds `<language>.json` of SQuAD's shape.
        name: Of the benchmark.
        languages: To read; None for every file in the folder.
        articles: Keep only articles with these indices.

    Returns:
        Query ids `{language}:{id}`, candidate ids `{language}_{paragraph}`.

    Raises:
        UserError: As for `load_lareqa`.
    """
    files = _read(folder, name, languages, articles, sentences=False)
    clusters = _clusters(_targets(files))
    corpus: dict[str, list[Candidate]] = {}
    holders: dict[str, dict[str, float]] = {}
    for language, paragraphs in files.items():
        first: dict[str, str] = {}
        for paragraph in paragraphs:
            text = paragraph.context.strip()
            candidate = first.setdefault(text, f"{language}_{paragraph.number}")
            for question in paragraph.questions:
                holders.setdefault(question.id, {})[candidate] = 1.0
        corpus[language] = [Candidate(identity, text) for text, identity in first.items()]
    queries: dict[str, list[Query]] = {}
    qrels: dict[str, dict[str, float]] = {}
    merged = 0
    for language, paragraphs in files.items():
        by_text: dict[str, list[str]] = {}
        for question in (q for paragraph in paragraphs for q in paragraph.questions):
            by_text.setdefault(question.text.strip(), []).append(question.id)
        merged += sum(len(ids) - 1 for ids in by_text.values())
        queries[language] = [
            Query(f"{language}:{ids[-1]}", text, ids[-1], clusters[ids[-1]])
            for text, ids in by_text.items()
        ]
        for ids in by_text.values():
            qrels[f"{language}:{ids[-1]}"] = {
                candidate: 1.0 for identity in ids for candidate in holders[identity]
            }
    return Benchmark(name, queries, corpus, qrels, dropped={MERGED: merged} if merged else {})


def training_pairs(
    folder: Path,
    name: str = "xquad_r",
    languages: Sequence[str] | None = None,
    text: CandidateText = "sentence+context",
    articles: Container[int] | None = None,
) -> TrainingSet:
    """The same questions and target sentences as rows to train on.

    A row's gold is named after the target sentence in the reference language: English where the
    id exists there, else the first language that holds it. Translations split paragraphs into
    sentences differently, so a gold named in each language would not be shared; named in one,
    questions with the same gold sentence there share it everywhere.

    Returns:
        Rows in the order of the reference languages' files; golds
        `{reference}_{paragraph}_{sentence}`; None where a language lacks the row.

    Raises:
        UserError: As for `load_lareqa`.
    """
    targets = _targets(_read(folder, name, languages, articles))
    reference: dict[str, tuple[str, _Target]] = {}
    for language in _by_preference(targets):
        for identity, target in targets[language].items():
            if target.sentences:
                reference.setdefault(identity, (language, target))

    def column(language: str, passage: bool) -> list[str | None]:
        rows = (targets[language].get(identity) for identity in reference)
        return [
            None
            if row is None or not row.sentences
            else _text(row.paragraph, row.sentences[0], text)
            if passage
            else row.question.text
            for row in rows
        ]

    return TrainingSet(
        name=name,
        questions=list(reference),
        golds=[f"{la}_{t.paragraph.number}_{t.sentences[0]}" for la, t in reference.values()],
        clusters=[_cluster(la, target.paragraph) for la, target in reference.values()],
        queries={language: column(language, passage=False) for language in targets},
        passages={language: column(language, passage=True) for language in targets},
    )


def _read(
    folder: Path,
    name: str,
    languages: Sequence[str] | None,
    articles: Container[int] | None,
    sentences: bool = True,
) -> Files:
    files = {
        language: read_paragraphs(folder / f"{language}.json", name, sentences)
        for language in pick_languages(folder, name, languages)
    }
    if articles is None:
        return files
    _refuse_misaligned(files, name)
    kept = {
        la: [p for p in paragraphs if p.article in articles] for la, paragraphs in files.items()
    }
    if not any(kept.values()):
        raise UserError(f"{name}: none of the articles asked for is in {folder}; indices from 0")
    return kept


def _refuse_misaligned(files: Files, name: str) -> None:
    """Article indices divide the data only where translations lie in the same article."""
    first: dict[str, tuple[str, int]] = {}
    for language, paragraphs in files.items():
        for paragraph in paragraphs:
            for question in paragraph.questions:
                other, article = first.setdefault(question.id, (language, paragraph.article))
                if article != paragraph.article:
                    raise UserError(
                        f"{name}: question {question.id!r} is in article {article} of {other}.json "
                        f"but {paragraph.article} of {language}.json, so a division by article "
                        "index would leak. Divide by question ids instead"
                    )


def _targets(files: Files) -> dict[str, dict[str, _Target]]:
    """Language to question id to target, in file order."""
    return {
        language: {
            question.id: _Target(paragraph, question, _positions(paragraph, question))
            for paragraph in paragraphs
            for question in paragraph.questions
        }
        for language, paragraphs in files.items()
    }


def _positions(paragraph: Paragraph, question: Question) -> tuple[int, ...]:
    wanted = paragraph.target(question)
    return tuple(i for i, text in enumerate(paragraph.sentences) if text == wanted)


def _by_preference(languages: Mapping[str, object]) -> list[str]:
    """English first, then ascending."""
    return sorted(languages, key=lambda language: (language != "en", language))


def _clusters(targets: Mapping[str, Mapping[str, _Target]]) -> dict[str, str]:
    clusters: dict[str, str] = {}
    for language in _by_preference(targets):
        for identity, target in targets[language].items():
            clusters.setdefault(identity, _cluster(language, target.paragraph))
    return clusters


def _cluster(language: str, paragraph: Paragraph) -> str:
    return paragraph.title or f"{language}-article-{paragraph.article}"


def _text(paragraph: Paragraph, position: int, text: CandidateText) -> str:
    sentence = paragraph.sentences[position]
    whole = sentence if text == "sentence" else sentence + paragraph.context
    return whole.replace("\n", "")
