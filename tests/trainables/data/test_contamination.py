from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from trainables.data.benchmark import Benchmark, Candidate, Query, TrainingSet
from trainables.data.catalog import load_benchmark, load_training
from trainables.data.contamination import Contamination, contamination, normalise, shingles

PASSAGE = (
    "The river rises in the hills north of the old town and reaches the sea "
    "after ninety miles of meadows, mills and bridges."
)


def evaluated(
    text: str = PASSAGE, question: str = "where does the river rise in spring?",
    identity: str = "e-1234567", article: str = "River_Thing", language: str = "en",
) -> Benchmark:  # fmt: skip
    return Benchmark(
        name="toy",
        queries={language: [Query(f"{language}:1", question, identity, article)]},
        corpus={language: [Candidate("c1", text)]},
        qrels={f"{language}:1": {"c1": 1}},
    )


def trained(
    text: str = "Something else altogether, about a mountain that nobody has climbed before now.",
    question: str = "which mountain is meant in this text?",
    identity: str = "t-7654321", article: str = "Mountain", language: str = "en",
) -> TrainingSet:  # fmt: skip
    return TrainingSet("train", [identity], ["g"], [article], {language: [question]},
                       {language: [text]})  # fmt: skip


def found(result: Contamination) -> Mapping[str, int]:
    return {finding.method: finding.matches for finding in result.findings if finding.matches}


@pytest.mark.parametrize(
    ("other", "common"),
    [("zh", True), ("zh-Hans", True), ("zh-HK", True), ("zh-Latn", False), ("ja", False)],
)
def test_scripts_and_regions_are_the_same_language(other: str, common: bool) -> None:
    result = contamination(trained(language="zh"), evaluated(language=other))
    assert (result.verdict == "not checkable") != common
    assert (result.blind == ("translations and paraphrases",)) == common
    held = contamination(trained(language="zh", text=PASSAGE), evaluated(language=other))
    assert held.verdict == "overlap"


def test_nothing_found_is_not_called_clean() -> None:
    result = contamination(trained(), evaluated())
    assert result.verdict == "none found by these methods"
    assert result.blind == ("translations and paraphrases",)
    assert [finding.of for finding in result.findings] == [1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("training", "method"),
    [
        (trained(identity="e-1234567"), "question ids"),
        (trained(article="river thing"), "article titles"),
        (trained(question="Where does the river rise, in SPRING"), "equal queries"),
        (trained(text=PASSAGE.upper().replace(",", " -")), "equal passages"),
        (trained(text=f"Before it much else. {PASSAGE} And much after it."), "passage shingles"),
    ],
)
def test_each_method_finds_what_it_is_for(training: TrainingSet, method: str) -> None:
    result = contamination(training, evaluated())
    assert result.verdict == "overlap"
    assert method in found(result)
    assert {method, "passage shingles"} >= set(found(result))
    json.dumps(result.to_json(), allow_nan=False)


def test_what_agrees_by_accident_is_no_evidence() -> None:
    test = evaluated(text="Paris.", question="who?", identity="q12", article="de-article-3")
    training = trained(text="Paris", question="Who", identity="q12", article="de-article-3")
    result = contamination(training, test)
    assert result.verdict == "none found by these methods"
    assert result.findings == ()


def test_without_a_common_language_texts_cannot_be_compared() -> None:
    result = contamination(trained(language="de"), evaluated())
    assert result.verdict == "not checkable"
    assert "en" in result.blind[1]
    assert contamination(trained(language="de", identity="e-1234567"), evaluated()).verdict == (
        "overlap"
    )


def test_a_few_common_words_are_no_overlap() -> None:
    result = contamination(
        trained(text="It is said that the river rises in the hills north of the old town hall."),
        evaluated(),
    )
    assert result.verdict == "none found by these methods"


def test_normalisation_and_shingles() -> None:
    assert normalise("Ｆull－width, STRASSE!") == normalise("full width strasse")  # noqa: RUF001
    assert normalise("北京2024年") == "北 京 2024 年"
    assert normalise("नदी कैसे?") == "नदी कैसे"
    assert normalise("நதி ❤\ufe0f") == "நதி"
    assert len(shingles("a1 b2 c3 d4 e5 f6 g7")) == 0
    assert len(shingles("a1 b2 c3 d4 e5 f6 g7 h8 i9")) == 2
    assert len(shingles("北京是中华人民共和国的首都和直辖市之一")) == 4
    assert len(set(shingles(PASSAGE).tolist())) == len(PASSAGE.split()) - 7


def test_articles_of_one_source_share_its_titles_only_if_not_divided(shared: Path) -> None:
    folder, languages = shared / "data" / "xquad-r", ["en", "es"]
    training = load_training("xquad_r", folder, languages, part="articles", aligned=False)
    held_out = load_benchmark("xquad_r", folder, languages, part="held-out")
    assert found(contamination(training, held_out)) == {}
    whole = contamination(training, load_benchmark("xquad_r", folder, languages))
    assert set(found(whole)) == {
        "question ids",
        "article titles",
        "equal queries",
        "equal passages",
        "passage shingles",
    }
    assert found(whole)["article titles"] == 24


def squad(document: Mapping[str, Any], without: Sequence[str] = ()) -> TrainingSet:
    rows = [
        (qa["id"], qa["question"], paragraph["context"], article["title"])
        for article in document["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
        if qa["id"] not in set(without)
    ]
    ids, questions, contexts, titles = (list(column) for column in zip(*rows, strict=True))
    return TrainingSet("squad-es", ids, ids, titles, {"es": questions}, {"es": contexts})


def test_the_parent_of_xquad_is_found_even_without_its_ids(shared: Path) -> None:
    path = shared / "data" / "squad-dev-translations" / "SQuAD-es-v1.1"
    with gzip.open(path / "dev-v1.1-es_small.json.gz") as file:
        document = json.load(file)
    folder, languages = shared / "data" / "xquad-r", ["en", "es"]
    test = load_benchmark("xquad_r", folder, languages, text="sentence")
    whole = contamination(squad(document), test)
    assert whole.verdict == "overlap"
    assert found(whole)["question ids"] == 732
    # Most of these questions were translated twice, so their texts differ.
    assert 140 <= found(whole)["equal queries"] <= 160
    ids = [query.question for query in test.queries["en"]]
    rest = contamination(squad(document, without=ids), test)
    assert rest.verdict == "overlap"
    assert "question ids" not in found(rest)
    assert "article titles" in found(rest)
