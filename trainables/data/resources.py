"""How much text and research a language has: Joshi's classes, and what XLM-R has read of it.

Both are other people's counts (`resources.yaml`). A language that neither names is none of
theirs, and is put in no group rather than guessed into one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from trainables.data.formats.reading import metadata
from trainables.data.languages import base_language, bcp47
from trainables.data.worlds.worlds import WORLDS

LOW_CLASSES = frozenset({0, 1, 2})
"""Joshi's classes that count as low-resource here; 3 to 5 count as high."""

LITTLE_GIB = 1.0
"""GiB of pre-training text below which a language counts as little read."""

LOW_SHARE = 0.5
"""Share of an embedded world's text below which its languages count as low-resource."""

Level = Literal["low", "high"]


_TABLES = metadata("resources.yaml")

JOSHI: dict[str, int] = {
    bcp47(code): number for number, codes in _TABLES["joshi"].items() for code in codes
}
"""BCP-47 code to class, 1 to 5."""

CC100: dict[str, float] = {"nb" if la == "no" else la: gib for la, gib in _TABLES["cc100"].items()}
"""BCP-47 code to GiB of text that XLM-R was trained on; a language that is not here, it has not."""


def _listed(language: str) -> str:
    """As the tables call it: traditional Chinese and Latin script are cases of their own.

    CC-100's Norwegian is `nb` here, and Filipino is the standard variety of Tagalog.
    """
    base = base_language(language)
    return language if language.endswith("-Hant") else {"no": "nb", "fil": "tl"}.get(base, base)


def joshi_class(language: str) -> int | None:
    """Joshi's class of a BCP-47 code; None where the table here has none."""
    return JOSHI.get("zh" if language == "zh-Hant" else _listed(language))


def read_by_xlm_r(language: str) -> float:
    """GiB of text of this language in XLM-R's pre-training."""
    return CC100.get(_listed(language), 0.0)


def level(language: str) -> Level | None:
    """Whether a language is low- or high-resource; None where nobody here says.

    Human languages by Joshi's class, those of embedded worlds by their share of text.
    """
    if (share := _shares().get(language)) is not None:
        return "low" if share < LOW_SHARE else "high"
    number = joshi_class(language)
    if number is None:
        return None
    return "low" if number in LOW_CLASSES else "high"


def _shares() -> dict[str, float]:
    """Of the languages of the standard world, whose codes all worlds share."""
    world = WORLDS["standard"]
    return dict(zip(world.languages, world.resources, strict=True))


def by_pretraining(languages: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Human languages of which XLM-R has read less than `LITTLE_GIB`, and the others.

    Joshi's classes count research; this counts what an encoder of that family has seen.
    """
    human = [language for language in languages if language not in _shares()]
    little = tuple(x for x in human if read_by_xlm_r(x) < LITTLE_GIB)
    return {
        "xlm-r-read-little": little,
        "xlm-r-read-much": tuple(x for x in human if x not in little),
    }


def by_level(languages: Iterable[str]) -> dict[Level, tuple[str, ...]]:
    """The low- and the high-resource ones among languages; those of no known level in neither."""
    languages = list(languages)
    levels: tuple[Level, ...] = ("low", "high")
    return {each: tuple(x for x in languages if level(x) == each) for each in levels}
