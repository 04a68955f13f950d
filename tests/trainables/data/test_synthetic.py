"""The embedded world: what its texts are, and that they are the same everywhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.data.worlds.synthetic import synthetic_benchmark, synthetic_training, tokenizer_text
from trainables.data.worlds.worlds import WORLDS, World, lexicon, world_digest
from trainables.errors import UserError

STANDARD = WORLDS["standard"]
SMALL = World("small", concepts=60, train=40, validation=10, test=20)

GOLDEN = {
    "standard": "ffc28a437797594e2312",
    "null": "0240b016e2d0b438aee7",
    "unrelated": "ef7d1484f9bb7b8f4db1",
}
"""If a change of the texts is meant, raise GENERATOR and put the new values here."""


def everything(world: World) -> str:
    """Hash of every text and id of a world."""
    training = synthetic_training(world)
    parts: list[Any] = [dict(training.queries), dict(training.passages), training.golds]
    for part in ("validation", "test"):
        benchmark = synthetic_benchmark(world, part)
        for table in (benchmark.queries, benchmark.corpus):
            parts.append([[x, i.id, i.text] for x, items in table.items() for i in items])
    parts.append(tokenizer_text(world))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_texts_never_change_unnoticed(name: str) -> None:
    assert everything(WORLDS[name]) == GOLDEN[name]


def test_another_process_makes_the_same_texts() -> None:
    code = (
        "from trainables.data.worlds import worlds as s; w = s.World('small', concepts=60, "
        "train=40, validation=10, test=20); print(s.world_digest(w), *s.lexicon(w)['qab'])"
    )
    root = Path(__file__).resolve().parents[3]
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=os.environ | {"PYTHONHASHSEED": "123"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert out == [world_digest(SMALL), *lexicon(SMALL)["qab"]]


def test_digest_names_every_parameter() -> None:
    assert world_digest(World("small", concepts=60, train=40, validation=10, test=20)) == (
        world_digest(SMALL)
    )
    other: dict[str, Any] = {
        "name": "other",
        "families": (("qaa",), ("qab", "qac", "qad", "qae", "qaf")),
        "resources": (1.0,) * 6,
        "identical": True,
    }
    digests = {world_digest(SMALL)}
    for field in fields(World):
        now = getattr(SMALL, field.name)
        fresh = other.get(field.name, now / 2 if isinstance(now, float) else None)
        digests.add(world_digest(replace(SMALL, **{field.name: fresh if fresh else now + 1})))
    assert len(digests) == 1 + len(fields(World))


def test_sizes_and_languages() -> None:
    training, test = synthetic_training(SMALL), synthetic_benchmark(SMALL, "test")
    assert training.languages == test.languages == ("qaa", "qab", "qac", "qad", "qae", "qaf")
    assert len(training.questions) == 40 * 2
    assert len(set(training.golds)) == 40
    for language in test.languages:
        assert len(test.corpus[language]) == 20
        assert len(test.queries[language]) == 40
        assert all(len(c.text.split()) == 16 for c in test.corpus[language])
        assert all(len(q.text.split()) == 4 for q in test.queries[language])


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_parts_share_no_text_and_no_id(name: str) -> None:
    world = WORLDS[name]
    training = synthetic_training(world)
    validation = synthetic_benchmark(world, "validation")
    test = synthetic_benchmark(world, "test")
    columns = (*training.queries.values(), *training.passages.values())
    texts: list[set[str | None]] = [{text for column in columns for text in column}]
    ids: list[set[str]] = [{*training.questions, *training.golds}]
    for benchmark in (validation, test):
        queries = [query for items in benchmark.queries.values() for query in items]
        candidates = [candidate for items in benchmark.corpus.values() for candidate in items]
        texts.append({*(query.text for query in queries), *(item.text for item in candidates)})
        ids.append({x for query in queries for x in (query.question, query.cluster)})
    assert all(not one & other for one, other in combinations(texts, 2))
    assert all(not one & other for one, other in combinations(ids, 2))
    assert all(texts + [set(part) for part in ids])


def test_a_question_names_concepts_of_its_passage_and_of_no_other() -> None:
    test, words = synthetic_benchmark(STANDARD, "test"), lexicon(STANDARD)
    for language in ("qaa", "qae"):
        entry = {word: number for number, word in enumerate(words[language])}
        passages = {c.id: {entry[word] for word in c.text.split()} for c in test.corpus[language]}
        for query in test.queries[language]:
            named = {entry[word] - STANDARD.concepts for word in query.text.split()}
            assert len(named) == STANDARD.question_concepts
            found = [id for id, concepts in passages.items() if named <= concepts]
            assert found == [id for id in test.qrels[query.id] if id.startswith(language)]


def test_questions_on_a_passage_name_different_concepts() -> None:
    training = synthetic_training(SMALL)
    texts = training.queries["qaa"]
    for first, second in zip(texts[::2], texts[1::2], strict=True):
        assert first is not None
        assert second is not None
        assert not set(first.split()) & set(second.split())


def test_relevance_is_judged_in_all_languages() -> None:
    test = synthetic_benchmark(SMALL, "test")
    assert test.judged_in_all_languages
    for items in test.queries.values():
        for query in items:
            expected = {f"{language}:{query.cluster}" for language in test.languages}
            assert set(test.qrels[query.id]) == expected


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_no_question_is_answered_by_matching_strings(name: str) -> None:
    world = WORLDS[name]
    asked, told = set[str](), set[str]()
    for forms in lexicon(world).values():
        assert len(set(forms)) == len(forms) == 2 * world.concepts
        told |= set(forms[: world.concepts])
        asked |= set(forms[world.concepts :])
    assert not asked & told


def test_words_are_pronounceable() -> None:
    word = re.compile(r"([bdfghjklmnprstvz][aeiou][lmnrst]?){2,3}")
    assert all(word.fullmatch(form) for forms in lexicon(STANDARD).values() for form in forms)


def shared_words(world: World, one: str, other: str) -> float:
    words = lexicon(world)
    return float(np.mean([a == b for a, b in zip(words[one], words[other], strict=True)]))


def test_cognates_follow_families() -> None:
    kept = (1 - STANDARD.altered) ** 2
    for one, other in combinations(STANDARD.languages, 2):
        related = any({one, other} <= set(family) for family in STANDARD.families)
        expected = kept * (STANDARD.international + related * STANDARD.cognates)
        assert shared_words(STANDARD, one, other) == pytest.approx(expected, abs=0.1)


def test_unrelated_languages_share_no_word() -> None:
    words = lexicon(WORLDS["unrelated"])
    assert sum(map(len, words.values())) == len({w for forms in words.values() for w in forms})


def test_null_world_is_one_language_under_many_names() -> None:
    world = WORLDS["null"]
    training, test = synthetic_training(world), synthetic_benchmark(world, "test")
    for language in world.languages:
        assert training.queries[language] == training.queries["qaa"]
        assert training.passages[language] == training.passages["qaa"]
        assert [c.text for c in test.corpus[language]] == [c.text for c in test.corpus["qaa"]]
        assert [q.text for q in test.queries[language]] == [q.text for q in test.queries["qaa"]]


def test_low_resource_languages_have_less_text_and_none_that_is_held_out() -> None:
    training, texts = synthetic_training(STANDARD), tokenizer_text(STANDARD)
    for language, share in zip(STANDARD.languages, STANDARD.resources, strict=True):
        known = {*training.queries[language], *training.passages[language]}
        assert set(texts[language]) <= known
        assert len(texts[language]) == pytest.approx(share * 3 * STANDARD.train)


def test_a_part_does_not_move_with_the_size_of_another() -> None:
    larger = replace(SMALL, train=80)
    assert synthetic_benchmark(larger, "test") == synthetic_benchmark(SMALL, "test")
    assert synthetic_benchmark(larger, "validation") == synthetic_benchmark(SMALL, "validation")
    assert synthetic_training(replace(SMALL, test=40)) == synthetic_training(SMALL)


def test_worlds_whose_passages_are_all_alike_are_refused() -> None:
    with pytest.raises(UserError, match=r"20 of 20 test passages .* use more concepts"):
        synthetic_benchmark(replace(SMALL, concepts=16), "test")


def test_seeds_make_other_worlds() -> None:
    other = replace(SMALL, seed=SMALL.seed + 1)
    assert set(lexicon(other)["qaa"]) != set(lexicon(SMALL)["qaa"])
    assert synthetic_benchmark(other, "test") != synthetic_benchmark(SMALL, "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": (("qaa", "qab"), ("qab",))}, "repeats a language"),
        ({"resources": (1.0,)}, "one share"),
        ({"resources": (1.0, 1.0, 1.0, 1.0, 1.0, 0.0)}, "one share"),
        ({"international": 0.8}, "between 0 and 1"),
        ({"cognates": -0.1}, "between 0 and 1"),
        ({"questions_per_passage": 5}, "different concepts"),
        ({"concepts": 10}, "different concepts"),
    ],
)
def test_impossible_worlds_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"world small: .*{message}"):
        replace(SMALL, **changes)
