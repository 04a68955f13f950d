"""Small valid things that several tests start from."""

from __future__ import annotations

from typing import Any

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
