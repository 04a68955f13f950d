"""The table of sources: what an entry in YAML must say, and what follows from it alone."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tests.trainables.data.samples import write_text
from trainables.data import catalog, fetch
from trainables.data.catalog import load_benchmark, load_training, table
from trainables.data.source import Hub, Source, Web

PUBLISHED = [
    source
    for source in table().values()
    if source.licence not in ("of this project", "of the data")
]


def entry(text: str) -> Source:
    [(name, facts)] = yaml.safe_load(text).items()
    return catalog._entry(name, facts)


@pytest.mark.parametrize("source", PUBLISHED, ids=lambda source: source.name)
def test_a_published_source_names_its_origin(source: Source) -> None:
    assert source.reference.startswith("https://")
    assert source.citation or source.name == "emoji"  # which has no paper
    assert all((source.about, source.licence, source.can, source.cannot, source.layout))
    for origin in source.origins:
        assert re.fullmatch(r"[0-9a-f]{7}|[0-9a-f]{40}", origin.revision or "0" * 40)
        urls = origin.urls if isinstance(origin, Web) else ()
        assert not any("{revision}" in url or " " in url for url in urls)
        if urls and origin.revision:
            assert all(origin.revision in url for url in urls)


def test_what_follows_from_the_loader() -> None:
    for source in table().values():
        loader = source.loader
        if source.is_trainable:
            assert loader.training, source.name
        if loader.benchmark is None:
            assert source.kind == "training"


def test_known_files_and_counts_are_of_parts_and_languages_of_the_source() -> None:
    for source in table().values():
        for part, counts in source.counts.items():
            assert part == "whole" or part in source.parts
            assert set(counts) <= set(source.languages or counts)
        for size, blob in source.checksums.values():
            assert size > 0
            assert re.fullmatch(r"[0-9a-f]{40}", blob)


def test_metadata_is_installed_with_the_code() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))
    data = project["tool"]["setuptools"]["package-data"]["hybrid_batch_study.trainables.data"]
    folder = Path(catalog.__file__).parent
    assert (folder / catalog.METADATA).is_file()
    assert {*folder.glob("*.yaml")} == {path for each in data for path in folder.glob(each)}


def test_an_entry_with_a_key_too_many_is_refused() -> None:
    facts = {"about": "", "loader": "formats.mteb:LOADER", "licence": "", "sizes": "", "can": "",
             "cannot": "", "relevance": "own language"}  # fmt: skip
    assert catalog._entry("mine", facts).name == "mine"
    with pytest.raises(ValidationError, match="license"):
        catalog._entry("mine", facts | {"license": "MIT"})
    with pytest.raises(ValidationError, match="relevance"):
        catalog._entry("mine", facts | {"relevance": "any"})


def document(*questions: tuple[str, str]) -> str:
    context = "Das Salz steht hier. The salt is here."
    qas: list[Any] = [
        {"id": i, "question": text, "answers": [{"text": "Salz", "answer_start": 4}]}
        for i, text in questions
    ]
    paragraphs = [{"context": context, "qas": qas}]
    return json.dumps({"data": [{"title": "Salt", "paragraphs": paragraphs}]})


FACTS = """
  licence: ours
  sizes: small
  relevance: {}
  can: Show how it is done.
  cannot: Anything else.
  has_offsets: true
"""


def test_questions_in_one_language_need_an_entry_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
germanquad:
  about: Questions in German
  loader: formats.squad_pairs:PAIRS
  languages: [de]
  parts: [test, train]
  part: test
  training_part: train
  patterns:
    test: {called: GermanQuAD_test.json, paths: ['GermanQuAD_test\\.json']}
    train: {called: GermanQuAD_train.json, paths: ['GermanQuAD_train\\.json']}
"""
    source = entry(text + FACTS.format("own language"))
    monkeypatch.setitem(table(), source.name, source)
    write_text(tmp_path / "GermanQuAD_test.json", document(("1", "Wo ist das Salz?")))
    write_text(tmp_path / "GermanQuAD_train.json", document(("2", "Was steht hier?")))
    benchmark = load_benchmark("germanquad", tmp_path)
    assert [query.id for query in benchmark.queries["de"]] == ["de:1"]
    assert [query.cluster for query in benchmark.queries["de"]] == ["Salt"]
    assert load_training("germanquad", tmp_path).questions == ["2"]
    assert catalog.reference("germanquad", tmp_path).languages == ("de",)


def test_parallel_questions_need_an_entry_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
help_desk:
  about: Questions by language
  loader: formats.paragraphs:PARALLEL
  languages: [de, en]
  patterns:
    whole: {called: 'desk-<language>.json', paths: ['desk-(?P<language>[a-z]+)\\.json']}
"""
    source = entry(text + FACTS.format("all languages"))
    monkeypatch.setitem(table(), source.name, source)
    write_text(tmp_path / "v1" / "desk-de.json", document(("1", "Wo ist das Salz?")))
    write_text(tmp_path / "v1" / "desk-en.json", document(("1", "Where is the salt?")))
    benchmark = load_benchmark("help_desk", tmp_path)
    assert benchmark.qrels["en:1"] == {"de_0": 1.0, "en_0": 1.0}
    assert load_training("help_desk", tmp_path, ["de", "en"]).questions == ["1"]


def test_a_fetch_without_languages_is_of_all_that_the_source_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[list[str]] = []

    def from_hub(source: Source, origin: Hub, folder: Path, codes: list[str], *_: object) -> str:
        fetched.append(list(codes))
        (folder / "one").touch()
        return origin.id

    monkeypatch.setattr(fetch, "_from_hub", from_hub)
    for name in ("miracl", "mr_tydi", "xm3600"):
        fetch.fetch(table()[name], tmp_path / name, None)
    assert fetched[0] == fetched[1] == [*table()["miracl"].languages]
    assert fetched[2] == fetched[3] == [*table()["mr_tydi"].codes.values()]
    assert "quz" in fetched[4]
