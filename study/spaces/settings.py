"""All settings that a space, a cell or `--set` may give a trial; one field for each key."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from trainables.data.languages import bcp47, is_language
from trainables.errors import UserError
from trainables.spec import (
    CandidateText,
    Effect,
    EncoderRef,
    Pooling,
    TokenLimit,
    TrainingSettings,
    format_validation_error,
)
from trainables.spec.settings import effects

TEXTS = ("query_prefix", "passage_prefix")
"""Free-text settings: `--set` takes them verbatim, including blanks and the word `none`."""

LANGUAGES = ("languages", "eval_languages", "anchor_languages", "unseen_languages")
"""Settings whose values are BCP-47 codes."""

LISTS = (*LANGUAGES, "also")
"""Settings with several values, which `--set` takes separated by commas."""

_DATA, _EVALUATION, _COMPARISON = Effect("data"), Effect("evaluation"), Effect("comparison")


def _of_encoder(key: str) -> Any:
    """Return the field of a setting that overrides the default of the encoder's family."""
    description = EncoderRef.model_fields[key].description
    return Field(None, description=f"{description} By default as the encoder's family has it.")


class Settings(TrainingSettings):
    """Settings of training, and those of data and comparisons that only a space has."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    benchmark: Annotated[str, _EVALUATION] = Field(
        "synthetic",
        description="Benchmark evaluated, as `name` or `name:part`; `data list` shows the names.",
    )
    validation: Annotated[str | None, _DATA] = Field(
        "own",
        description="Benchmark that selection may read, as `name` or `name:part`; `own` for the "
        "benchmark's own validation part, if it has one; null for none.",
    )
    also: Annotated[tuple[str, ...] | None, _EVALUATION] = Field(
        None,
        description="Further benchmarks for the same encoders, as `name` or `name:part`; their "
        "metrics are named `tydiqa:map/mono`.",
    )
    train: Annotated[str, _DATA] = Field(
        "own",
        description="Training data as `name` or `name:part`; `own` for the benchmark's own "
        "training part. Questions that it shares with the benchmark are left out of the "
        "evaluation, of every cell; shared pictures are counted and stay.",
    )
    encoder: Annotated[str, _EVALUATION] = Field(
        "embedded/small", description="`embedded/<size>`, a checkpoint folder or a hub id."
    )
    language_count: Annotated[int | None, _COMPARISON] = Field(
        None,
        ge=1,
        description="Train on so many of `languages`: `anchor_languages` first, then others in an "
        "order drawn by `subset_seed`, so that a larger number contains the smaller ones.",
    )
    subset_seed: Annotated[int, _COMPARISON] = Field(
        0, ge=0, description="Draws that order; the same for all counts and seeds."
    )
    anchor_languages: Annotated[tuple[str, ...] | None, _COMPARISON] = Field(
        None, description="Languages trained on at every count."
    )
    unseen_languages: Annotated[tuple[str, ...] | None, _COMPARISON] = Field(
        None, description="Languages never trained on."
    )
    eval_languages: Annotated[tuple[str, ...] | None, _EVALUATION] = Field(
        None, description="Languages evaluated; all that the benchmark has by default."
    )
    candidate_text: Annotated[CandidateText | None, _EVALUATION] = Field(
        None, description="Text of a candidate, where the source leaves it open."
    )
    skip_malformed: Annotated[bool | None, _DATA] = Field(
        None, description="Leave malformed rows of the sources' files out, and count them."
    )
    convert_offsets: Annotated[bool | None, _DATA] = Field(
        None,
        description="Convert answer offsets that count bytes or UTF-16 units, and count them; the "
        "results are then not comparable with published numbers.",
    )
    control: Annotated[Literal["equal_steps", "equal_examples"], _COMPARISON] = Field(
        "equal_steps",
        description="Held fixed when batch sizes are compared. `equal_steps` takes `steps` as it "
        "is; `equal_examples` divides steps times reference_batch_size by the batch size.",
    )
    reference_batch_size: Annotated[int, _COMPARISON] = Field(
        32, ge=2, description="The batch size at which both controls, and all rate rules, agree."
    )
    learning_rate_rule: Annotated[Literal["fixed", "sqrt", "linear"], _COMPARISON] = Field(
        "fixed",
        description="How the rate follows the batch size: not at all, with its square root, or in "
        "proportion.",
    )
    volume: Annotated[Literal["equal_per_language", "equal_total"], _COMPARISON] = Field(
        "equal_per_language",
        description="Unit of `max_examples` when numbers of training languages are compared: rows "
        "of each language (`equal_per_language`: more languages are more data), or rows times "
        "languages (`equal_total`: more languages are fewer rows of each).",
    )
    max_examples: Annotated[int | None, _COMPARISON] = Field(
        None, ge=1, description="Keep so many examples of the training data; all by default."
    )
    pooling: Annotated[Pooling | None, _EVALUATION] = _of_encoder("pooling")
    query_prefix: Annotated[str | None, _EVALUATION] = _of_encoder("query_prefix")
    passage_prefix: Annotated[str | None, _EVALUATION] = _of_encoder("passage_prefix")
    max_query_tokens: Annotated[TokenLimit | None, _EVALUATION] = _of_encoder("max_query_tokens")
    max_passage_tokens: Annotated[TokenLimit | None, _EVALUATION] = _of_encoder(
        "max_passage_tokens"
    )

    @field_validator(*TrainingSettings.model_fields, mode="before")
    @classmethod
    def _refuse_null(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse null where a default exists that null does not switch off."""
        key = str(info.field_name)
        off = EFFECTS[key].can_be_off or cls.model_fields[key].default is None
        if value is None and not off:
            raise ValueError("needs a value; leave the key out for the default")
        return value

    @field_validator(*LISTS, mode="before")
    @classmethod
    def _split(cls, value: Any, info: ValidationInfo) -> Any:
        """Split `de,en` at commas; sort and deduplicate, as order and repetition mean nothing."""
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        if isinstance(value, (list, tuple)):
            for part in value:
                if not isinstance(part, str):  # YAML reads `no`, the code of Norwegian, as false
                    raise ValueError(f"has {part!r}, which is no text; write it in quotes: 'no'")
        if info.field_name in LANGUAGES and isinstance(value, (list, tuple)):
            # An invalid code is refused later, by the data, which can list what they have.
            value = [bcp47(code) if is_language(code) else code for code in value]
        texts = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
        return tuple(sorted(set(value))) if value and texts else value


EFFECTS = effects(Settings)

EVALUATION_KEYS = frozenset(key for key, effect in EFFECTS.items() if effect.stage == "evaluation")
"""Settings that have an effect on a trial without training too."""


def build_settings(values: dict[str, Any], where: str) -> Settings:
    """Validate `values` into settings.

    Args:
        values: Setting to value.
        where: Origin of the values, which begins error messages.

    Raises:
        UserError: A key is unknown (the nearest one is named) or a value is not allowed.
    """
    for key in values:
        refuse_unknown(key, where)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        wrong = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
        lists = sorted(
            key for key in wrong if isinstance(values.get(key), list) and key not in LISTS
        )
        hint = f"\nseveral values of {lists[0]} are compared under search" if lists else ""
        raise UserError(f"{where}: {format_validation_error(error)}{hint}") from None


def refuse_unknown(key: str, where: str) -> None:
    """Refuse a key that is not a setting.

    Raises:
        UserError: The key is unknown; names the nearest one, and lists all.
    """
    if key not in Settings.model_fields:
        nearest = difflib.get_close_matches(key, Settings.model_fields, 1)
        guess = f"did you mean {nearest[0]}? " if nearest else ""
        keys = ", ".join(Settings.model_fields)
        raise UserError(f"{where}: unknown key {key!r}; {guess}keys are {keys}")


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Parse `KEY=VALUE` strings of the command line; values stay text for the settings to validate.

    `null` and `none` become None, and blanks around a value are removed, except in prefixes, which
    are taken verbatim.

    Raises:
        UserError: A string has no `=`, or a key is given twice.
    """
    parsed: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise UserError(f"--set {assignment}: write KEY=VALUE, such as --set steps=0")
        if key in parsed:
            raise UserError(f"--set {key}: given twice")
        if key not in TEXTS:
            text = text.strip()
        parsed[key] = None if key not in TEXTS and text.lower() in ("null", "none") else text
    return parsed
