"""What one trial is, frozen and canonical, and the digest that names it everywhere."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainables.canonical import REQUIRED, canonical, contradictions
from trainables.errors import UserError

RECIPE = 3
"""Raised by every change of code that alters results (golden tests fail until it is)."""

SHOWN = 200
"""Characters of a wrong value or key that a message repeats."""

Sampling = Literal["X-X", "X-Y", "hybrid", "X-X-mixed", "X-Y-fixed", "row-hybrid"]
POOLING_MODES = ("mean", "cls", "last", "max", "mean_sqrt_len_tokens", "weightedmean")
"""Called as in sentence-transformers, where `last` is `lasttoken`."""


def _known_modes(pooling: str) -> str:
    if not all(mode in POOLING_MODES for mode in pooling.split("+")):
        raise ValueError(f"allowed are {', '.join(POOLING_MODES)}, or several joined by +")
    return pooling


Pooling = Annotated[str, AfterValidator(_known_modes)]
"""One mode, or several whose vectors are joined, such as `cls+mean`."""

CandidateText = Literal["sentence", "sentence+context"]
Schedule = Literal["linear", "cosine", "constant"]
Negatives = Literal["in_batch", "hard", "both", "paper_eq1"]
Rows = Literal["in_all", "in_two", "in_any"]
Pairs = Literal["image", "caption"]
ImageTower = Literal["frozen", "live"]

Select = Literal["last", "best"]


class Frozen(BaseModel):
    """A pydantic model that refuses unknown keys and later changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
        pooling: How token vectors become one.
        query_prefix: Put before every query, trailing blank included.
        passage_prefix: Put before every passage, trailing blank included.
        max_query_tokens: Longer queries are cut, special tokens counted.
        max_passage_tokens: Longer passages are cut, special tokens counted.
    """

    name: str
    digest: str
    pooling: Pooling
    query_prefix: str = ""
    passage_prefix: str = ""
    max_query_tokens: int = Field(ge=3)
    max_passage_tokens: int = Field(ge=3)


class Spec(Frozen):
    """The complete description of one trial: equal experiments are equal specs.

    A field without effect is None: zero steps leave no training field, a sampling without a coin
    no alpha. `hybrid` at alpha 1 *is* X-X and at alpha 0 *is* X-Y.

    Attributes:
        recipe: Which code made the result.
        encoder: What is fine-tuned.
        test: Judges the hypotheses; never read by selection.
        validation: The only data that selection may read.
        also: Further benchmarks that the same encoder is evaluated on, in the order of their names.
        seed: Keys the content stream, coins, languages and dropout.
        train: What is trained on.
        languages: Training languages in ascending order.
        sampling: Which languages a batch's queries and passages are in (DESIGN, Words).
        alpha: The mixing ratio: probability that a batch (or row) is monolingual.
        pairs: Of pictures, what an X-Y batch (or row) is: each picture with a caption in a language
            of its own (`image`), or two captions of one picture in two languages (`caption`). An
            X-X batch is captions in one language, each with its picture. None for data of texts,
            and where a sampling has no X-Y.
        image_tower: Of pictures, `live` trains the image tower too; None leaves it as it is.
        shuffle_pairs: Control: passages are dealt to the wrong questions; nothing can be learned.
        batch_size: Rows in one contrastive batch.
        steps: Optimizer steps; 0 evaluates the encoder as it is.
        learning_rate: Peak rate of AdamW.
        warmup: Share of the steps in which the rate rises linearly from 0.
        schedule: What the rate does after the warm-up.
        weight_decay: AdamW's decoupled decay, on matrices of linear layers (embeddings are spared).
        max_grad_norm: Gradients are scaled down to this norm; None leaves them.
        temperature: Cosine scores are divided by it.
        symmetric: Add the passage-to-query direction to the loss.
        mask_false_negatives: Passages that answer a query too, as the training data say, leave its
            denominator (`positives`).
        negatives: What counts against a query (`info_nce`); None for `in_batch`.
        hard_negatives: Hard negatives of each row in a batch, drawn from those it has; None for 1.
        rows: Which rows are trained on: those that exist in all languages of the source (None), in
            two of the training languages, so that every sampling can read them, or in any, so that
            samplings may read different rows. Draws are among the languages that a row has.
        max_rows: So many of them, the first of a permutation that the seed keys; None for all.
        language_law: Languages of monolingual batches (or rows) are drawn in proportion to this
            power of the rows that exist in them; None is 0, uniform. Without effect where every
            row is in every language.
        pair_law: The same for ordered pairs of different languages.
        languages_per_batch: At most so many languages in a batch that mixes them, a subset drawn
            uniformly; None for all training languages.
        learn_temperature: `temperature` is where training starts; its logarithm is a parameter
            without decay, kept above 0.01, as CLIP's (Radford et al. 2021).
        evaluate_every: Steps between evaluations on the validation benchmark; None for none.
        patience: Training stops once so many of them in a row brought no new best; None never.
        select: `best` keeps the encoder of the best of them; None is the last.
        select_metric: What is best: a metric where more is better.
    """

    recipe: int = RECIPE
    encoder: EncoderRef
    test: DataRef
    validation: DataRef | None = None
    also: tuple[DataRef, ...] | None = None
    seed: int | None = Field(None, ge=0, lt=2**31)
    train: DataRef | None = None
    languages: tuple[str, ...] | None = None
    sampling: Sampling | None = None
    alpha: float | None = Field(None, ge=0, le=1)
    pairs: Pairs | None = None
    image_tower: ImageTower | None = None
    shuffle_pairs: bool | None = None
    batch_size: int | None = Field(None, ge=2)
    steps: int = Field(ge=0)
    learning_rate: float | None = Field(None, gt=0)
    warmup: float | None = Field(None, ge=0, le=1)
    schedule: Schedule | None = None
    weight_decay: float | None = Field(None, ge=0)
    max_grad_norm: float | None = Field(None, gt=0)
    temperature: float | None = Field(None, gt=0)
    symmetric: bool | None = None
    mask_false_negatives: bool | None = None
    negatives: Negatives | None = None
    hard_negatives: int | None = Field(None, ge=1)
    rows: Rows | None = None
    max_rows: int | None = Field(None, ge=1)
    language_law: float | None = Field(None, ge=0, le=4)
    pair_law: float | None = Field(None, ge=0, le=4)
    languages_per_batch: int | None = Field(None, ge=1)
    learn_temperature: bool | None = None
    evaluate_every: int | None = Field(None, ge=1)
    patience: int | None = Field(None, ge=1)
    select: Select | None = None
    select_metric: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Drop what has no effect, so that equal experiments are equal specs."""
        try:
            return canonical(values)
        except (TypeError, AttributeError):
            raise ValueError("a value is of another type than any spec has") from None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """A spec that trains says everything about its training, and nothing against it."""
        if self.steps == 0:
            return self
        missing = sorted(name for name in REQUIRED if getattr(self, name) is None)
        if self.sampling in ("hybrid", "row-hybrid") and self.alpha is None:
            missing.append("alpha")
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


@dataclass(frozen=True)
class Execution:
    """What is not identity but can move a last digit; recorded in the result.

    Attributes:
        threads: Of torch in this trial.
        device: `cpu` or `cuda`.
        precision: `float32`, or `bfloat16` autocast on GPUs.
        encode_tokens: Padded tokens in one forward pass of evaluation.
        micro_batch_tokens: Padded tokens whose activations a training step keeps; None for what
            the transformer's shape allows (`TextEncoder.held_tokens`).
        recompute_layers: Keep only what goes into each layer and compute the rest again on the way
            back (gradient checkpointing): a layer's activations at a time instead of all layers'.
        ranks: Processes, each with a device of its own, that embed a share of every batch. The
            batch and its loss stay as they are; with dropout, numbers follow the number of ranks.
        nodes: Machines that the ranks are dealt to, as many to each.
    """

    threads: int = 1
    device: str = "cpu"
    precision: str = "float32"
    encode_tokens: int = 8192
    micro_batch_tokens: int | None = None
    recompute_layers: bool = False
    ranks: int = 1
    nodes: int = 1

    @property
    def ranks_each(self) -> int:
        """Ranks on one machine."""
        return self.ranks // self.nodes

    @property
    def slots_here(self) -> int:
        """Trials that this machine's processors have room for at once, one at least."""
        return max(1, (os.cpu_count() or 1) // (self.threads * self.ranks))

    def to_json(self) -> dict[str, Any]:
        """Plain values, as stored in a result."""
        return asdict(self)


def build_spec(values: dict[str, Any]) -> Spec:
    """Validate `values` into a spec.

    Raises:
        UserError: A key or value that is not allowed, with what is.
    """
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        raise UserError(readable(error)) from None


def readable(error: ValidationError) -> str:
    """One line for each thing that pydantic found wrong: key, value and what is allowed."""
    lines = []
    for item in error.errors():
        key = ".".join(map(str, item["loc"]))
        message = item["msg"].removeprefix("Value error, ")
        value = item["input"]
        shown = "" if isinstance(value, dict) or not key else f" (found {_short(value)})"
        lines.append(f"{key[:SHOWN]}: {message}{shown}" if key else message)
    return "\n".join(lines)


def _short(value: Any) -> str:
    """A value as it is shown, its middle left out where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-SHOWN // 2 :]}"
