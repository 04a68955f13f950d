"""What of a spec has no effect and is left out of it, and what in it contradicts itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.spec import Spec

REQUIRED = frozenset(
    {
        "seed",
        "train",
        "languages",
        "sampling",
        "shuffle_pairs",
        "batch_size",
        "learning_rate",
        "warmup",
        "schedule",
        "weight_decay",
        "temperature",
        "symmetric",
        "mask_false_negatives",
    }
)
"""Fields that a spec with steps must say."""

OPTIONAL = frozenset(
    {
        "alpha",
        "pairs",
        "image_tower",
        "max_grad_norm",
        "negatives",
        "hard_negatives",
        "rows",
        "max_rows",
        "language_law",
        "pair_law",
        "languages_per_batch",
        "learn_temperature",
        "evaluate_every",
        "patience",
        "select",
        "select_metric",
    }
)
"""Fields of training that are None where they have no effect."""

COIN_ENDS: dict[str, dict[float | None, str]] = {
    "hybrid": {0: "X-Y", 1: "X-X"},
    "row-hybrid": {0: "X-Y", 1: "X-X-mixed"},
}
"""What a sampling with a coin is when the coin always falls on one side."""

COLDEST = 0.01
"""A learnt temperature stays above it, as CLIP's logit scale stays below 100."""


PICTURED: dict[str, str] = {"X-X-mixed": "X-Y", "row-hybrid": "X-Y", "X-Y-fixed": "X-X"}
"""What a sampling of pictures is where every passage is a picture, which has no language."""

SELECTING = re.compile(r"(map|mrr|recall|hit|ndcg)(_at_\d+)?/.")
"""Metrics of which more is better."""


def canonical(values: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what has no effect, so that equal experiments are equal specs.

    Raises:
        ValueError: A value that would be dropped is not allowed.
    """
    values = dict(values)
    if not values.get("also"):
        values.pop("also", None)
    if values.get("steps") == 0:
        kept = {k: v for k, v in values.items() if k not in REQUIRED | OPTIONAL}
        return kept | {"steps": 0}
    found = values
    if found.get("languages") is not None:
        found["languages"] = tuple(sorted(set(found["languages"])))
    ends = COIN_ENDS.get(found.get("sampling", ""), {})
    found["sampling"] = ends.get(found.get("alpha"), found.get("sampling"))
    _of_pictures(found)
    if found["sampling"] not in ("hybrid", "row-hybrid") and found["sampling"]:
        alpha = found.pop("alpha", None)
        if alpha is not None and not 0 <= float(alpha) <= 1:
            raise ValueError(f"alpha {alpha} is not between 0 and 1")
    if found["sampling"] == "X-X-mixed" and found.get("languages_per_batch") == 1:
        found["sampling"] = "X-X"
    return {key: value for key, value in found.items() if not _idle(key, value, found)}


def _of_pictures(found: dict[str, Any]) -> None:
    """Say an arm of pictures as the simplest sampling that draws the same batches."""
    if found.get("pairs") is None:
        return
    if found["sampling"] == "X-X-mixed":
        found["pairs"] = "image"
    if found["pairs"] == "image":
        found["sampling"] = PICTURED.get(found["sampling"], found["sampling"])


def _idle(key: str, value: Any, found: Mapping[str, Any]) -> bool:
    """Whether a field of training is at a value, or among others, that leave it without effect."""
    sampling, languages = found.get("sampling"), found.get("languages") or ()
    everywhere = found.get("rows") in (None, "in_all")
    without_hard = found.get("negatives") in (None, "in_batch")
    one_kind = sampling in ("X-X", "X-Y-fixed")
    chooses = found.get("select") == "best" or found.get("patience") is not None
    match key:
        case "pairs":
            return sampling == "X-X"
        case "image_tower":
            return bool(value == "frozen")
        case "negatives":
            return bool(value == "in_batch")
        case "hard_negatives":
            return value == 1 or without_hard
        case "rows":
            return bool(value == "in_all")
        case "language_law":
            return value == 0 or everywhere or sampling in ("X-Y", "X-Y-fixed")
        case "pair_law":
            return value == 0 or everywhere or sampling in ("X-X", "X-X-mixed")
        case "languages_per_batch":
            return value is not None and (one_kind or value >= len(languages))
        case "learn_temperature":
            return value is False
        case "select":
            return bool(value == "last")
        case "select_metric":
            return not chooses
    return False


def contradictions(spec: Spec) -> Iterator[str]:
    """What keeps a spec with steps from being an experiment, each with what to do."""
    yield from _of_languages(spec)
    if spec.symmetric and spec.negatives in ("hard", "paper_eq1"):
        yield (
            f"symmetric adds passages against in-batch queries, and negatives={spec.negatives} "
            "has nothing in-batch; use negatives=both, or symmetric=false"
        )
    if spec.learn_temperature and spec.temperature is not None and spec.temperature < COLDEST:
        yield (
            f"temperature {spec.temperature}: a learnt one stays above {COLDEST}; start there or "
            "higher, or use learn_temperature=false"
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
    asks = [key for key in ("patience", "select") if getattr(spec, key) is not None]
    if asks and spec.evaluate_every is None:
        yield f"{asks[0]} {getattr(spec, asks[0])}: say how often to look: --set evaluate_every=N"
    if spec.evaluate_every is not None and spec.validation is None:
        yield (
            f"evaluate_every {spec.evaluate_every}: there is no validation benchmark, and the test "
            "must not be read; name one with --set validation=NAME or NAME:PART"
        )
    if asks and spec.select_metric is None:
        yield f"{asks[0]} {getattr(spec, asks[0])}: say by what: --set select_metric=map/multi"
    if spec.select_metric is not None and not SELECTING.match(spec.select_metric):
        yield (
            f"select_metric {spec.select_metric}: no measure of retrieval, where more is better; "
            "choose one such as map/multi, map/mono or ndcg_at_10/cross"
        )
