"""Entries of the table for XQuAD and MLQA, by sentences and by paragraphs."""

from __future__ import annotations

from typing import Literal

from trainables.data import lareqa, paragraphs
from trainables.data.corpus import Benchmark, TrainingSet
from trainables.data.reading import choose
from trainables.data.source import Found, Request, Source, Web
from trainables.data.squad_languages import WHAT, Places, language_files, named
from trainables.errors import UserError
from trainables.spec import CandidateText

XQUAD = ("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh")
MLQA = ("ar", "de", "en", "es", "hi", "vi", "zh")

LAREQA_ARTICLES = 1_000
"""More than any LAReQA or XQuAD file has."""

LAREQA_PARTS = {
    "articles": frozenset(range(0, LAREQA_ARTICLES, 2)),
    "held-out": frozenset(range(1, LAREQA_ARTICLES, 2)),
}
"""Every second article for training, the others for evaluation: same domain, no shared text."""

UNTRAINED = (
    "mlqa has no training part: its articles differ from language to language and all are "
    "evaluated; train on other data with --set train=..., for example xquad_r:articles"
)


def _files(request: Request) -> Places:
    """Files of the languages asked for, or of those that the source has.

    Romanian came to XQuAD later, and not to XQuAD-R: without being asked for, it is taken where its
    file is. Any other that is missing is refused rather than left out in silence.
    """
    there = language_files(request.folder, request.name)
    known = MLQA if request.name == "mlqa_r" else XQUAD
    later = {"ro"} & there.keys() if request.name == "xquad" else set()
    languages = request.languages or [*known, *later]
    return choose(there, languages, request.name, request.folder, WHAT)


def _named_files(request: Request) -> Found:
    places = _files(request)
    return Found(named(places), tuple(places))


def _mlqa_part(request: Request) -> tuple[Literal["test", "validation"], paragraphs.Pair | None]:
    if request.part in LAREQA_PARTS:
        raise UserError(UNTRAINED)
    return paragraphs.mlqa_part(request.part, MLQA)


def _mlqa_files(request: Request) -> Found:
    split, pair = _mlqa_part(request)
    known = sorted({*pair}) if pair else list(request.languages or MLQA)
    return Found(named(paragraphs.mlqa_files(request.folder, known, split)), tuple(known))


def _articles(part: str | None) -> frozenset[int] | None:
    return None if part is None else LAREQA_PARTS[part]


def _text(request: Request) -> CandidateText:
    return request.text or "sentence+context"


def _sentences(request: Request) -> Benchmark:
    return lareqa.load_lareqa(
        request.folder,
        request.name,
        tuple(_files(request)),
        _text(request),
        _articles(request.part),
        request.skipped,
        request.offsets,
    )


def _sentence_rows(request: Request) -> TrainingSet:
    return lareqa.training_pairs(
        request.folder,
        request.name,
        tuple(_files(request)),
        _text(request),
        _articles(request.part),
        request.skipped,
        request.negatives,
        request.offsets,
    )


def _xquad(request: Request) -> Benchmark:
    return paragraphs.load_paragraphs(
        request.folder,
        request.name,
        tuple(_files(request)),
        _articles(request.part),
        request.skipped,
        request.offsets,
    )


def _xquad_rows(request: Request) -> TrainingSet:
    return paragraphs.paragraph_pairs(
        request.folder,
        request.name,
        tuple(_files(request)),
        _articles(request.part),
        request.skipped,
        request.offsets,
    )


def _mlqa(request: Request) -> Benchmark:
    split, pair = _mlqa_part(request)
    return paragraphs.load_mlqa_paragraphs(
        request.folder,
        request.languages or MLQA,
        split,
        pair,
        skipped=request.skipped,
        offsets=request.offsets,
    )


_LAREQA = "https://raw.githubusercontent.com/google-research-datasets/lareqa"
_XQUAD = "https://raw.githubusercontent.com/google-deepmind/xquad"
_DIVIDED = ("held-out", "articles")

SOURCES = (
    Source(
        name="xquad_r",
        about="LAReQA's XQuAD-R: questions against sentences, 11 languages, parallel",
        licence="CC BY-SA 4.0",
        languages=XQUAD,
        sizes="1,190 questions in each language, 13,014 candidate sentences in all",
        relevance="all languages",
        can="Mono, cross and multi with rank distance, as the paper reports them.",
        cannot="No zero-shot claim after training on SQuAD's development set or its translations.",
        layout=("<language>.json, with sentence_breaks",),
        find=_named_files,
        origins=(Web((f"{_LAREQA}/9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c/xquad-r/{{}}.json",)),),
        parts=_DIVIDED,
        training_part="articles",
        names_part=False,
        benchmark=_sentences,
        has_offsets=True,
        training=_sentence_rows,
        has_text=True,
        has_negatives=True,
        codes={language: language for language in XQUAD},
    ),
    Source(
        name="mlqa_r",
        about="LAReQA's MLQA-R: questions against sentences, 7 languages, partly parallel",
        licence="CC BY-NC 4.0",
        languages=MLQA,
        sizes="see the files",
        relevance="all languages",
        can="Mono, cross and multi with rank distance, as the paper reports them.",
        cannot="Not every question exists in every language.",
        layout=("<language>.json, with sentence_breaks",),
        find=_named_files,
        origins=(Web((f"{_LAREQA}/354d67d/mlqa-r/{{}}.json",)),),
        parts=_DIVIDED,
        training_part="articles",
        names_part=False,
        benchmark=_sentences,
        has_offsets=True,
        training=_sentence_rows,
        has_text=True,
        has_negatives=True,
        codes={language: language for language in MLQA},
    ),
    Source(
        name="xquad",
        about="XQuAD: questions against whole paragraphs, as MTEB's XQuADRetrieval",
        licence="CC BY-SA 4.0",
        languages=(*XQUAD, "ro"),
        sizes="1,190 questions and 240 paragraphs in each language",
        relevance="all languages",
        can="Mono, cross and multi; monolingual settings comparable with MTEB.",
        cannot="No zero-shot claim after training on SQuAD's development set or its translations.",
        layout=(
            "xquad.<language>.json or <language>.json",
            "xquad.<language>/validation-*.parquet",
        ),
        find=_named_files,
        origins=(Web((f"{_XQUAD}/7d30520c717524000f0d9d2f9c10a069acd9d285/xquad.{{}}.json",)),),
        parts=_DIVIDED,
        training_part="articles",
        names_part=False,
        benchmark=_xquad,
        has_offsets=True,
        training=_xquad_rows,
        codes={language: language for language in (*XQUAD, "ro")},
    ),
    Source(
        name="mlqa",
        about="MLQA: questions against whole paragraphs, as MTEB's MLQARetrieval",
        licence="CC BY-SA 3.0",
        languages=MLQA,
        sizes="see the files",
        relevance="all languages",
        can="Mono, cross and multi; MTEB's 49 subsets as parts such as test/de-en.",
        cannot="Partly parallel: a pair of languages shares only some questions.",
        layout=(
            "{test,dev}-context-<language>-question-<language>.json",
            "mlqa.<language>.<language>/{test,validation}-*.parquet",
        ),
        find=_mlqa_files,
        origins=(Web(("https://dl.fbaipublicfiles.com/MLQA/MLQA_V1.zip",)),),
        parts=("test", "validation"),
        part="test",
        benchmark=_mlqa,
        has_offsets=True,
        untrained=UNTRAINED,
        free_parts=True,
    ),
)
