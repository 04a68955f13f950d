"""Losses and metrics of a known trial: what changes them must raise `RECIPE` in spec.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.samples import embedded_spec
from trainables.finetune import finetune
from trainables.spec import RECIPE, Spec
from trainables.trial.trial_folder import TrialFolder, read_json

GOLDEN_RECIPE = 3
KNOWN = {
    "hybrid": ([2.857898, 2.807745, 2.776144, 2.758749, 2.774383, 2.793011], 0.0271923, 0.0245013),
    "row-hybrid": (
        [2.907209, 2.788464, 2.761481, 2.760113, 2.756757, 2.786927],
        0.0303376,
        0.0260549,
    ),
    "X-Y-fixed": (
        [2.834328, 2.827184, 2.764242, 2.766978, 2.765551, 2.774496],
        0.0240604,
        0.0268968,
    ),
    "X-X-mixed": (
        [2.857897, 2.764822, 2.722821, 2.721770, 2.743632, 2.787816],
        0.0274288,
        0.0227121,
    ),
}
"""Sampling to the losses of six steps, and mono and cross mAP after them."""


def known_spec(sampling: str) -> Spec:
    """A trial of six steps."""
    changes: dict[str, Any] = {
        "learning_rate": 5e-3,
        "steps": 6,
        "batch_size": 16,
        "sampling": sampling,
        "languages": ["qaa", "qab", "qad"],
        "eval_languages": ["qaa", "qad"],
        "alpha": 0.5,
        "symmetric": True,
    }
    return embedded_spec(**changes)


@pytest.mark.parametrize("sampling", KNOWN)
def test_a_known_trial_gives_known_numbers(tmp_path: Path, sampling: str) -> None:
    spec = known_spec(sampling)
    folder = TrialFolder.of(tmp_path, spec.digest)
    losses = [e.loss for e in finetune(spec, folder, places={}) if e.kind == "stepped"]
    metrics = folder.result()["metrics"]
    known_losses, mono, cross = KNOWN[sampling]
    assert RECIPE == GOLDEN_RECIPE, "the recipe was raised: measure the golden numbers anew"
    assert losses == pytest.approx(known_losses, abs=1e-4)
    assert metrics["map/mono"] == pytest.approx(mono, abs=1e-4)
    assert metrics["map/cross"] == pytest.approx(cross, abs=1e-4)
    history = read_json(folder.committed() / "history.json")["points"]
    assert [point["train/loss"] for point in history] == losses
