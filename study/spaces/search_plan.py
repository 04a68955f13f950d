"""Combine a space's `optimize` with the command line, and turn it into the search of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from study.spaces.grid import endless
from study.spaces.optimize import SAMPLERS, Objective, Optimize, SearchPlan
from study.spaces.ranges import Range, active
from study.spaces.schema import Space, Tier
from study.spaces.settings import Settings
from trainables.errors import UserError
from trainables.spec import format_validation_error


def search_options(
    space: Space,
    tier: Tier,
    sampler: str | None,
    budget: Mapping[str, Any],
    seeds: int | None = None,
) -> Optimize | None:
    """Merge a space's `optimize` with the command line's options; None for a grid.

    Args:
        space: Space, with or without a search of its own.
        tier: Tier of the space.
        sampler: Sampler, replacing the space's.
        budget: Values for keys of `BUDGETS`, replacing the space's.
        seeds: Trials of each cell, replacing the space's.

    Raises:
        UserError: The sampler is unknown, or a budget is given for a grid, which needs none.
    """
    if sampler is not None and sampler not in SAMPLERS:
        raise UserError(f"--sampler {sampler}: choose {', '.join(SAMPLERS)}")
    declared = space.for_tier(tier).optimize
    if declared is None and sampler in (None, "grid"):
        if budget:
            key = next(iter(budget)).replace("_", "-")
            raise UserError(
                f"--{key}: this space is a grid, of which all cells are run; search it with "
                "--sampler random, qmc or tpe"
            )
        return None
    given: dict[str, Any] = {} if declared is None else declared.model_dump(exclude_unset=True)
    given |= budget
    if sampler:
        given["sampler"] = sampler
    if seeds is not None:
        most = max(seeds, declared.seeds.most) if declared is not None else seeds
        given["seeds"] = {"first": seeds, "most": most}
    try:
        return Optimize.model_validate(given)
    except ValidationError as error:
        raise UserError(f"optimize: {format_validation_error(error)}") from None


def search_of(
    optimize: Optimize,
    ranges: Mapping[str, Range],
    settings: Settings,
    primary: str,
    *,
    held_out: bool,
) -> SearchPlan:
    """Build the search of a plan.

    Args:
        optimize: The search's options.
        ranges: Ranges to search, without settings that the command line fixes.
        settings: Values of all settings outside of the search.
        primary: The space's primary metric.
        held_out: As for `Resolver.spec`.

    Raises:
        UserError: Nothing is left to search, the sampler cannot search these ranges, or a point of
            `optimize.points` lies outside of them.
    """
    if not ranges:
        raise UserError(
            f"sampler {optimize.sampler}: nothing is left to search; leave out a --set of what the "
            "space searches, or --sampler"
        )
    ranges = {key: _unconditional(key, ranges) for key in ranges}
    if optimize.sampler == "grid" and (continuous := endless(ranges)):
        raise UserError(
            f"sampler grid: {', '.join(continuous)} is a continuous range, and a grid has an end; "
            "give it a step, list its values, or choose --sampler qmc"
        )
    objectives = optimize.objectives or (Objective.model_validate(primary),)
    search = SearchPlan.model_validate(
        optimize.model_dump(exclude_unset=True)
        | {
            "objectives": [objective.model_dump() for objective in objectives],
            "ranges": {key: searched.model_dump() for key, searched in ranges.items()},
            "base": settings.model_dump(mode="json", exclude_none=True),
            "held_out": held_out,
        }
    )
    for point in search.points:
        _check_point(search, point)
    return search


def _unconditional(key: str, ranges: Mapping[str, Range]) -> Range:
    """Drop a range's conditions on settings that `--set` has fixed."""
    when = {name: values for name, values in (ranges[key].when or {}).items() if name in ranges}
    return ranges[key].model_copy(update={"when": when or None})


def _check_point(search: SearchPlan, point: Mapping[str, Any]) -> None:
    """Refuse a point of `optimize.points` that lies outside of the searched space."""
    for key, value in point.items():
        if key not in search.ranges:
            known = ", ".join(search.ranges)
            raise UserError(f"optimize.points: {key} is not searched; searched are {known}")
        if not search.ranges[key].contains(value):
            raise UserError(f"optimize.points: {key}: {value!r} is outside of what is searched")
    known_point = {key: point[key] for key in search.ranges if key in point}
    for key in known_point:
        when = search.ranges[key].when or {}
        if when.keys() <= known_point.keys() and not active(search.ranges, known_point, key):
            raise UserError(f"optimize.points: {key} has no effect at {dict(point)}; leave it out")
