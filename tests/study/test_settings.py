"""A setting is declared once; everything that lists settings is derived."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.cli.app import main
from study.cli.keys import keys, markdown_tables
from study.spaces.settings import Settings, build_settings
from trainables.errors import UserError
from trainables.spec import Effect, Spec, TrainingSettings
from trainables.spec.settings import effects

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_no_setting_is_declared_twice() -> None:
    for model in (Spec, Settings):
        assert not TrainingSettings.__annotations__.keys() & model.__annotations__.keys()
        assert TrainingSettings.model_fields.keys() <= model.model_fields.keys()


def test_every_setting_has_a_meaning_a_stage_and_values() -> None:
    rows = {row.name: row for row in keys()}
    assert rows.keys() == Settings.model_fields.keys() == effects(Settings).keys()
    assert all(row.description and row.values for row in rows.values())
    assert rows["hard_negatives"].default == "1"
    assert {"hard", "both"} <= set(rows["hard_negatives"].effect.replace(",", "").split())
    assert "3" in rows["max_query_tokens"].values.split()
    assert {"0", "4"} <= set(rows["pair_law"].values.split())


def test_the_conditions_of_an_effect_name_settings_and_their_values() -> None:
    for effect in effects(Settings).values():
        for condition in effect.only_with:
            assert condition.keys() <= Settings.model_fields.keys()
            for key, values in condition.items():
                for value in values if isinstance(values, tuple) else ():
                    build_settings({key: value}, "test")


def test_the_document_lists_what_the_settings_declare() -> None:
    assert DOCUMENT.read_text(encoding="utf-8").splitlines()[5:] == list(markdown_tables(keys()))


def test_the_command_shows_one_key_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys"]) == 0
    shown = capsys.readouterr().out
    assert all(row.name in shown for row in keys())
    assert main(["keys", "temperature"]) == 0
    assert "0.05" in capsys.readouterr().out
    assert main(["keys", "temperatur"]) == 2
    assert "temperature" in capsys.readouterr().err


def test_only_what_can_be_off_may_be_null() -> None:
    for key, field in TrainingSettings.model_fields.items():
        if field.default is None or effects(Settings)[key].can_be_off:
            assert getattr(build_settings({key: None}, "test"), key) is None
        else:
            with pytest.raises(UserError, match=key):
                build_settings({key: None}, "test")


def test_an_effect_needs_all_of_one_condition() -> None:
    effect = Effect(only_with=({"a": (1, 2), "b": (3,)}, {"c": "any"}))
    assert effect.applies({"a": 2, "b": 3})
    assert not effect.applies({"a": 2, "c": None})
    assert effect.applies({"c": 0})
    assert Effect().applies({})


def test_languages_of_settings_are_tags() -> None:
    settings = Settings.model_validate(
        {
            "eval_languages": "EN,swahili",
            "languages": ["zh_cn", "zh-CN"],
            "unseen_languages": ["srp_Latn"],
        }
    )
    assert settings.eval_languages == ("en", "sw")
    assert settings.languages == ("zh-CN",)
    assert settings.unseen_languages == ("sr-Latn",)
