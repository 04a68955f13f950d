"""LAReQA: multilingual SQuAD files as sentence retrieval (XQuAD-R, MLQA-R).

Sentence candidates follow Roy et al. 2020 (arXiv:2004.05484) as google-research/xtreme evaluates
them. Paragraph candidates of the same questions are in `paragraphs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainables.data.benchmark import Benchmark, Candidate, Query, TrainingSet
from trainables.data.formats.squad_json import Paragraph, Question, cluster_of, offset_remarks
from trainables.data.formats.squad_languages import (
    Files,
    by_preference,
    clusters_of,
    files_by_language,
    language_files,
    read_languages,
)
from trainables.data.source import Loader, Request
from trainables.spec import CandidateText

NO_TARGET = "queries whose answer starts in no sentence"


@dataclass(frozen=True, slots=True)
class _Target:
    """A question and the position of its answer, in one language."""

    paragraph: Paragraph
    question: Question
    sentences: tuple[int, ...]
    """Positions in the paragraph whose text equals the target sentence; empty without target."""


def load_lareqa(request: Request) -> Benchmark:
    """Load questions against sentences; relevance extends to all languages that share the id.

    Relevant are the sentences of the question's paragraph that equal its target sentence, the
    first that contains the answer's first character. Questions of equal text are not merged. A
    candidate's text is the sentence, or LAReQA's `sentence + context` as one string without
    separator; line breaks are removed.

    Returns:
        Query ids `{language}:{id}`, candidate ids `{language}_{paragraph}_{sentence}`. Clusters
        are article titles (else `<language>-article-<index>`), in English if the id exists there,
        else in the first language that has it.
    """
    files = _sentences(request)
    targets = _targets(files)
    relevant: dict[str, dict[str, float]] = {}
    for language, table in targets.items():
        for identity, target in table.items():
            number = target.paragraph.number
            for position in target.sentences:
                relevant.setdefault(identity, {})[f"{language}_{number}_{position}"] = 1.0
    clusters = clusters_of(files)
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
            Candidate(f"{language}_{p.number}_{position}", _text(p, position, request.text))
            for p in paragraphs
            for position in range(len(p.sentences))
        ]
        for language, paragraphs in files.items()
    }
    missed = sum(not target.sentences for table in targets.values() for target in table.values())
    remarks = offset_remarks(p for paragraphs in files.values() for p in paragraphs)
    return Benchmark(
        name=request.name,
        queries=queries,
        corpus=corpus,
        qrels={query.id: relevant[query.question] for items in queries.values() for query in items},
        dropped=({NO_TARGET: missed} if missed else {}) | remarks | request.dropped,
    )


def train_on_lareqa(request: Request) -> TrainingSet:
    """Load the same questions and target sentences as training rows.

    A row's gold is named after the target sentence in the reference language: English if the id
    exists there, else the first language that has it. Translations split paragraphs into
    sentences differently, so golds named in each language would not be shared; named in one,
    questions with the same gold sentence there share it everywhere.

    On request, a row's hard negatives in a language are the other sentences of its paragraph
    there, nearest to the target first. A sentence that is the target of a question has the name
    of that question's gold.

    Returns:
        Rows in the order of the reference languages' files; golds
        `{reference}_{paragraph}_{sentence}`; None if a language lacks the row.
    """
    targets = _targets(_sentences(request))
    reference: dict[str, tuple[str, _Target]] = {}
    for language in by_preference(targets):
        for identity, target in targets[language].items():
            if target.sentences:
                reference.setdefault(identity, (language, target))

    golds = {
        identity: f"{language}_{target.paragraph.number}_{target.sentences[0]}"
        for identity, (language, target) in reference.items()
    }

    def column(language: str, passage: bool) -> list[str | None]:
        rows = (targets[language].get(identity) for identity in reference)
        return [
            None
            if row is None or not row.sentences
            else _text(row.paragraph, row.sentences[0], request.text)
            if passage
            else row.question.text
            for row in rows
        ]

    return TrainingSet(
        name=request.name,
        questions=list(reference),
        golds=list(golds.values()),
        clusters=[cluster_of(la, target.paragraph) for la, target in reference.values()],
        queries={language: column(language, passage=False) for language in targets},
        passages={language: column(language, passage=True) for language in targets},
        negatives={
            language: _neighbours(language, targets[language], golds, request.text)
            for language in targets
            if request.negatives
        },
    )


def _neighbours(
    language: str,
    targets: Mapping[str, _Target],
    golds: Mapping[str, str],
    text: CandidateText | None,
) -> list[list[Candidate]]:
    """Return for each question in `golds` the sentences around its target in one language.

    Args:
        language: BCP-47 code.
        targets: Question id to its target in this language.
        golds: Question id to the name of its gold, row by row.
        text: Form of a sentence's text.
    """
    gold_names: dict[tuple[int, int], str] = {}
    for identity, target in targets.items():
        for position in target.sentences if identity in golds else ():
            gold_names.setdefault((target.paragraph.number, position), golds[identity])

    def around(identity: str) -> list[Candidate]:
        target = targets.get(identity)
        if target is None or not target.sentences:
            return []
        paragraph, first = target.paragraph, target.sentences[0]
        others = set(range(len(paragraph.sentences))) - set(target.sentences)
        return [
            Candidate(
                gold_names.get((paragraph.number, p), f"{language}_{paragraph.number}_{p}"),
                _text(paragraph, p, text),
            )
            for p in sorted(others, key=lambda p: (abs(p - first), p))
        ]

    return [around(identity) for identity in golds]


def _sentences(request: Request) -> Files:
    return read_languages(request, language_files(request), sentences=True)


def _targets(files: Files) -> dict[str, dict[str, _Target]]:
    """Return language to question id to target, in file order."""
    return {
        language: {
            question.id: _Target(paragraph, question, _positions(paragraph, question))
            for paragraph in paragraphs
            for question in paragraph.questions
        }
        for language, paragraphs in files.items()
    }


def _positions(paragraph: Paragraph, question: Question) -> tuple[int, ...]:
    target = paragraph.target(question)
    return tuple(i for i, text in enumerate(paragraph.sentences) if text == target)


def _text(paragraph: Paragraph, position: int, text: CandidateText | None) -> str:
    sentence = paragraph.sentences[position]
    candidate_text = sentence if text == "sentence" else sentence + paragraph.context
    return candidate_text.replace("\n", "")


LOADER = Loader(
    lambda request: files_by_language(language_files(request)), load_lareqa, train_on_lareqa
)
