"""BCP 47 tags for sources' names of languages: English names, ISO 639, FLORES-200."""

from __future__ import annotations

import re
from functools import cache

import iso639
import langcodes

from trainables.errors import UserError

NAMES = {
    "ar": "arabic", "bn": "bengali", "de": "german", "en": "english", "es": "spanish",
    "fi": "finnish", "fr": "french", "hi": "hindi", "id": "indonesian", "it": "italian",
    "ja": "japanese", "ko": "korean", "nl": "dutch", "pt": "portuguese", "ru": "russian",
    "sw": "swahili", "te": "telugu", "th": "thai", "vi": "vietnamese", "zh": "chinese",
}  # fmt: skip
"""BCP 47 code to the English name that sources use in file names."""

_CODES = {name: code for code, name in NAMES.items()}

_STANDARD_VARIETIES = {
    "als": "sq", "arb": "ar", "azj": "az", "cmn": "zh", "gaz": "om", "khk": "mn", "lvs": "lv",
    "npi": "ne", "ory": "or", "pbt": "ps", "pes": "fa", "plt": "mg", "swh": "sw", "uzn": "uz",
    "zsm": "ms",
}  # fmt: skip
"""Members of a macrolanguage that its name commonly means, from CLDR; `pbt` is for FLORES's Pashto.
No other member is merged: `arz` stays distinct from `ar`, and `nn` from `nb`."""

_WRITTEN_TWICE = frozenset({"ace", "bjn", "knc", "ks", "min", "sr", "taq", "zh"})
"""Languages that FLORES has in two scripts, neither of which may be omitted."""

_LONGEST = 35
"""Most characters of a tag: BCP 47 (section 4.4.1) recommends buffers of this size."""


class NotALanguageError(UserError):
    """A name or code is not a language; readers of rows turn it into a `BadRowError`."""


@cache
def bcp47(code: str) -> str:
    """Convert a source's name of a language to its BCP 47 tag.

    A script is kept as written (`sr-Cyrl`), unless the language's IANA registry entry suppresses
    it (`hi-Deva`). FLORES and MTEB add a script to every three-letter code (`hau_Latn`), so for
    these the usual script is dropped too, except for languages that FLORES has in two scripts.

    Args:
        code: A name (`swahili`), any ISO 639 code (`swa`), a FLORES-200 code (`hin_Latn`), a
            locale (`zh_cn`), or a BCP 47 tag.

    Returns:
        A tag with a two-letter code if ISO 639 has one: `sw`, `ceb`, `zh-Hant`, `hi-Latn`,
        `pt-BR`.

    Raises:
        NotALanguageError: It names no language, or several, or an undetermined one (`und`, `mul`).
    """
    text = code.strip(" ").lower()
    if text in _CODES:
        return _CODES[text]
    tag = _parsed(text) if code.isascii() else None
    if tag is None:
        raise NotALanguageError(
            f"{code[:40]!r} is not a language: use a BCP 47 tag such as sw, ceb or zh-Hant"
        )
    language = str(tag.language)
    always_written = len(re.split("[-_]", text)[0]) == 3 and language not in _WRITTEN_TWICE
    if always_written and tag.script == _usual_script(language):
        tag = tag.update_dict({"script": None})
    return str(tag.simplify_script())


def is_language(code: object) -> bool:
    """Tell whether `bcp47` accepts it."""
    try:
        return isinstance(code, str) and bool(bcp47(code))
    except NotALanguageError:
        return False


def base_language(code: str) -> str:
    """Return a BCP 47 tag's language without script and region: `zh` for `zh-Hans` and `zh-HK`.

    A language in Latin script instead of its usual one (`hi-Latn`) stays distinct: readers of one
    may not read the other. Anything that is not a tag, such as `image`, is returned as it is.
    """
    try:
        tag = langcodes.get(code, normalize=False)
    except ValueError:
        return code
    language = str(tag.language)
    romanised = tag.script == "Latn" and _usual_script(language) != "Latn"
    return code if romanised else language


def _parsed(text: str) -> langcodes.Language | None:
    """Return a tag with the shortest ISO 639 code of its language; None if it has no language."""
    head, *rest = text.replace("_", "-").split("-")
    iso = _iso(head)
    if len(text) > _LONGEST or "x" in (head, *rest) or (iso and iso.scope == "S"):
        return None
    known = iso and (iso.part1 or iso.part3)
    try:
        # Codes in use are not normalized: CLDR's aliases merge some languages, as `tl` and `fil`.
        in_use = iso is not None and iso.status == "A"
        tag = langcodes.get("-".join([known or head, *rest]), normalize=not in_use)
    except ValueError:
        return None
    # The library's list of languages is older than ISO's, so only the rest of the tag is checked.
    checked = tag.update_dict({"language": "en"}) if known else tag
    if tag.language in (None, "und") or tag.extlangs or not checked.is_valid():
        return None
    return tag.update_dict({"language": _STANDARD_VARIETIES.get(tag.language, tag.language)})


def _iso(code: str) -> iso639.Language | None:
    """Look up a code of ISO 639-1, -2 (either kind) or -3, in use or retired."""
    try:
        language = iso639.Language.match(code)
    except iso639.LanguageNotFoundError:
        return None
    codes = (language.part1, language.part2b, language.part2t, language.part3)
    return language if code in codes else None


def _usual_script(language: str) -> str | None:
    """Return the script that CLDR assumes for a language; Korean's as FLORES names it."""
    iso = _iso(language)
    if iso and iso.macrolanguage == "ara":
        language = "ar"  # CLDR lists few of its members
    script = langcodes.Language.make(language=language).maximize().script
    return "Hang" if script == "Kore" else script
