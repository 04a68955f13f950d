"""Training settings, each defined once: type, default, limits, meaning, effect, contradictions.

A trial's `Spec` (None where a setting has no effect), the settings of a space (with the defaults),
`study keys` and `docs/settings.md` are derived from `TrainingSettings`. A new setting is a field
here and the code that implements it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

if TYPE_CHECKING:
    from trainables.spec.spec import Spec

Sampling = Literal["X-X", "X-Y", "hybrid", "X-X-mixed", "X-Y-fixed", "row-hybrid"]
POOLING_MODES = ("mean", "cls", "last", "max", "mean_sqrt_len_tokens", "weightedmean")
"""Names as in sentence-transformers, except for `last`, which is `lasttoken` there."""


def _known_modes(pooling: str) -> str:
    if not all(mode in POOLING_MODES for mode in pooling.split("+")):
        raise ValueError(f"allowed are {', '.join(POOLING_MODES)}, or several joined by +")
    return pooling


Pooling = Annotated[str, AfterValidator(_known_modes)]
"""One pooling mode, or several whose vectors are concatenated, such as `cls+mean`."""


TokenLimit = Annotated[int, Field(ge=3)]
"""Maximum number of tokens; at least two special tokens and one of the text."""


def _exponent(value: Any) -> Any:
    named = {"uniform": 0.0, "proportional": 1.0}
    if isinstance(value, str) and not re.fullmatch(r"[\d.]+", value):
        if value not in named:
            raise ValueError("is not uniform, proportional or a power from 0 to 4")
        return named[value]
    return value


Exponent = Annotated[float, BeforeValidator(_exponent)]
"""Exponent of a number of rows; `uniform` stands for 0, `proportional` for 1."""

CandidateText = Literal["sentence", "sentence+context"]
Schedule = Literal["linear", "cosine", "constant"]
Negatives = Literal["in_batch", "hard", "both", "paper_eq1"]
Rows = Literal["in_all", "in_two", "in_any"]
Pairs = Literal["image", "caption"]
ImageTower = Literal["frozen", "live"]
Select = Literal["last", "best"]

Stage = Literal["evaluation", "data", "comparison", "training"]

ANY = "any"
"""Marker in `Effect.only_with` for any value of the other setting but None."""

MIN_LEARNT_TEMPERATURE = 0.01
"""Lower bound of a learnt temperature, as CLIP keeps its logit scale below 100."""


@dataclass(frozen=True)
class NegativeKind:
    """What counts against a query under a value of the setting `negatives`.

    Attributes:
        in_batch: Whether the passages of the batch's other rows do.
        hard: Rows whose hard negatives do: none, the query's own, or all of the batch.
    """

    in_batch: bool
    hard: Literal["none", "own", "all"]


NEGATIVE_KINDS: Mapping[Negatives, NegativeKind] = {
    "in_batch": NegativeKind(in_batch=True, hard="none"),
    "hard": NegativeKind(in_batch=False, hard="own"),
    "both": NegativeKind(in_batch=True, hard="all"),
    "paper_eq1": NegativeKind(in_batch=False, hard="all"),
}

_WITH_HARD = tuple(name for name, kind in NEGATIVE_KINDS.items() if kind.hard != "none")

SELECTABLE_METRIC = re.compile(r"(map|mrr|recall|hit|ndcg)(_at_\d+)?/.")
"""Pattern of metrics that are better when higher."""


class Frozen(BaseModel):
    """Pydantic model that refuses unknown keys and later changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Effect:
    """When a setting changes a trial; metadata of a field.

    Attributes:
        stage: `training` has an effect only with steps, `evaluation` also without; `data` and
            `comparison` decide which data and numbers a space's cells have.
        required: A spec must have a value wherever the setting has an effect.
        can_be_off: None switches off what the default does.
        neutral: Value equivalent to no value.
        only_with: Conditions, each of other settings and their values. The setting has an effect if
            all of one condition holds; without conditions it always has.
    """

    stage: Stage = "training"
    required: bool = False
    can_be_off: bool = False
    neutral: Any = None
    only_with: tuple[Mapping[str, tuple[Any, ...] | str], ...] = ()

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Whether the setting has an effect, given the values of all settings."""
        return not self.only_with or any(
            all(
                settings.get(key) in values if values != ANY else settings.get(key) is not None
                for key, values in condition.items()
            )
            for condition in self.only_with
        )


REQUIRED = Effect(required=True)


def effects(model: type[BaseModel]) -> dict[str, Effect]:
    """Return the effects of a model's settings, by key."""
    return {
        name: item
        for name, field in model.model_fields.items()
        for item in field.metadata
        if isinstance(item, Effect)
    }


def _sampling(*values: Sampling, **others: tuple[Any, ...]) -> tuple[dict[str, tuple[Any, ...]]]:
    return ({"sampling": values, **others},)


class TrainingSettings(Frozen):
    """Settings of a trial's training.

    Types allow None because a setting without effect has no value in a spec.
    """

    languages: Annotated[tuple[str, ...] | None, REQUIRED] = Field(
        None, description="Training languages; all that the training data have by default."
    )
    sampling: Annotated[Sampling | None, REQUIRED] = Field(
        "hybrid",
        description="Languages of a batch's queries and passages: one language (`X-X`), a pair of "
        "different ones for each row (`X-Y`), one of the two by a coin for each batch (`hybrid`) "
        "or row (`row-hybrid`), a language for each row (`X-X-mixed`), or a pair for each batch "
        "(`X-Y-fixed`).",
    )
    alpha: Annotated[
        float | None, Effect(required=True, only_with=_sampling("hybrid", "row-hybrid"))
    ] = Field(
        0.5,
        ge=0,
        le=1,
        description="The mixing ratio: probability that a batch (or row) is monolingual.",
    )
    pairs: Annotated[
        Pairs | None,
        Effect(only_with=_sampling("X-Y", "hybrid", "X-X-mixed", "X-Y-fixed", "row-hybrid")),
    ] = Field(
        None,
        description="With pictures, the pairs of an X-Y batch (or row): each picture with a "
        "caption in a language of its own (`image`, the default), or two captions of one picture "
        "in two languages (`caption`). Without effect on data of texts.",
    )
    image_tower: Annotated[ImageTower | None, Effect(neutral="frozen")] = Field(
        None,
        description="With pictures, leave the image tower as it is and compute its vectors once "
        "(`frozen`, the default), or train it too (`live`).",
    )
    shuffle_pairs: Annotated[bool | None, REQUIRED] = Field(
        False,
        description="Control: passages go to the wrong questions, so that nothing can be learned.",
    )
    batch_size: Annotated[int | None, REQUIRED] = Field(
        32, ge=2, description="Rows in one contrastive batch."
    )
    steps: Annotated[int, REQUIRED] = Field(
        1000,
        ge=0,
        description="Optimizer steps at the reference batch size; 0 evaluates the encoder as it "
        "is.",
    )
    learning_rate: Annotated[float | None, REQUIRED] = Field(
        2e-5, gt=0, description="AdamW's peak rate at the reference batch size."
    )
    warmup: Annotated[float | None, REQUIRED] = Field(
        0.1, ge=0, le=1, description="Share of the steps in which the rate rises linearly from 0."
    )
    schedule: Annotated[Schedule | None, REQUIRED] = Field(
        "linear", description="How the rate falls after the warm-up."
    )
    weight_decay: Annotated[float | None, REQUIRED] = Field(
        0.01,
        ge=0,
        description="AdamW's decoupled decay of the matrices of linear layers (embeddings are "
        "spared).",
    )
    max_grad_norm: Annotated[float | None, Effect(can_be_off=True)] = Field(
        1.0, gt=0, description="Larger gradients are scaled down to this norm; null leaves them."
    )
    temperature: Annotated[float | None, REQUIRED] = Field(
        0.05, gt=0, description="Cosine scores are divided by it."
    )
    symmetric: Annotated[bool | None, REQUIRED] = Field(
        False, description="Add the passage-to-query direction to the loss."
    )
    mask_false_negatives: Annotated[bool | None, REQUIRED] = Field(
        True,
        description="Leave passages that answer a query too out of its denominator: those of the "
        "same question (by id or equal query text), of the same gold passage, or of equal text.",
    )
    negatives: Annotated[Negatives | None, Effect(neutral="in_batch")] = Field(
        "in_batch",
        description="Negatives of a query: the other rows' passages (`in_batch`), hard negatives "
        "of its own row (`hard`), both kinds, of all rows (`both`), or the hard negatives of all "
        "rows alone, as the paper writes its equation 1 (`paper_eq1`).",
    )
    hard_negatives: Annotated[
        int | None,
        Effect(neutral=1, only_with=({"negatives": _WITH_HARD},)),
    ] = Field(1, ge=1, description="Hard negatives of each row in a batch, drawn from its own.")
    rows: Annotated[Rows | None, Effect(neutral="in_all")] = Field(
        "in_all",
        description="Rows trained on: those in all languages of the source (`in_all`), in two "
        "training languages at least (`in_two`), or in any (`in_any`: samplings may read different "
        "rows). Draws are among the languages that a row has.",
    )
    language_law: Annotated[
        Exponent | None,
        Effect(
            neutral=0,
            only_with=_sampling(
                "X-X", "hybrid", "X-X-mixed", "row-hybrid", rows=("in_two", "in_any")
            ),
        ),
    ] = Field(
        0.0,
        ge=0,
        le=4,
        description="How languages of monolingual batches (or rows) are drawn: `uniform`, "
        "`proportional` to the rows that exist in them, or a power of that, such as 0.3.",
    )
    pair_law: Annotated[
        Exponent | None,
        Effect(
            neutral=0,
            only_with=_sampling(
                "X-Y", "hybrid", "X-Y-fixed", "row-hybrid", rows=("in_two", "in_any")
            ),
        ),
    ] = Field(0.0, ge=0, le=4, description="The same for ordered pairs of different languages.")
    languages_per_batch: Annotated[
        int | None, Effect(only_with=_sampling("X-Y", "hybrid", "X-X-mixed", "row-hybrid"))
    ] = Field(
        None,
        ge=1,
        description="Most languages in a batch that mixes them, a subset drawn uniformly; all "
        "training languages by default.",
    )
    learn_temperature: Annotated[bool | None, Effect(neutral=False)] = Field(
        False,
        description="Train the temperature's logarithm without decay, from `temperature` on, as "
        f"CLIP does (Radford et al. 2021); it stays above {MIN_LEARNT_TEMPERATURE}.",
    )
    evaluate_every: Annotated[int | None, Effect()] = Field(
        None,
        ge=1,
        description="Steps between evaluations on the validation benchmark; never by default.",
    )
    patience: Annotated[int | None, Effect()] = Field(
        None,
        ge=1,
        description="Stop after so many evaluations in a row without a new best; never by default.",
    )
    select: Annotated[Select | None, Effect(neutral="last")] = Field(
        "last", description="Keep the encoder of the `last` step, or of the `best` evaluation."
    )
    select_metric: Annotated[
        str | None, Effect(only_with=({"select": ("best",)}, {"patience": ANY}))
    ] = Field(
        None,
        description="Metric that decides which evaluation is best; the space's primary metric by "
        "default.",
    )


def contradictions(spec: Spec) -> Iterator[str]:
    """Yield the contradictions between settings of a spec, each with a remedy."""
    yield from _of_languages(spec)
    if spec.symmetric and not NEGATIVE_KINDS[spec.negatives or "in_batch"].in_batch:
        yield (
            f"symmetric adds passages against in-batch queries, and negatives={spec.negatives} "
            "has nothing in-batch; use negatives=both, or symmetric=false"
        )
    if (
        spec.learn_temperature
        and spec.temperature is not None
        and spec.temperature < MIN_LEARNT_TEMPERATURE
    ):
        yield (
            f"temperature {spec.temperature}: a learnt one stays above {MIN_LEARNT_TEMPERATURE}; "
            "start there or higher, or use learn_temperature=false"
        )
    if spec.max_rows is not None and spec.max_rows < (spec.batch_size or 0):
        yield (
            f"batch_size {spec.batch_size} is larger than the {spec.max_rows} rows that are "
            "kept of the training data; use a smaller batch or more examples"
        )
    yield from _of_selection(spec)


def _of_languages(spec: Spec) -> Iterator[str]:
    languages = spec.languages or ()
    if spec.sampling not in ("X-X", "X-X-mixed") and len(languages) < 2:
        yield (
            f"sampling {spec.sampling} pairs different languages and needs at least two; "
            f"the training languages are {', '.join(languages)}. "
            "Add a language or use --set sampling=X-X"
        )
    if spec.languages_per_batch == 1:
        yield (
            f"languages_per_batch 1: sampling {spec.sampling} pairs different languages within a "
            "batch; use at least 2, or --set sampling=X-X"
        )
    for key in ("languages_per_batch", "max_rows", "shuffle_pairs"):
        if spec.rows is not None and getattr(spec, key):
            yield (
                f"{key} {getattr(spec, key)}: needs rows that exist in all languages, and rows is "
                f"{spec.rows}; leave one of the two out"
            )


def _of_selection(spec: Spec) -> Iterator[str]:
    selecting = f"patience {spec.patience}" if spec.patience is not None else ""
    if not selecting and spec.select is not None:
        selecting = f"select {spec.select}"
    if selecting and spec.evaluate_every is None:
        yield f"{selecting}: say how often to look: --set evaluate_every=N"
    if spec.evaluate_every is not None and spec.validation is None:
        yield (
            f"evaluate_every {spec.evaluate_every}: there is no validation benchmark, and the test "
            "must not be read; name one with --set validation=NAME or NAME:PART"
        )
    if selecting and spec.select_metric is None:
        yield f"{selecting}: say by what: --set select_metric=map/multi"
    if spec.select_metric is not None and not SELECTABLE_METRIC.match(spec.select_metric):
        yield (
            f"select_metric {spec.select_metric}: no measure of retrieval, where more is better; "
            "choose one such as map/multi, map/mono or ndcg_at_10/cross"
        )
