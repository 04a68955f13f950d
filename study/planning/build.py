"""Turn a space into a plan: cells times seeds, or a search."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from study.analysis.contrasts import contrasts_of
from study.search.points import Points
from study.spaces.optimize import Optimize
from study.spaces.resolve import Resolver, trained_on, training_source
from study.spaces.schema import Space, Tier, refuse_too_many
from study.spaces.search_plan import search_of
from study.spaces.settings import EVALUATION_KEYS, TEXTS, Settings, build_settings
from study.state.plan import Cell, Plan, PlannedTrial, label_of
from trainables.data import catalog
from trainables.errors import UserError
from trainables.spec import Spec

NOT_IN_NAMES = r"[^A-Za-z0-9.=+_-]+"
"""Runs of characters that a default study name replaces by a hyphen."""

DATA_FIELDS = ("also", "languages", "train", "validation")
"""Settings that a tier chooses to suit its benchmark."""


def make_plan(
    space: Space,
    space_name: str,
    tier: Tier,
    overrides: Mapping[str, Any],
    *,
    data_dir: Path | None = None,
    seeds: int | None = None,
    name: str | None = None,
    missing: dict[str, str] | None = None,
    optimize: Optimize | None = None,
) -> tuple[Plan, dict[str, str]]:
    """Enumerate the cells and seeds of a space, or describe its search.

    Args:
        space: The research question.
        space_name: Name or path of the space.
        tier: `demo` or `full`.
        overrides: Settings that replace the space's, whether fixed or searched there.
        data_dir: Folder with the source's own files; not needed for embedded data.
        seeds: Number of seeds, replacing the space's.
        name: Study name, replacing the default name.
        missing: Filled with the data and checkpoints that are not at hand and where to get them;
            such a plan cannot be run. If None, missing files are an error.
        optimize: How to search the space; None plans all combinations. A search declares no
            hypotheses, because cells that were chosen by their results cannot test any.

    Returns:
        The plan, and a mapping from digest to folder for data and checkpoints that lie in files.

    Raises:
        UserError: A setting or file is invalid.
    """
    space = space.for_tier(tier)
    base = _base(space, overrides)
    settings = build_settings(base, where="--set")
    ranges = {k: r for k, r in space.ranges.items() if k not in overrides}
    factors, tuned = _factors(space, overrides, settings)
    if optimize is not None:
        _refuse_unselected(settings, list(ranges))
        factors, tuned = {k: v for k, v in factors.items() if k in EVALUATION_KEYS}, ()
    elif settings.steps > 0:
        _refuse_unselected(settings, tuned)
    primary, beside = space.primary, space.beside
    resolver = Resolver(
        data_dir,
        primary,
        tolerant=missing is not None,
        trained_on=trained_on(settings.train, ranges, beside) if settings.steps else (),
    )
    cells = _Cells(resolver, base, f"space {space_name}", _held_out(settings))
    count = seeds or space.seeds
    sizes = map(len, factors.values())
    refuse_too_many(count * (math.prod(sizes) + len(beside)), f"space {space_name}")
    points = _grid(factors)
    for point in points:
        cells.add(_untrained(point), point | {"steps": 0}, 1)
    if settings.steps > 0 and optimize is None:
        for point in points:
            cells.add(point, point, count)
    for point in beside:
        params = {k: v for k, v in point.items() if k not in overrides or k == "steps"}
        if settings.steps > 0 or params.get("steps") == 0:
            cells.add(params, params, 1 if params.get("steps") == 0 else count, beside=True)
    search = None
    if optimize is not None:
        refuse_too_many(optimize.trials, f"space {space_name}: optimize")
        search = search_of(optimize, ranges, settings, primary, held_out=cells.held_out)
        list(Points(search, resolver).probes())  # refuses values that make no valid spec
    declared = space.optimize
    differs = optimize is not None and (declared is None or declared.sampler != optimize.sampler)
    changed = dict(overrides) | ({"sampler": optimize.sampler} if optimize and differs else {})
    plan = Plan(
        name=default_name(space_name, tier, changed, seeds) if name is None else name,
        space=space_name,
        tier=tier,
        question=" ".join(space.question.split()),
        primary=primary,
        settings=settings.model_dump(
            mode="json", exclude={"encoder", *factors, *(ranges if search else ())}
        ),
        cells=tuple(cells.by_label.values()),
        specs=cells.specs,
        hypotheses=() if search else tuple(h.declared(space.factors) for h in space.hypotheses),
        tuned=tuned,
        search=search,
    )
    _refuse_hypotheses(space, plan)
    if missing is not None:
        missing.update(resolver.missing)
    return plan, resolver.places


def _refuse_hypotheses(space: Space, plan: Plan) -> None:
    """Refuse hypotheses about cells that the space lacks even without overrides.

    Overrides may remove cells that a hypothesis needs; that is not an error.

    Raises:
        UserError: A hypothesis names cells that the space does not have.
    """
    grid = _grid(space.factors | space.tuned)
    params = [*map(_untrained, grid), *grid]
    cells = {label_of(point): Cell(params=point, trials=()) for point in params}
    beside = [Cell(params=point, trials=(), beside=True) for point in space.beside]
    full_plan = plan.model_copy(
        update={"cells": (*cells.values(), *beside), "tuned": tuple(space.tuned)}
    )
    for hypothesis in plan.hypotheses:
        for contrast in contrasts_of(full_plan, hypothesis):
            if contrast.problem:
                raise UserError(
                    f"space {plan.space}: hypothesis {hypothesis['name']!r}: {contrast.problem}\n"
                    "name levels that the space searches, add the level to search, or limit the "
                    "hypothesis to the tiers that have it (tiers: [demo])"
                )


def _grid(factors: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """List all combinations of the factors' levels."""
    return [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]


def _untrained(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the cell that evaluates a point's encoder untrained."""
    return {k: v for k, v in point.items() if k in EVALUATION_KEYS} | {"steps": 0}


@dataclass
class _Cells:
    """Distinct cells of a plan and the specs of their trials."""

    resolver: Resolver
    base: Mapping[str, Any]
    where: str
    held_out: bool
    by_label: dict[str, Cell] = field(default_factory=dict)
    specs: dict[str, Spec] = field(default_factory=dict)

    def add(
        self, params: dict[str, Any], values: dict[str, Any], seeds: int, *, beside: bool = False
    ) -> None:
        """Add one cell unless the plan has it.

        Args:
            params: Parameters that label the cell.
            values: Settings that replace those of `base`.
            seeds: Number of trials; a spec without random draws gets one.
            beside: Whether the cell lies outside of the grid.
        """
        label = label_of(params)
        if label in self.by_label:
            return
        chosen = build_settings(dict(self.base) | values, where=self.where)
        first = self.resolver.spec(chosen, 0, held_out=self.held_out)
        drawn = range(1, seeds) if first.seed is not None else ()
        trials = []
        for spec in (first, *(first.model_copy(update={"seed": seed}) for seed in drawn)):
            digest = spec.digest
            self.specs[digest] = spec
            trials.append(PlannedTrial(digest=digest, seed=spec.seed))
        self.by_label[label] = Cell(params=params, trials=tuple(trials), beside=beside)


def _base(space: Space, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the settings that all cells share."""
    base = space.fixed | dict(overrides)
    if "benchmark" not in overrides:
        return base
    # a tier's data suit its benchmark: with another one, defaults apply unless the user names data
    return {k: v for k, v in base.items() if k not in DATA_FIELDS or k in overrides}


def _factors(
    space: Space, overrides: Mapping[str, Any], settings: Settings
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the levels of all factors, and the names of those that are tuned."""
    tuned = space.tuned
    if "benchmark" in overrides and not _selects(settings):
        tuned = {}
    factors = {k: v for k, v in (space.factors | tuned).items() if k not in overrides}
    return factors, tuple(key for key in tuned if key in factors)


def _held_out(settings: Settings) -> bool:
    """Return whether the test is the part that training on the same source leaves out."""
    source, part = training_source(settings)
    same = settings.steps > 0 and source == catalog.split_name(settings.benchmark)[0]
    return same and catalog.is_divided(source, part)


def _selects(settings: Settings) -> bool:
    """Return whether there is a validation benchmark to select by (law 5)."""
    if settings.validation == "own":
        return catalog.is_embedded(settings.benchmark)
    return settings.validation is not None


def _refuse_unselected(settings: Settings, tuned: Sequence[str]) -> None:
    if tuned and not _selects(settings):
        given = " ".join(f"--set {key}=VALUE" for key in tuned)
        raise UserError(
            f"validation {settings.validation}: {', '.join(tuned)} is tuned for each arm by a "
            f"validation benchmark, and the test must not be read; name one with --set "
            f"validation=NAME:PART, or fix what is tuned: {given}"
        )


def default_name(
    space: str, tier: Tier, overrides: Mapping[str, Any], seeds: int | None = None
) -> str:
    """Name a study by space, tier and overrides, in characters that suit a folder name."""
    changes = dict(overrides) | ({"seeds": seeds} if seeds else {})
    words = [Path(space).stem, tier]
    for key in sorted(changes):
        value = changes[key]
        text = str(value)
        if key == "encoder":
            text = "-".join(Path(text).parts[-2:])
        if isinstance(value, (list, tuple)):
            text = "+".join(map(str, value))
        if key in TEXTS and re.search(NOT_IN_NAMES, text):
            # prefixes that differ only in replaced characters, such as blanks, are two studies
            text += hashlib.sha256(text.encode()).hexdigest()[:6]
        words.append(text if key in ("benchmark", "encoder") else f"{key}={text}")
    name = re.sub(NOT_IN_NAMES, "-", "-".join(words))
    if len(name) > 100:
        name = f"{name[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return name
