"""What a space file may say, and what each of its keys means."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from study.spaces.hypothesis import Hypothesis
from study.spaces.hypothesis import Tier as Tier
from study.spaces.optimize import Optimize
from study.spaces.ranges import Numbers, Range, Searched, check_ranges
from study.spaces.yaml_file import read_yaml
from trainables.data.languages import bcp47, is_language
from trainables.errors import UserError
from trainables.spec import (
    Frozen,
    ImageTower,
    Negatives,
    Pairs,
    Pooling,
    Rows,
    Sampling,
    Schedule,
    Select,
    readable,
)

FOLDER = Path(__file__).parent

MOST_TRIALS = 100_000
"""That a plan may have, and cells that a grid may have."""

TEXTS = ("query_prefix", "passage_prefix")
"""Settings that are text: `--set` takes them as they are typed, blanks and `none` included."""

LANGUAGES = ("languages", "eval_languages", "anchor_languages", "unseen_languages")
"""Settings of BCP-47 codes."""

LISTS = (*LANGUAGES, "also")
"""Settings of several values, which `--set` takes with commas between."""


class Settings(Frozen):
    """Everything a space, a cell or `--set` may set for a trial; one field a key.

    Attributes:
        benchmark: What is evaluated, as `name` or `name:part`; `data list` shows the names.
        validation: Benchmark that selection may read, as `name` or `name:part`; `own` for the
            benchmark's own validation part, if it has one; null for none.
        also: Further benchmarks for the same encoders, as `name` or `name:part`; their metrics are
            named `tydiqa:map/mono`.
        train: Training data as `name` or `name:part`; `own` for the benchmark's own training part.
            Questions that it shares with the benchmark are left out of the evaluation, of every
            cell; shared pictures are counted and stay.
        encoder: `embedded/<rung>`, a checkpoint folder or a hub id.
        languages: Training languages; all that the training data have by default.
        language_count: Train on so many of them: `anchor_languages` first, then others in an
            order drawn by `subset_seed`, so that more languages contain fewer.
        subset_seed: Of that order; the same for all counts and seeds.
        anchor_languages: Trained on at every count.
        unseen_languages: Trained on at none.
        eval_languages: Languages evaluated; all that the benchmark has by default.
        candidate_text: What a candidate's text is, where the source leaves it open.
        skip_malformed: Leave malformed rows of the sources' files out, and count them.
        convert_offsets: Convert answer offsets that count bytes or UTF-16 units, and count them;
            what is measured then is not comparable with published numbers.
        sampling: Which languages a batch's queries and passages are in.
        alpha: The mixing ratio of `hybrid` and `row-hybrid`.
        pairs: Of pictures, what an X-Y batch is: each picture with its caption in a language of its
            own (`image`, languages mixed freely; the default), or two captions of one picture in
            two languages (`caption`). Without effect on data of texts.
        image_tower: Of pictures, leave the image tower as it is, its vectors computed once
            (`frozen`; the default), or train it too (`live`).
        shuffle_pairs: Control: passages are dealt to the wrong questions.
        batch_size: Rows in one contrastive batch.
        control: What comparisons of batch sizes hold fixed. `equal_steps` takes `steps` as it is;
            `equal_examples` divides steps times reference_batch_size by the batch size.
        reference_batch_size: The batch size at which both controls, and all rate rules, agree.
        steps: Optimizer steps at the reference batch size; 0 evaluates the encoder as it is.
        learning_rate: Peak rate at the reference batch size.
        learning_rate_rule: How the rate follows the batch size: not at all, with its square root,
            or in proportion.
        warmup: Share of the steps with a rising rate.
        schedule: What the rate does after the warm-up.
        weight_decay: AdamW's decoupled decay, on linear layers' matrices.
        max_grad_norm: Gradients are scaled down to this norm.
        temperature: Cosine scores are divided by it.
        symmetric: Add the passage-to-query direction to the loss.
        mask_false_negatives: Passages that answer a query too leave its denominator: those of
            the same question, by id or equal query text, of the same gold, or of equal text.
        negatives: What counts against a query: the other rows' passages (`in_batch`), hard
            negatives of its own row (`hard`), both kinds, of all rows (`both`), or the hard
            negatives of all rows alone, as the paper writes its equation 1 (`paper_eq1`).
        hard_negatives: Hard negatives of each row in a batch, drawn from those it has.
        rows: Rows trained on: those in all languages of the source (`in_all`), in two training
            languages at least (`in_two`), or in any (`in_any`: samplings may read other rows).
        volume: What `max_examples` counts, in comparisons of how many languages are trained on:
            rows of each language (`equal_per_language`: more languages are more data), or rows
            times languages (`equal_total`: more languages are fewer rows of each).
        max_examples: Keep so many examples; all by default.
        language_law: How languages are drawn where rows lack some: `uniform`, `proportional` to
            the rows that exist in them, or a power of that, such as 0.3.
        pair_law: The same for ordered pairs of different languages.
        languages_per_batch: At most so many in a batch that mixes languages; all by default.
        learn_temperature: Let `temperature` be where a learnt one starts.
        evaluate_every: Steps between evaluations on the validation benchmark; never by default.
        patience: Stop after so many evaluations in a row without a new best; never by default.
        select: Keep the encoder of the `last` step, or of the `best` evaluation.
        select_metric: What is best; the space's primary metric by default.
        pooling: Instead of the encoder family's.
        query_prefix: Instead of the encoder family's.
        passage_prefix: Instead of the encoder family's.
        max_query_tokens: Instead of the encoder family's.
        max_passage_tokens: Instead of the encoder family's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    benchmark: str = "synthetic"
    validation: str | None = "own"
    also: tuple[str, ...] | None = None
    train: str = "own"
    encoder: str = "embedded/small"
    languages: tuple[str, ...] | None = None
    language_count: int | None = Field(None, ge=1)
    subset_seed: int = Field(0, ge=0)
    anchor_languages: tuple[str, ...] | None = None
    unseen_languages: tuple[str, ...] | None = None
    eval_languages: tuple[str, ...] | None = None
    candidate_text: Literal["sentence", "sentence+context"] | None = None
    skip_malformed: bool | None = None
    convert_offsets: bool | None = None
    sampling: Sampling = "hybrid"
    alpha: float = Field(0.5, ge=0, le=1)
    pairs: Pairs | None = None
    image_tower: ImageTower | None = None
    shuffle_pairs: bool = False
    batch_size: int = Field(32, ge=2)
    control: Literal["equal_steps", "equal_examples"] = "equal_steps"
    reference_batch_size: int = Field(32, ge=2)
    steps: int = Field(1000, ge=0)
    learning_rate: float = Field(2e-5, gt=0)
    learning_rate_rule: Literal["fixed", "sqrt", "linear"] = "fixed"
    warmup: float = Field(0.1, ge=0, le=1)
    schedule: Schedule = "linear"
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float | None = Field(1.0, gt=0)
    temperature: float = Field(0.05, gt=0)
    symmetric: bool = False
    mask_false_negatives: bool = True
    negatives: Negatives = "in_batch"
    hard_negatives: int = Field(1, ge=1)
    rows: Rows = "in_all"
    volume: Literal["equal_per_language", "equal_total"] = "equal_per_language"
    max_examples: int | None = Field(None, ge=1)
    language_law: float = Field(0.0, ge=0, le=4)
    pair_law: float = Field(0.0, ge=0, le=4)
    languages_per_batch: int | None = Field(None, ge=1)
    learn_temperature: bool = False
    evaluate_every: int | None = Field(None, ge=1)
    patience: int | None = Field(None, ge=1)
    select: Select = "last"
    select_metric: str | None = None
    pooling: Pooling | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None
    max_query_tokens: int | None = Field(None, ge=3)
    max_passage_tokens: int | None = Field(None, ge=3)

    @field_validator(*LISTS, mode="before")
    @classmethod
    def _split(cls, value: Any, info: ValidationInfo) -> Any:
        """`de,en` on the command line is a list of two; their order and repetition mean nothing."""
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        if isinstance(value, (list, tuple)):
            for part in value:
                if not isinstance(part, str):  # YAML takes the code of Norwegian for false
                    raise ValueError(f"has {part!r}, which is no text; write it in quotes: 'no'")
        if info.field_name in LANGUAGES and isinstance(value, (list, tuple)):
            # The data say what they have instead of one that is no language.
            value = [bcp47(code) if is_language(code) else code for code in value]
        texts = isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)
        return tuple(sorted(set(value))) if value and texts else value

    @field_validator("language_law", "pair_law", mode="before")
    @classmethod
    def _power(cls, value: Any) -> Any:
        """A law's name is a power of the number of rows."""
        named = {"uniform": 0.0, "proportional": 1.0}
        if isinstance(value, str) and not re.fullmatch(r"[\d.]+", value):
            if value not in named:
                raise ValueError("is not uniform, proportional or a power from 0 to 4")
            return named[value]
        return value


class TierPlan(Frozen):
    """What a tier has beyond the space itself; its `primary` and `beside` are instead of that.

    Keys of its `optimize` are instead of the space's.
    """

    fixed: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Searched] = Field(default_factory=dict)
    tune: dict[str, Searched] = Field(default_factory=dict)
    beside: list[dict[str, Any]] | None = None
    seeds: int | None = Field(None, ge=1)
    primary: str | None = None
    optimize: dict[str, Any] = Field(default_factory=dict)


class Space(Frozen):
    """One research question.

    Attributes:
        question: As a researcher would ask it.
        fixed: Settings of every trial.
        search: Setting to the values it takes; cells are all combinations, or, with `optimize`,
            those that its sampler asks for. A setting then may be a range of numbers too, or have
            an effect only where an earlier one has some value (`study.spaces.ranges`).
        tune: The same, of settings that are no question but must suit each arm, such as the
            learning rate: every arm runs with each value and seed, and answers with its best on the
            validation benchmark. Budgets are equal by construction.
        beside: Cells beside the grid, by what each sets: encoders as they are (`steps: 0`), which
            are reference lines, and controls (`shuffle_pairs: true`). No comparison averages over
            them, nothing is tuned for them, and what `--set` sets they have too.
        seeds: Trials of each cell.
        optimize: How the space is searched, if not by all combinations.
        primary: The metric that the table is about.
        hypotheses: Declared before anything runs.
        tiers: `demo` (minutes on two cores, no network) and `full`.
    """

    question: str
    fixed: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Searched] = Field(default_factory=dict)
    tune: dict[str, Searched] = Field(default_factory=dict)
    beside: list[dict[str, Any]] = Field(default_factory=list)
    seeds: int = Field(3, ge=1)
    optimize: Optimize | None = None
    primary: str = "map/multi"
    hypotheses: list[Hypothesis] = Field(default_factory=list)
    tiers: dict[Tier, TierPlan]

    def settings(self, tier: Tier) -> dict[str, Any]:
        """Fixed settings of a tier."""
        return self.fixed | self.tiers[tier].fixed

    def factors(self, tier: Tier) -> dict[str, list[Any]]:
        """Levels of a tier's grid; the tier's values replace the space's."""
        return _levels(self.search | self.tiers[tier].search)

    def ranges(self, tier: Tier) -> dict[str, Range]:
        """All that a tier searches or tunes, where a sampler chooses its cells."""
        return self.search | self.tiers[tier].search | self.tune | self.tiers[tier].tune

    def optimized(self, tier: Tier) -> Optimize | None:
        """How a tier is searched; None where its cells are all combinations."""
        if self.optimize is None:
            return None
        given = self.optimize.model_dump(exclude_unset=True) | self.tiers[tier].optimize
        try:
            return Optimize.model_validate(given)
        except ValidationError as error:
            raise UserError(f"tiers.{tier}.optimize: {readable(error)}") from None

    def besides(self, tier: Tier) -> list[dict[str, Any]]:
        """Cells of a tier beside its grid."""
        own = self.tiers[tier].beside
        return self.beside if own is None else own

    def primary_of(self, tier: Tier) -> str:
        """The metric that the tier's table is about."""
        return self.tiers[tier].primary or self.primary

    def hypotheses_of(self, tier: Tier) -> list[dict[str, Any]]:
        """What is declared in a tier, as a plan holds it."""
        factors = self.factors(tier)
        return [h.declared(factors) for h in self.hypotheses if tier in h.tiers]

    def tuned(self, tier: Tier) -> dict[str, list[Any]]:
        """Settings tuned for each arm; the tier's values replace the space's."""
        return _levels(self.tune | self.tiers[tier].tune)


def _levels(ranges: Mapping[str, Range]) -> dict[str, list[Any]]:
    """Values of each range that has an end; those of no end, or a far one, are of no grid."""
    return {
        key: list(x.values())
        for key, x in ranges.items()
        if x.count is not None and x.count <= MOST_TRIALS
    }


def space_names() -> list[str]:
    """Names of the spaces that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_space(name: str) -> Space:
    """Read a space by name, or from a path that ends in `.yaml`.

    Raises:
        UserError: No such space, or a file that is not one.
    """
    path = Path(name) if name.endswith(".yaml") else FOLDER / f"{name}.yaml"
    if not os.path.isfile(path) and os.path.lexists(name):
        raise UserError(
            f"--space {name}: this is no plain file whose name ends in .yaml; without a path there "
            f"is {', '.join(space_names())}"
        )
    if not os.path.isfile(path) and name.endswith(".yaml"):
        raise UserError(f"--space {name}: no such file (looked in {path.absolute().parent})")
    if not os.path.isfile(path):
        hint = difflib.get_close_matches(name, space_names(), 1)
        guess = f"did you mean {hint[0]}? " if hint else ""
        raise UserError(f"--space {name}: {guess}there is {', '.join(space_names())}")
    content = read_yaml(path)
    try:
        space = Space.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {readable(error)}") from None
    for tier in space.tiers:
        _check(space, tier, str(path))
    return space


def _check(space: Space, tier: Tier, where: str) -> None:
    """Refuse what a tier cannot be planned with."""
    ranges = space.ranges(tier)
    check_ranges(ranges, where)
    if space.optimized(tier) is None:
        refuse_too_many(math.prod(searched.count or 1 for searched in ranges.values()), where)
        for key, searched in ranges.items():
            if searched.count is None or searched.when:
                raise UserError(
                    f"{where}: search.{key}: a continuous range, or one with `when`, is no grid; "
                    "add how it is searched, such as optimize: {sampler: tpe}, or list its values"
                )
    elif space.hypotheses:
        raise UserError(
            f"{where}: hypotheses: a search chooses its cells by their results, so no claim can be "
            "tested on them; declare hypotheses in a space without optimize"
        )
    for hypothesis in space.hypotheses:
        for key in hypothesis.settings():
            if key not in Settings.model_fields:
                raise UserError(_unknown(key, f"{where}: hypothesis {hypothesis.name!r}"))
    for key, searched in ranges.items():
        ends = (searched.low, searched.high) if isinstance(searched, Numbers) else searched.values()
        for value in ends:
            build_settings(space.settings(tier) | {key: value}, where=where)
    for values in ({}, *space.besides(tier)):
        build_settings(space.settings(tier) | values, where=where)


def refuse_too_many(trials: int, where: str) -> None:
    """Refuse a number of trials that nobody means.

    Raises:
        UserError: More than `MOST_TRIALS`.
    """
    if trials > MOST_TRIALS:
        raise UserError(
            f"{where}: {trials:,} trials are more than a plan may have, {MOST_TRIALS:,}; search "
            "over fewer values, choose fewer seeds, or let a sampler draw (optimize)"
        )


def build_settings(values: dict[str, Any], where: str) -> Settings:
    """Validate `values` into settings.

    Raises:
        UserError: An unknown key (with the nearest known one) or a value not allowed.
    """
    for key in values.keys() - Settings.model_fields.keys():
        raise UserError(_unknown(key, where))
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lists = [key for key, value in values.items() if isinstance(value, list)]
        several = [key for key in lists if key not in LISTS]
        wrong = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
        found = sorted(wrong.intersection(several))
        hint = f"\nseveral values of {found[0]} are compared under search" if found else ""
        raise UserError(f"{where}: {readable(error)}{hint}") from None


def _unknown(key: str, where: str) -> str:
    """What is said of a key that is no setting."""
    hint = difflib.get_close_matches(key, Settings.model_fields, 1)
    guess = f"did you mean {hint[0]}? " if hint else ""
    return f"{where}: unknown key {key!r}; {guess}keys are {', '.join(Settings.model_fields)}"


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """`KEY=VALUE` strings of the command line; the settings' own types read the values.

    `null` and `none` leave a setting out, and blanks around a value mean nothing; but prefixes are
    taken as they are typed.

    Raises:
        UserError: A string without `=`, or a key given twice.
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


def refuse_several(assigned: Mapping[str, Any], space: Space, tier: Tier, name: str) -> None:
    """Refuse several values where a setting takes one, and say where they are compared.

    Args:
        assigned: As `parse_assignments` gives them.
        space: What they are assigned in.
        tier: Of it.
        name: Of the space, or its path.

    Raises:
        UserError: A list for a setting that is none, or a list in brackets.
    """
    for key, value in assigned.items():
        if key in TEXTS or not isinstance(value, str):
            continue
        if key in LISTS and value.startswith("["):
            raise UserError(
                f"--set {key}={value}: write the values with commas between and no brackets, such "
                f"as --set {key}=de,en"
            )
        if key in LISTS or not re.search(r"^\[|,", value) or Path(value).exists():
            continue
        own = name.endswith(".yaml")
        levels = space.factors(tier).get(key) or space.tuned(tier).get(key)
        searched = f"; it is searched over {', '.join(map(str, levels))}" if levels else ""
        where = name if own else f"a copy of study/spaces/{name}.yaml"
        raise UserError(
            f"--set {key}={value}: {key} takes one value{searched}. To compare others, write "
            f"search: {{{key}: [{value.strip('[]')}]}} in {where}"
            + ("" if own else " and run it with --space ./mine.yaml")
        )
