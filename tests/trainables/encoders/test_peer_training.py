"""The same work as sentence-transformers: equal losses, step after step."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.race import Job, race
from trainables.encoders.text import TextEncoder

ROOT = Path(__file__).resolve().parents[3]
STEPS, BATCH = 20, 8
WORDS = [
    "man",
    "eating",
    "food",
    "quick",
    "brown",
    "fox",
    "jumps",
    "lazy",
    "dog",
    "river",
    "end",
    "sea",
    "Mann",
    "isst",
    "Brot",
]


def texts(seed: int, longest: int) -> list[str]:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, longest, STEPS * BATCH)
    return [" ".join(random.choice(WORDS, size)) for size in sizes]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("budget", [None, 64])
def test_losses_follow_those_of_sentence_transformers(
    checkpoints: Callable[[str], Path], tmp_path: Path, kind: str, budget: int | None
) -> None:
    """Sorted and cut, and cached on both sides where a budget asks for it."""
    peer = Path(os.environ.get("PEERS_PYTHON") or ROOT / ".peers" / "bin" / "python")
    if not peer.exists():
        pytest.skip("no environment of peers: run make peers, or set PEERS_PYTHON")
    encoder = TextEncoder.load(checkpoints(kind))
    plain = {"query_prefix": "", "passage_prefix": ""}
    encoder.ref = encoder.ref.model_copy(update=plain)
    encoder.save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    path.write_text(json.dumps(config | rates), encoding="utf-8")
    job = Job(
        model=str(tmp_path / "model"),
        queries=texts(1, 6),
        passages=texts(2, 16),
        batch_size=BATCH,
        cap=20,
        threads=1,
        mini_batch=None if budget is None else 4,
        micro_batch_tokens=budget,
        learning_rate=1e-3,
    )
    ours, theirs = race(job, job, tmp_path, peer)
    losses = [step["loss"] for step in ours]
    assert losses == pytest.approx([step["loss"] for step in theirs], abs=1e-4)
    assert max(losses) - min(losses) > 0.1, "training moved something"
