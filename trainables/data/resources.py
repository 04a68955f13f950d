"""How much text and research a language has: Joshi's classes, and what XLM-R has read of it.

Both are tables of other people's counts. A language that neither names is none of theirs, and is
put in no group rather than guessed into one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from trainables.data.languages import base_language, bcp47
from trainables.data.worlds import WORLDS

LOW_CLASSES = frozenset({0, 1, 2})
"""Joshi's classes that count as low-resource here; 3 to 5 count as high."""

LITTLE_GIB = 1.0
"""GiB of pre-training text below which a language counts as little read."""

LOW_SHARE = 0.5
"""Share of an embedded world's text below which its languages count as low-resource."""

_CLASSES = {
    1: """asm aym azb aze bak bam bod bre chv ckb crh cym dzo epo ewe fao fij ful gla glv grn gsw
    guj haw hye ibo ilo jav kab kan khm kin kir kmr kom kon lij lim lin ltz lug mai mkd mlg mon mri
    mya nep nob nno nso nya oci ori orm oss pap pus que roh run sag sah scn sin smo sna snd som sot
    sqi
    srd ssw sun tat tel tet tgk ton tpi tso tuk tum twi uig ven vec war yid yue mal""",
    2: """amh gle hat hau isl kok lao mar mlt pan pnb san swa tir tsn wol xho yor zul""",
    3: """afr arz bel ben bos bul ceb dan ell est glg heb ind kat kaz lat lav lit msa ron slk slv
    tam tgl tha ukr urd uzn""",
    4: """cat ces eus fin hin hrv hun ita kor nld pes pol por rus srp swe tur vie""",
    5: """ara cmn deu eng fra jpn spa""",
}
"""Joshi et al. 2020 (https://arxiv.org/abs/2004.09095), their published list of languages, read
from the copy with ISO 639-3 codes of the repository MaLA-LM/LangResourceAtlas. Of class 0, which
has 2,191 languages, none is here."""

_CC100 = """
en 300.8 vi 137.3 ru 278 id 148.3 fa 111.6 sv 85 ro 61.4 de 66.6 fr 56.8 es 53.3 no 49 pt 49.1
da 45.6 hu 58.4 uk 84.6 fi 54.3 pl 44.6 ko 54.2 bg 57.5 nl 29.3 it 30.2 el 46.9 sk 23.2 he 31.6
hr 20.5 ar 28 tr 20.9 cs 16.3 lt 13.7 th 71.7 ca 10.1 hi 20.2 sl 10.3 ms 8.5 lv 8.8 sq 5.4 et 6.1
sr 9.1 az 6.5 ur 5.7 ta 12.2 tl 3.1 ja 69.3 bn 8.4 is 3.2 gl 2.9 kk 6.4 ka 9.1 mk 4.8 hy 5.5 la 2.5
be 4.3 ml 7.6 sw 1.6 eu 2 zh 46.9 te 4.7 mn 3 si 3.6 af 1.3 ne 3.8 zh-Hant 16.6 mr 2.8 kn 3.3 eo 0.9
cy 0.8 gu 1.9 ps 0.7 ky 1.2 uz 0.7 hi-Latn 0.5 ga 0.5 ur-Latn 0.5 bn-Latn 0.5 am 0.8 pa 0.8 ku 0.4
so 0.4 ha 0.3 my 1.6 sd 0.4 te-Latn 0.3 km 1.5 or 0.6 ta-Latn 0.3 yi 0.3 fy 0.2 ug 0.4 mg 0.2 jv 0.2
gd 0.1 lo 0.6 sa 0.3 br 0.1 bs 0.1 xh 0.1 su 0.1 om 0.1 as 0.1
"""
"""GiB of text: Conneau et al. 2020 (https://arxiv.org/abs/1911.02116), table 6; `no` is `nb` here,
and Burmese in its Unicode encoding only."""

Level = Literal["low", "high"]


def _classes() -> dict[str, int]:
    return {bcp47(code): number for number, codes in _CLASSES.items() for code in codes.split()}


def _sizes() -> dict[str, float]:
    words = _CC100.split()
    sizes = {code: float(size) for code, size in zip(words[::2], words[1::2], strict=True)}
    return sizes | {"nb": sizes.pop("no")}


JOSHI = _classes()
"""BCP-47 code to class, 1 to 5."""

CC100 = _sizes()
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
