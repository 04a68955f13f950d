"""Canonical settings: those without effect are left out, so that equal experiments are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.spec.settings import Effect

SAMPLING_AT_ENDS: dict[str, dict[float | None, str]] = {
    "hybrid": {0: "X-Y", 1: "X-X"},
    "row-hybrid": {0: "X-Y", 1: "X-X-mixed"},
}
"""Equivalents of samplings whose coin always falls on one side, by alpha."""

SAMPLING_OF_IMAGES = {"X-X-mixed": "X-Y", "row-hybrid": "X-Y", "X-Y-fixed": "X-X"}
"""Equivalents of samplings if every passage is a picture, which has no language."""


def canonical(values: Mapping[str, Any], effects: Mapping[str, Effect]) -> dict[str, Any]:
    """Leave out settings without effect, so that equal experiments have equal specs.

    Args:
        values: Values of a spec's fields.
        effects: Effects of its training settings.

    Raises:
        ValueError: `alpha` has no effect but is not between 0 and 1.
    """
    values = dict(values)
    if not values.get("also"):
        values.pop("also", None)
    if values.get("steps") == 0:
        return {k: v for k, v in values.items() if k not in effects} | {"steps": 0}
    if values.get("languages") is not None:
        values["languages"] = tuple(sorted(set(values["languages"])))
    values["sampling"] = _sampling(values)
    if values.get("pairs") is not None and values["sampling"] == "X-X-mixed":
        values["pairs"] = "image"
    if values.get("pairs") == "image":
        values["sampling"] = SAMPLING_OF_IMAGES.get(values["sampling"], values["sampling"])
    limit = values.get("languages_per_batch")
    if limit == 1 and values["sampling"] == "X-X-mixed":
        values["sampling"] = "X-X"
    if limit is not None and limit >= len(values.get("languages") or ()):
        del values["languages_per_batch"]
    alpha = values.get("alpha")
    if alpha is not None and not effects["alpha"].applies(values) and not 0 <= float(alpha) <= 1:
        raise ValueError(f"alpha {alpha} is not between 0 and 1")
    return {
        key: value
        for key, value in values.items()
        if key not in effects or (value != effects[key].neutral and effects[key].applies(values))
    }


def _sampling(values: Mapping[str, Any]) -> Any:
    sampling = values.get("sampling")
    return SAMPLING_AT_ENDS.get(sampling or "", {}).get(values.get("alpha"), sampling)
