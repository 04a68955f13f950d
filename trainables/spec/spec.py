"""The complete description of one trial, and the digest that names it everywhere."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from trainables.errors import UserError
from trainables.spec.canonical import canonical
from trainables.spec.settings import (
    POOLING_MODES,
    CandidateText,
    Effect,
    Frozen,
    Pooling,
    TokenLimit,
    TrainingSettings,
    contradictions,
    effects,
)

RECIPE = 3
"""Raised by every change of code that alters results (golden tests fail until it is)."""

LONGEST_VALUE = 200
"""Characters of a wrong value or key that a message repeats."""


class DataRef(Frozen):
    """Some data by content: where the files lie is not identity and stands elsewhere.

    Attributes:
        name: As in the catalog.
        digest: Hash of the source files' bytes, or of the parameters of the embedded world.
        languages: BCP-47 codes in ascending order; None for all that the source has.
        part: A named part of the source, such as `train` or `held-out`; None for all of it.
        text: What a candidate's text is, where the source leaves it open.
        skip_malformed: Whether malformed rows are left out; None refuses them.
        convert_offsets: Whether answer offsets that count bytes or UTF-16 units are converted; None
            refuses them.
        instead_of: What was asked for and could not be had, a label; None where this was.
        without: Training data whose questions are left out of this benchmark; None where they
            share none with it.
        left_out: How many queries these are, and of how many.
    """

    name: str
    digest: str
    languages: tuple[str, ...] | None = None
    part: str | None = None
    text: CandidateText | None = None
    skip_malformed: bool | None = None
    convert_offsets: bool | None = None
    instead_of: str | None = None
    without: tuple[DataRef, ...] | None = None
    left_out: tuple[int, int] | None = None


class EncoderRef(Frozen):
    """An encoder by content, with everything that turns a text into its vector.

    Attributes:
        name: Hub id, end of a folder's path, or `embedded/<rung>`: a label, not identity.
        digest: Hash of the checkpoint's files, the hub commit, or of the embedded rung.
    """

    name: str
    digest: str
    pooling: Pooling = Field(
        description=f"How token vectors become one: {', '.join(POOLING_MODES)}, or several joined "
        "by +."
    )
    query_prefix: str = Field(
        default="", description="Put before every query, trailing blank included."
    )
    passage_prefix: str = Field(
        default="", description="Put before every passage, trailing blank included."
    )
    max_query_tokens: TokenLimit = Field(
        description="Longer queries are cut, special tokens counted."
    )
    max_passage_tokens: TokenLimit = Field(
        description="Longer passages are cut, special tokens counted."
    )


class Spec(TrainingSettings):
    """The complete description of one trial: equal experiments are equal specs.

    A setting without effect is None: zero steps leave no setting of training, a sampling without a
    coin no alpha. `hybrid` at alpha 1 *is* X-X and at alpha 0 *is* X-Y.

    Attributes:
        recipe: Which code made the result.
        encoder: What is fine-tuned.
        test: Judges the hypotheses; never read by selection.
        validation: The only data that selection may read.
        also: Further benchmarks that the same encoder is evaluated on, in the order of their names.
        seed: Keys the content stream, coins, languages and dropout.
        train: What is trained on.
        max_rows: So many rows, the first of a permutation that the seed keys; None for all.
    """

    recipe: int = RECIPE
    encoder: EncoderRef
    test: DataRef
    validation: DataRef | None = None
    also: tuple[DataRef, ...] | None = None
    seed: Annotated[int | None, Effect(required=True)] = Field(None, ge=0, lt=2**31)
    train: Annotated[DataRef | None, Effect(required=True)] = None
    max_rows: Annotated[int | None, Effect()] = Field(None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Drop what has no effect, so that equal experiments are equal specs."""
        try:
            return dict.fromkeys(EFFECTS) | canonical(values, EFFECTS)
        except (TypeError, AttributeError):
            raise ValueError("a value is of another type than any spec has") from None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """A spec that trains says everything about its training, and nothing against it."""
        if self.steps == 0:
            return self
        missing = sorted(
            name
            for name, effect in EFFECTS.items()
            if effect.required and getattr(self, name) is None and effect.applies(self.__dict__)
        )
        if missing:
            raise ValueError(f"a spec with steps needs {', '.join(missing)}")
        if wrong := list(contradictions(self)):
            raise ValueError("\n".join(wrong))
        return self

    def canonical(self) -> str:
        """The JSON text that is hashed: sorted keys, no blanks, without labels and empty fields."""
        labels = {"encoder": {"name"}, "test": {"instead_of"}}
        values = self.model_dump(mode="json", exclude_none=True, exclude=labels)
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """20 hexadecimal digits of the SHA-256 of the canonical text."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:20]


EFFECTS = effects(Spec)
"""Effects of a spec's settings of training; they leave out encoder and benchmarks."""


def build_spec(values: dict[str, Any]) -> Spec:
    """Validate `values` into a spec.

    Raises:
        UserError: A key or value that is not allowed, with what is.
    """
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        raise UserError(format_validation_error(error)) from None


def format_validation_error(error: ValidationError) -> str:
    """One line for each thing that pydantic found wrong: key, value and what is allowed."""
    lines = []
    for item in error.errors():
        key = ".".join(map(str, item["loc"]))
        message = item["msg"].removeprefix("Value error, ")
        value = item["input"]
        suffix = "" if isinstance(value, dict) or not key else f" (found {_short(value)})"
        lines.append(f"{key[:LONGEST_VALUE]}: {message}{suffix}" if key else message)
    return "\n".join(lines)


def _short(value: Any) -> str:
    """A value as it is shown, its middle left out where it is long."""
    text = repr(value)
    return (
        text
        if len(text) <= LONGEST_VALUE
        else f"{text[: LONGEST_VALUE // 2]}...{text[-LONGEST_VALUE // 2 :]}"
    )
