from __future__ import annotations

from pathlib import Path

import iso639
import pytest

from trainables.data.catalog import source
from trainables.data.formats.reading import one_each, shards_each
from trainables.data.languages import (
    NAMES,
    NotALanguageError,
    base_language,
    bcp47,
    is_language,
)
from trainables.errors import DataError

TAGS = {
    "names": {"swahili": "sw", "Chinese": "zh", "german": "de"},
    "ISO 639-1": {"sw": "sw", "EN": "en", "iw": "he", "tl": "tl", "no": "no", "cy": "cy"},
    "ISO 639-2, both kinds": {"fre": "fr", "fra": "fr", "ger": "de", "deu": "de", "alb": "sq"},
    "ISO 639-3": {"swa": "sw", "ceb": "ceb", "twi": "tw", "bel": "be", "isv": "isv"},
    "collections and private use": {"ber": "ber", "nah": "nah", "qaa": "qaa"},
    "retired": {"eml": "eml", "mol": "ro", "scr": "hr", "in": "id"},
    "members that a macrolanguage is named after": {
        "arb": "ar", "swh": "sw", "cmn": "zh", "pes": "fa", "npi": "ne", "ory": "or", "lvs": "lv",
    },
    "members that it is not": {
        "arz": "arz", "apc": "apc", "nno": "nn", "nob": "nb", "yue": "yue", "prs": "prs",
        "azb": "azb", "pnb": "pnb", "kmr": "kmr", "quz": "quz", "swc": "swc", "fil": "fil",
    },
    "FLORES": {
        "swh_Latn": "sw", "hin_Deva": "hi", "hin_Latn": "hi-Latn", "npi_Latn": "ne-Latn",
        "arb_Arab": "ar", "arb_Latn": "ar-Latn", "apc_Arab": "apc", "kor_Hang": "ko",
        "zho_Hans": "zh-Hans", "zho_Hant": "zh-Hant", "hau_Latn": "ha", "ckb_Arab": "ckb",
    },
    "FLORES, in two scripts": {
        "kas_Arab": "ks-Arab", "kas_Deva": "ks-Deva", "min_Arab": "min-Arab",
        "min_Latn": "min-Latn", "bjn_Arab": "bjn-Arab", "bjn_Latn": "bjn-Latn",
        "ace_Arab": "ace-Arab", "ace_Latn": "ace-Latn", "knc_Arab": "knc-Arab",
        "knc_Latn": "knc-Latn", "taq_Latn": "taq-Latn", "taq_Tfng": "taq-Tfng",
        "srp_Cyrl": "sr-Cyrl", "srp_Latn": "sr-Latn",
    },
    "MTEB": {"eng-Latn": "en", "cmn-Hans": "zh-Hans", "ben-Beng": "bn"},
    "locales": {"zh_CN": "zh-CN", "zh-cn": "zh-CN", "pt_br": "pt-BR", "es-419": "es-419"},
    "tags in full": {
        "zh-Hans-CN": "zh-Hans-CN", "sr-latn-rs": "sr-Latn-RS", "sr-Cyrl": "sr-Cyrl",
        "uz-Latn": "uz-Latn", "uz-Cyrl": "uz-Cyrl", "en-Latn-US": "en-US", "de-1996": "de-1996",
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", TAGS)
def test_every_way_of_naming_a_language_has_one_tag(kind: str) -> None:
    for code, tag in TAGS[kind].items():
        assert bcp47(code) == tag
        assert bcp47(tag) == tag


@pytest.mark.parametrize(
    "code",
    [
        "unknown", "und", "und-Latn", "mul", "mis", "zxx", "root", "image", "xx", "x-foo",
        "en-x-foo", "../../x", "en-<script>", "en-Xxxx", "en-Latnx", "en--us", "-en", "de,en",
        "", " ", "a" * 300, "en-" + "abcde-" * 50 + "abcde", "en\n", "en\x00", "en\x1b[2J",
        "日本語", "\u212ao", "en_US.UTF-8", "12", "C",
    ],
)  # fmt: skip
def test_what_names_no_language_is_refused(code: str) -> None:
    with pytest.raises(NotALanguageError):
        bcp47(code)
    assert not is_language(code)


def test_no_two_languages_of_iso_639_3_have_one_tag_but_standard_varieties() -> None:
    merged: dict[str, set[str]] = {}
    for language in iso639.ALL_LANGUAGES:
        codes = {language.part1, language.part2b, language.part2t, language.part3} - {None}
        if language.scope != "S" and language.status == "A":
            tags = {bcp47(str(code)) for code in codes}
            assert len(tags) == 1
            merged.setdefault(tags.pop(), set()).add(language.part3)
    several = {tag: codes for tag, codes in merged.items() if len(codes) > 1}
    assert several == {
        "ar": {"ara", "arb"}, "az": {"aze", "azj"}, "fa": {"fas", "pes"}, "lv": {"lav", "lvs"},
        "mg": {"mlg", "plt"}, "mn": {"khk", "mon"}, "ms": {"msa", "zsm"}, "ne": {"nep", "npi"},
        "om": {"gaz", "orm"}, "or": {"ori", "ory"}, "ps": {"pbt", "pus"}, "sq": {"als", "sqi"},
        "sw": {"swa", "swh"}, "uz": {"uzb", "uzn"}, "zh": {"cmn", "zho"},
    }  # fmt: skip


def test_belebele_has_a_tag_for_each_of_its_variants() -> None:
    tags = [bcp47(code) for code in source("belebele").codes.values()]
    assert len(set(tags)) == 122
    assert [tag for tag in tags if "-" in tag] == [
        "ar-Latn", "bn-Latn", "hi-Latn", "ne-Latn", "si-Latn", "sr-Cyrl", "ur-Latn", "zh-Hans",
        "zh-Hant",
    ]  # fmt: skip
    assert {bcp47(name) for name in NAMES.values()} == NAMES.keys()


def test_the_language_of_a_tag() -> None:
    bases = {
        "image": "image",
        "zh-Hant": "zh",
        "pt-BR": "pt",
        "sr-Cyrl": "sr",
        "arz": "arz",
        "en": "en",
    }
    romanised = {tag: tag for tag in ("hi-Latn", "sr-Latn", "ar-Latn")}
    for tag, base in (bases | romanised).items():
        assert base_language(tag) == base


def test_of_two_files_of_one_language_none_is_chosen(tmp_path: Path) -> None:
    matches = [(tmp_path / name, {"language": name}) for name in ("en", "swahili", "swa")]
    for look in (one_each, shards_each):
        with pytest.raises(DataError) as error:
            look(matches, "some")
        assert (error.value.file, error.value.key) == (str(tmp_path / "swa"), "language")
        assert str(tmp_path / "swahili") in str(error.value)
    twice = [(tmp_path / name, {"language": "sw"}) for name in ("1", "2")]
    assert shards_each(twice, "some") == {"sw": [tmp_path / "1", tmp_path / "2"]}
    with pytest.raises(DataError):
        one_each(twice, "some")
    (tmp_path / "1").write_text("")
    (tmp_path / "2").symlink_to(tmp_path / "1")
    assert one_each(twice, "some") == {"sw": tmp_path / "1"}
    with pytest.raises(DataError) as error:
        one_each([(tmp_path / "unknown.json", {"language": "unknown"})], "some")
    assert (error.value.file, error.value.key) == (str(tmp_path / "unknown.json"), "language")
