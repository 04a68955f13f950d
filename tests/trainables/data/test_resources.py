from __future__ import annotations

from trainables.data.catalog import source
from trainables.data.languages import bcp47
from trainables.data.resources import (
    CC100,
    JOSHI,
    by_level,
    by_pretraining,
    joshi_class,
    level,
    read_by_xlm_r,
)


def test_classes_and_sizes_are_the_published_ones() -> None:
    published = {"en": 5, "zh": 5, "hi": 4, "vi": 4, "el": 3, "th": 3, "bn": 3, "sw": 2, "yo": 2,
                 "am": 2, "te": 1, "km": 1, "my": 1}  # fmt: skip
    assert {language: joshi_class(language) for language in published} == published
    assert (read_by_xlm_r("en"), read_by_xlm_r("sw"), read_by_xlm_r("yo")) == (300.8, 1.6, 0.0)
    assert set(JOSHI.values()) == {1, 2, 3, 4, 5}
    assert len(CC100) == len({*CC100})


def test_low_and_high_are_apart_and_the_unlisted_in_neither() -> None:
    languages = [bcp47(code) for code in source("belebele").codes.values()]
    found = by_level(languages)
    assert (len(found["low"]), len(found["high"])) == (57, 50)
    assert not set(found["low"]) & set(found["high"])
    unlisted = set(languages) - {*found["low"], *found["high"]}
    assert {"hi-Latn", "ary", "luo"} < unlisted
    assert joshi_class("zh-Hant") == joshi_class("zh-CN") == 5


def test_norwegian_and_filipino_are_listed_under_other_codes() -> None:
    assert read_by_xlm_r("no") == read_by_xlm_r("nb") == 49
    assert read_by_xlm_r("fil") == read_by_xlm_r("tl") == 3.1
    assert joshi_class("no") == joshi_class("nb") == 1
    assert joshi_class("fil") == joshi_class("tl") == 3
    found = by_pretraining(["no", "fil", "zh-Hant", "yo"])
    assert found["xlm-r-read-little"] == ("yo",)
    assert (read_by_xlm_r("zh-CN"), read_by_xlm_r("zh-Hant")) == (46.9, 16.6)


def test_languages_of_the_embedded_world_follow_their_share_of_text() -> None:
    assert by_level(["qaa", "qab", "qac", "qad"]) == {"low": ("qab", "qac"), "high": ("qaa", "qad")}
    assert level("qaf") == "low"


def test_what_xlm_r_has_read_is_another_division() -> None:
    found = by_pretraining(["qaa", "en", "sw", "yo", "eu", "ha"])
    assert found == {"xlm-r-read-little": ("yo", "ha"), "xlm-r-read-much": ("en", "sw", "eu")}
    assert by_level(["eu", "sw"]) == {"low": ("sw",), "high": ("eu",)}
