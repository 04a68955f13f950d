"""Schema of a space file: a research question, its settings, cells, tiers and hypotheses."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from study.spaces.hypothesis import Hypothesis
from study.spaces.hypothesis import Tier as Tier
from study.spaces.optimize import Optimize
from study.spaces.ranges import Numbers, Range, Searched, check_ranges
from study.spaces.settings import LISTS, TEXTS, build_settings, refuse_unknown
from study.spaces.yaml_file import read_yaml
from trainables.errors import UserError
from trainables.spec import Frozen, format_validation_error

FOLDER = Path(__file__).parent

MOST_TRIALS = 100_000
"""Most trials of a plan, and most cells of a grid."""


class TierPlan(Frozen):
    """A tier's part of a space; its values replace the space's key by key."""

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
        question: The question as a researcher would ask it.
        fixed: Settings of every trial.
        search: Setting to its levels; cells are all their combinations. With `optimize`, a sampler
            proposes the cells; a range may then be continuous, or conditional on an earlier
            setting (`study.spaces.ranges`).
        tune: The same for settings that are not part of the question but must suit each arm, such
            as the learning rate: every arm runs with each value and seed, and its best on the
            validation benchmark stands for it. All arms thus have equal tuning budgets.
        beside: Cells outside of the grid, as the settings that each changes: untrained encoders
            (`steps: 0`) as reference lines, and controls (`shuffle_pairs: true`). No comparison
            averages over them and nothing is tuned for them; `--set` applies to them too.
        seeds: Trials of each cell.
        optimize: The sampler's search; None runs all combinations.
        primary: Metric of the results table.
        hypotheses: Hypotheses declared before any trial runs.
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

    def for_tier(self, tier: Tier) -> Space:
        """Apply a tier's part to the space.

        Raises:
            UserError: The tier's `optimize` is invalid.
        """
        part = self.tiers[tier]
        changes = part.model_dump(include={"beside", "seeds", "primary"}, exclude_none=True)
        changes |= {
            "fixed": self.fixed | part.fixed,
            "search": self.search | part.search,
            "tune": self.tune | part.tune,
            "hypotheses": [
                hypothesis for hypothesis in self.hypotheses if tier in hypothesis.tiers
            ],
        }
        if self.optimize is not None:
            given = self.optimize.model_dump(exclude_unset=True) | part.optimize
            try:
                changes["optimize"] = Optimize.model_validate(given)
            except ValidationError as error:
                problem = format_validation_error(error)
                raise UserError(f"tiers.{tier}.optimize: {problem}") from None
        return self.model_copy(update=changes)

    @property
    def ranges(self) -> dict[str, Range]:
        """Ranges of all searched and tuned settings."""
        return self.search | self.tune

    @property
    def factors(self) -> dict[str, list[Any]]:
        """Levels of each searched setting."""
        return _levels(self.search)

    @property
    def tuned(self) -> dict[str, list[Any]]:
        """Levels of each tuned setting."""
        return _levels(self.tune)


def _levels(ranges: Mapping[str, Range]) -> dict[str, list[Any]]:
    """List the values of each range that has at most `MOST_TRIALS`."""
    return {
        key: list(x.values())
        for key, x in ranges.items()
        if x.count is not None and x.count <= MOST_TRIALS
    }


def space_names() -> list[str]:
    """Return names of the built-in spaces, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_space(name: str) -> Space:
    """Read a space by name, or from a path that ends in `.yaml`.

    Raises:
        UserError: There is no such space, or the file is not a valid one.
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
        raise UserError(f"{path}: {format_validation_error(error)}") from None
    for tier in space.tiers:
        _check(space, tier, str(path))
    return space


def _check(space: Space, tier: Tier, where: str) -> None:
    """Check that a tier can be planned."""
    in_tier = space.for_tier(tier)
    ranges = in_tier.ranges
    check_ranges(ranges, where)
    if in_tier.optimize is None:
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
            refuse_unknown(key, f"{where}: hypothesis {hypothesis.name!r}")
    for key, searched in ranges.items():
        ends = (searched.low, searched.high) if isinstance(searched, Numbers) else searched.values()
        for value in ends:
            build_settings(in_tier.fixed | {key: value}, where=where)
    for values in ({}, *in_tier.beside):
        build_settings(in_tier.fixed | values, where=where)


def refuse_too_many(trials: int, where: str) -> None:
    """Refuse more trials than a plan may have.

    Raises:
        UserError: More than `MOST_TRIALS`.
    """
    if trials > MOST_TRIALS:
        raise UserError(
            f"{where}: {trials:,} trials are more than a plan may have, {MOST_TRIALS:,}; search "
            "over fewer values, choose fewer seeds, or let a sampler draw (optimize)"
        )


def refuse_several(assigned: Mapping[str, Any], space: Space, tier: Tier, name: str) -> None:
    """Refuse several values for a setting that takes one, and tell how to compare them.

    Args:
        assigned: Assignments as `parse_assignments` returns them.
        space: Space that they override.
        tier: Tier of the space.
        name: Name or path of the space.

    Raises:
        UserError: Several values for a setting that takes one, or a list in brackets.
    """
    own_file, in_tier = name.endswith(".yaml"), space.for_tier(tier)
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
        levels = (in_tier.tuned | in_tier.factors).get(key)
        searched = f"; it is searched over {', '.join(map(str, levels))}" if levels else ""
        where = name if own_file else f"a copy of study/spaces/{name}.yaml"
        raise UserError(
            f"--set {key}={value}: {key} takes one value{searched}. To compare others, write "
            f"search: {{{key}: [{value.strip('[]')}]}} in {where}"
            + ("" if own_file else " and run it with --space ./mine.yaml")
        )
