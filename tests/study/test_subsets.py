from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.planning.build import make_plan
from study.spaces.resolve import nested
from study.spaces.schema import load_space
from study.spaces.settings import build_settings
from trainables.errors import UserError

LANGUAGES = ("ar", "de", "en", "es", "fr", "hi")


def subset(count: int | None, **more: object) -> tuple[str, ...]:
    return nested(build_settings({"language_count": count, **more}, "test"), LANGUAGES)


@given(seed=st.integers(0, 50))
def test_more_languages_contain_fewer_and_all_hold_the_anchors(seed: int) -> None:
    options = {"subset_seed": seed, "anchor_languages": ["en"], "unseen_languages": ["hi"]}
    found = [subset(count, **options) for count in range(1, 6)]
    assert [len(languages) for languages in found] == [1, 2, 3, 4, 5]
    assert all(set(few) < set(more) for few, more in pairwise(found))
    assert found[0] == ("en",)
    assert not any("hi" in languages for languages in found)


def test_seeds_draw_different_orders() -> None:
    assert len({subset(2, subset_seed=seed) for seed in range(20)}) > 3


def test_without_a_count_all_languages_but_the_unseen_are_trained_on() -> None:
    assert subset(None) == LANGUAGES
    assert subset(None, unseen_languages=["hi", "ar"]) == ("de", "en", "es", "fr")


@pytest.mark.parametrize(
    ("count", "options", "words"),
    [
        (7, {}, "from 1 to 6"),
        (1, {"anchor_languages": ["en", "de"]}, "from 2 to 6"),
        (2, {"anchor_languages": ["sw"]}, "anchor_languages sw: the training data have ar"),
        (2, {"anchor_languages": ["en"], "unseen_languages": ["en"]}, "both name en"),
    ],
)
def test_mistakes_say_what_is_allowed(count: int, options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        subset(count, **options)


def test_one_language_is_the_monolingual_reference_and_volumes_are_what_they_say() -> None:
    plan, _ = make_plan(load_space("language_count"), "language_count", "demo", {}, seeds=1)
    specs = {
        (cell.params["language_count"], cell.params["volume"]): plan.specs[cell.trials[0].digest]
        for cell in plan.cells
        if cell.params.get("steps") != 0
    }
    assert {spec.sampling for (count, _), spec in specs.items() if count == 1} == {"X-X"}
    assert {spec.sampling for (count, _), spec in specs.items() if count > 1} == {"hybrid"}
    for (count, volume), spec in specs.items():
        assert spec.languages is not None
        assert len(spec.languages) == count
        assert spec.max_rows == (3000 if volume == "equal_per_language" else 3000 // count)


def rows_of(volume: str, languages: list[str]) -> int | None:
    """Rows that a trial keeps of 24 examples."""
    settings = {"volume": volume, "max_examples": 24, "languages": languages, "batch_size": 8}
    plan, _ = make_plan(load_space("mixing_ratio"), "mixing_ratio", "demo", settings, seeds=1)
    return next(spec.max_rows for spec in plan.specs.values() if spec.steps)


def test_volume_counts_rows_of_each_language_or_of_all_together() -> None:
    kept = {
        (volume, len(languages)): rows_of(volume, languages)
        for volume in ("equal_per_language", "equal_total")
        for languages in (["qaa", "qad"], ["qaa", "qab", "qad"])
    }
    assert kept == {
        ("equal_per_language", 2): 24,
        ("equal_per_language", 3): 24,
        ("equal_total", 2): 12,
        ("equal_total", 3): 8,
    }
