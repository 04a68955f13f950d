"""Resource levels of languages: Joshi's classes, and the amount of text in XLM-R's pretraining.

Both are published counts (`resources.yaml`). A language that neither lists is put in no group
rather than guessed into one.
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
"""GiB of pretraining text below which a language counts as little read."""

LOW_SHARE = 0.5
"""Share of an embedded world's text below which its languages count as low-resource."""

Level = Literal["low", "high"]


_TABLES = metadata("resources.yaml")

JOSHI: dict[str, int] = {
    bcp47(code): number for number, codes in _TABLES["joshi"].items() for code in codes
}
"""BCP-47 code to class, 1 to 5."""

CC100: dict[str, float] = {"nb" if la == "no" else la: gib for la, gib in _TABLES["cc100"].items()}
"""BCP-47 code to GiB of text in XLM-R's pretraining (CC-100); it has no other languages."""


def _listed(language: str) -> str:
    """Return the tables' code of a language; traditional Chinese and Latin script stay distinct.

    CC-100's Norwegian is `nb` here, and Filipino is the standard variety of Tagalog.
    """
    base = base_language(language)
    return language if language.endswith("-Hant") else {"no": "nb", "fil": "tl"}.get(base, base)


def joshi_class(language: str) -> int | None:
    """Return Joshi's class of a BCP-47 code; None if it is not listed."""
    return JOSHI.get("zh" if language == "zh-Hant" else _listed(language))


def read_by_xlm_r(language: str) -> float:
    """Return the GiB of text of a language in XLM-R's pretraining."""
    return CC100.get(_listed(language), 0.0)


def level(language: str) -> Level | None:
    """Tell whether a language is low- or high-resource; None if unknown.

    Human languages are classified by Joshi's class, those of embedded worlds by share of text.
    """
    if (share := _shares().get(language)) is not None:
        return "low" if share < LOW_SHARE else "high"
    number = joshi_class(language)
    if number is None:
        return None
    return "low" if number in LOW_CLASSES else "high"


def _shares() -> dict[str, float]:
    """Return the shares of the standard world's languages, whose codes all worlds use."""
    world = WORLDS["standard"]
    return dict(zip(world.languages, world.resources, strict=True))


def by_pretraining(languages: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Group human languages by whether XLM-R has read less than `LITTLE_GIB` of them.

    Joshi's classes count research; this counts what an encoder of that family has seen.
    """
    human = [language for language in languages if language not in _shares()]
    little = tuple(x for x in human if read_by_xlm_r(x) < LITTLE_GIB)
    return {
        "xlm-r-read-little": little,
        "xlm-r-read-much": tuple(x for x in human if x not in little),
    }


def by_level(languages: Iterable[str]) -> dict[Level, tuple[str, ...]]:
    """Group languages into low- and high-resource ones, leaving out those of unknown level."""
    languages = list(languages)
    levels: tuple[Level, ...] = ("low", "high")
    return {group: tuple(x for x in languages if level(x) == group) for group in levels}
