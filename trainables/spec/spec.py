"""Complete description of one trial, and the digest that names it everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
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
"""Version of the results: any code change that alters them raises it (golden tests check)."""

LONGEST_VALUE = 200
"""Maximum number of characters of a wrong value or key repeated in a message."""


class DataRef(Frozen):
    """Reference to data by content; where the files lie is not identity and is kept elsewhere.

    Attributes:
        name: Name in the catalog.
        digest: Hash of the source files' bytes, or of the parameters of the embedded world.
        languages: BCP-47 codes in ascending order; None for all that the source has.
        part: A named part of the source, such as `train` or `held-out`; None for all of it.
        text: Text of a candidate, where the source offers a choice.
        skip_malformed: Whether malformed rows are skipped; None refuses them.
        convert_offsets: Whether answer offsets that count bytes or UTF-16 units are converted; None
            refuses them.
        instead_of: Label of the data that was requested but unavailable; None if this was.
        without: Training data whose questions are left out of this benchmark; None if it shares
            none with them.
        left_out: Number of queries left out, and of queries before.
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
    """Reference to an encoder by content, with all that decides the vector of a text.

    Attributes:
        name: Hub id, end of a folder's path, or `embedded/<size>`: a label, not identity.
        digest: Hash of the checkpoint's files, the hub commit, or hash of the embedded encoder.
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
    """Complete description of one trial; equal experiments have equal specs.

    A setting without effect is None: without steps all training settings, without a coin `alpha`.
    `hybrid` at alpha 1 becomes `X-X`, and at alpha 0 `X-Y`.

    Attributes:
        recipe: Version of the code's results.
        encoder: Encoder to fine-tune.
        test: Benchmark that decides the hypotheses; never read by selection.
        validation: The only data that selection may read.
        also: Further benchmarks to evaluate the encoder on, in the order of their names.
        seed: Key of the content stream, coins, languages and dropout.
        train: Training data.
        max_rows: Number of rows to keep, the head of a permutation keyed by the seed; None for all.
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
        """Drop settings without effect, so that equal experiments have equal specs."""
        try:
            return dict.fromkeys(EFFECTS) | canonical(values, EFFECTS)
        except (TypeError, AttributeError):
            raise ValueError("a value is of another type than any spec has") from None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Require all training settings with an effect, and refuse contradictions."""
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
        """Return the JSON text that is hashed: sorted keys, no spaces, labels or empty fields."""
        return canonical_text(self.model_dump(mode="json", exclude_none=True))

    @property
    def digest(self) -> str:
        """First 20 hexadecimal digits of the SHA-256 of the canonical text."""
        return digest_of(self.canonical())


def canonical_text(values: Mapping[str, Any]) -> str:
    """Return the canonical text of a spec's plain values, such as `spec.json` holds."""
    unlabelled = dict(values)
    for key, label in (("encoder", "name"), ("test", "instead_of")):
        if isinstance(parts := unlabelled.get(key), Mapping):
            unlabelled[key] = {k: part for k, part in parts.items() if k != label}
    return json.dumps(unlabelled, sort_keys=True, separators=(",", ":"))


def digest_of(canonical: str) -> str:
    """Return the first 20 hexadecimal digits of the SHA-256 of a canonical text."""
    return hashlib.sha256(canonical.encode()).hexdigest()[:20]


EFFECTS = effects(Spec)
"""Effects of a spec's training settings; encoder and benchmarks are not among them."""


def build_spec(values: dict[str, Any]) -> Spec:
    """Validate `values` into a spec.

    Raises:
        UserError: A key or value is not allowed; the message says what is.
    """
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        raise UserError(format_validation_error(error)) from None


def format_validation_error(error: ValidationError) -> str:
    """Format each of pydantic's errors as a line: key, what is wrong or allowed, value found."""
    lines = []
    for item in error.errors():
        key = ".".join(map(str, item["loc"]))
        message = item["msg"].removeprefix("Value error, ")
        value = item["input"]
        suffix = "" if isinstance(value, dict) or not key else f" (found {_short(value)})"
        lines.append(f"{key[:LONGEST_VALUE]}: {message}{suffix}" if key else message)
    return "\n".join(lines)


def _short(value: Any) -> str:
    """Represent a value for a message, with the middle of a long one left out."""
    text = repr(value)
    return (
        text
        if len(text) <= LONGEST_VALUE
        else f"{text[: LONGEST_VALUE // 2]}...{text[-LONGEST_VALUE // 2 :]}"
    )
