"""A space with a sampler becomes the search of a plan."""

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
    """How a space is searched, with what the command line says of it; None for its grid.

    Args:
        space: Which may have a search of its own.
        tier: Of it.
        sampler: Instead of the space's.
        budget: Keys of `BUDGETS`, instead of the space's.
        seeds: Trials of each cell, instead of the space's.

    Raises:
        UserError: An unknown sampler, or a budget for a grid, which has an end of its own.
    """
    if sampler is not None and sampler not in SAMPLERS:
        raise UserError(f"--sampler {sampler}: choose {', '.join(SAMPLERS)}")
    own = space.for_tier(tier).optimize
    if own is None and sampler in (None, "grid"):
        if budget:
            key = next(iter(budget)).replace("_", "-")
            raise UserError(
                f"--{key}: this space is a grid, of which all cells are run; search it with "
                "--sampler random, qmc or tpe"
            )
        return None
    given: dict[str, Any] = {} if own is None else own.model_dump(exclude_unset=True)
    given |= budget
    if sampler:
        given["sampler"] = sampler
    if seeds is not None:
        most = max(seeds, own.seeds.most) if own is not None else seeds
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
    """Everything that a search is, as a plan holds it.

    Args:
        optimize: How it is searched.
        ranges: What is searched; settings that were given on the command line left out.
        settings: All settings where nothing is searched.
        primary: The space's primary metric.
        held_out: As of `Resolver.spec`.

    Raises:
        UserError: Nothing is left to search, or a sampler that cannot search it.
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
            "objectives": [one.model_dump() for one in objectives],
            "ranges": {key: searched.model_dump() for key, searched in ranges.items()},
            "base": settings.model_dump(mode="json", exclude_none=True),
            "held_out": held_out,
        }
    )
    for point in search.points:
        _check_point(search, point)
    return search


def _unconditional(key: str, ranges: Mapping[str, Range]) -> Range:
    """A range without its conditions on settings that `--set` has fixed."""
    when = {name: values for name, values in (ranges[key].when or {}).items() if name in ranges}
    return ranges[key].model_copy(update={"when": when or None})


def _check_point(search: SearchPlan, point: Mapping[str, Any]) -> None:
    """Refuse a point to try first that is not of the space."""
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
