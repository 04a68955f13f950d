"""Files and checkpoints in the formats of the full tiers' own, small enough to run them here."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tests.checkpoints import make_checkpoint
from tests.study import full_pictures
from tests.trainables.data.samples import write_lines, write_text
from trainables.data.catalog import source
from trainables.data.languages import NAMES

MMARCO = ("ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "nl", "pt", "ru", "vi", "zh")
XQUAD = ("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh")
MLQA = ("ar", "de", "en", "es", "hi", "vi", "zh")
TYDI = {"arabic": "ar", "bengali": "bn", "english": "en", "finnish": "fi", "indonesian": "id",
        "korean": "ko", "russian": "ru", "swahili": "sw", "telugu": "te"}  # fmt: skip
XOR = ("ar", "bn", "fi", "ja", "ko", "ru", "te")

WORDS = [
    "a",
    "man",
    "is",
    "eating",
    "food",
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dog",
    "river",
    "ends",
    "in",
    "sea",
]
"""Those that the tiny tokenizers have seen."""

ROWS = 1200
"""Of mMARCO: more than the largest batch of any space."""

CHECKPOINTS = {
    "FacebookAI/xlm-roberta-base": "xlm-roberta",
    "FacebookAI/xlm-roberta-large": "xlm-roberta",
    "nreimers/mMiniLMv2-L12-H384-distilled-from-XLMR-Large": "xlm-roberta",
    "sentence-transformers/LaBSE": "labse",
    **full_pictures.SEEING,
}
"""Hub ids of the full tiers, and of what architecture they are."""


def text(draw: random.Random, words: int) -> str:
    """Some words, never the same twice in practice."""
    return " ".join(draw.choices(WORDS, k=words)) + f" {draw.randrange(10**6)}"


def write_data(folder: Path) -> Path:
    """A data directory that holds every source of the full tiers under its name; returns it."""
    draw = random.Random(0)
    _mmarco(folder / "mmarco", draw)
    for name, languages in (("xquad_r", XQUAD), ("mlqa_r", MLQA)):
        _lareqa(folder / name, languages, draw)
    for language in MLQA:
        for part in ("dev", "test"):
            name = f"{part}-context-{language}-question-{language}.json"
            _write(folder / "mlqa" / part / name, _articles(draw, language, 6))
    for name, language in TYDI.items():
        path = folder / "tydiqa" / f"tydiqa-goldp-dev-{name}.json"
        _write(path, _articles(draw, language, 3, name + "-"))
    articles = [
        article
        for language in XOR
        for article in _articles(draw, "en", 3, f"{language}-", lang=language)
    ]
    _write(folder / "xor_tydi" / "gp_squad_dev_data.json", articles)
    for code in source("belebele").codes.values():
        rows = [_belebele(code, number, draw) for number in range(2)]
        write_lines(folder / "belebele" / f"{code}.jsonl", rows)
    full_pictures.write_pictures(folder, draw)
    return folder


def write_hub(folder: Path) -> Path:
    """A local cache of the hub with every checkpoint of `CHECKPOINTS`; returns it."""
    for name, kind in CHECKPOINTS.items():
        base = folder / f"models--{name.replace('/', '--')}"
        (base / "refs").mkdir(parents=True)
        (base / "refs" / "main").write_text("0" * 40)
        snapshot = base / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        if name in full_pictures.SEEING:
            full_pictures.make(kind, snapshot, seed=len(name))
        else:
            make_checkpoint(kind, snapshot, seed=len(name))
    return folder


def _mmarco(folder: Path, draw: random.Random) -> None:
    triples = [f"{n}\t{n}\t{(n + 1) % ROWS}" for n in range(ROWS)]
    write_text(folder / "triples.train.ids.small.tsv", *triples)
    for language in MMARCO:
        name = NAMES[language]
        for kind, words in (("collection", 8), ("queries.train", 4)):
            rows = (f"{n}\t{text(draw, words)}" for n in range(ROWS))
            write_text(folder / f"{name}_{kind}.tsv", *rows)


def _articles(
    draw: random.Random, language: str, count: int, prefix: str = "", **more: str
) -> list[dict[str, Any]]:
    """Articles of SQuAD's shape, of one paragraph with two sentences and one question."""
    found = []
    for number in range(count):
        first, second = f"{text(draw, 6)}.", f"{text(draw, 6)}."
        context, start = f"{first} {second}", len(first) + 1
        answer = {"text": second.split()[0], "answer_start": start}
        question = {"id": f"{prefix}{number}", "question": f"{text(draw, 4)}?"}
        paragraph = {
            "context": context,
            "sentences": [first, second],
            "sentence_breaks": [[0, len(first)], [start, len(context)]],
            "qas": [question | {"answers": [answer]} | more],
        }
        found.append({"title": f"{language} {prefix}{number}", "paragraphs": [paragraph]})
    return found


def _lareqa(folder: Path, languages: tuple[str, ...], draw: random.Random) -> None:
    for language in languages:
        _write(folder / f"{language}.json", _articles(draw, language, 6))


def _belebele(code: str, number: int, draw: random.Random) -> dict[str, Any]:
    return {
        "link": f"link {number}",
        "question_number": 1,
        "flores_passage": text(draw, 8),
        "question": f"{text(draw, 4)}?",
        "mc_answer1": "a",
        "correct_answer_num": "1",
        "dialect": code,
        "ds": "2023-05-03",
    }


def _write(path: Path, articles: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "1.1", "data": articles}), encoding="utf-8")
