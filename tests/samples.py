"""Small valid things that several tests start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainables.data import catalog
from trainables.encoders import registry
from trainables.spec import Spec, TrainingSettings, build_spec

DATA = {"name": "synthetic", "digest": "d" * 20}
ENCODER = {
    "name": "embedded/small",
    "digest": "e" * 20,
    "pooling": "mean",
    "max_query_tokens": 32,
    "max_passage_tokens": 64,
}


def values(**changes: Any) -> dict[str, Any]:
    return {
        "encoder": ENCODER,
        "test": DATA | {"part": "test"},
        "train": DATA | {"part": "train"},
        "languages": ["qab", "qaa"],
        "seed": 0,
        "sampling": "hybrid",
        "alpha": 0.5,
        "shuffle_pairs": False,
        "batch_size": 32,
        "steps": 10,
        "learning_rate": 1e-3,
        "warmup": 0.1,
        "schedule": "linear",
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "temperature": 0.05,
        "symmetric": False,
        "mask_false_negatives": True,
    } | changes


def embedded_spec(
    *,
    benchmark: str = "synthetic",
    encoder: str = "embedded/small",
    eval_languages: Sequence[str] | None = None,
    max_rows: int | None = None,
    **settings: Any,
) -> Spec:
    """A trial of the embedded world: training settings by default but for those that are given."""
    chosen = TrainingSettings.model_validate(settings)
    languages = chosen.languages or catalog.source(benchmark).languages
    whole = catalog.reference(benchmark, languages=eval_languages)
    pictured = catalog.has_pictures(benchmark)
    return build_spec(
        chosen.model_dump(include=set(Spec.model_fields))
        | {
            "seed": 0,
            "encoder": registry.reference(encoder, benchmark, {})[0],
            "test": whole,
            "validation": whole.model_copy(update={"part": "validation"}),
            "train": catalog.reference(benchmark, part="train", training=True),
            "languages": sorted(languages),
            "max_rows": max_rows,
            "pairs": (chosen.pairs or "image") if pictured else None,
            "image_tower": chosen.image_tower if pictured else None,
            "select_metric": chosen.select_metric or ("map/t2i" if pictured else "map/multi"),
        }
    )
