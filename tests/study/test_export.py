"""An exported encoder is the trial's own, wherever it is loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from study.cli.app import main
from tests.study.inline import forked, study, warm, write_space
from trainables.encoders.text import TextEncoder
from trainables.trial.trial_folder import TrialFolder

TEXTS = ["qaa one two", "three", "four five six seven eight nine"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrialFolder]:
    """A root whose trained trials kept their weights, and one of them."""
    warm()
    folder = tmp_path_factory.mktemp("kept")
    assert study(folder / "root", write_space(folder), "--keep", "all") == 0
    trials = [TrialFolder(path) for path in sorted((folder / "root").glob("trials/*"))]
    return folder / "root", next(trial for trial in trials if trial.spec().steps)


def export(root: Path, digest: str, to: Path, *more: str) -> int:
    words = ["export", digest, "--to", str(to), "--root", str(root), *more]
    return forked(lambda: main(words), {})


def test_the_exported_encoder_is_the_trials(kept: tuple[Path, TrialFolder], tmp_path: Path) -> None:
    root, trial = kept
    assert export(root, trial.digest[:8], tmp_path / "out") == 0
    weights = trial.weights()
    assert isinstance(weights, Path)
    own = TextEncoder.load(weights)
    vectors = own.encode_queries(TEXTS, "qaa")
    model, tokenizer = (
        kind.from_pretrained(tmp_path / "out") for kind in (AutoModel, AutoTokenizer)
    )
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    means = (states * mask).sum(1) / mask.sum(1)
    expected = torch.nn.functional.normalize(means, dim=-1).numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert trial.digest in card
    assert f"{trial.result()['metrics']['map/multi']:.4f}" in card


def test_weights_that_were_not_kept_are_trained_again(
    kept: tuple[Path, TrialFolder], tmp_path: Path
) -> None:
    root, trial = kept
    assert export(root, trial.digest, tmp_path / "first") == 0
    other = Path(shutil.copytree(root, tmp_path / "root"))
    TrialFolder.of(other, trial.digest).drop_weights()
    assert export(other, trial.digest, tmp_path / "second") == 2
    assert not (tmp_path / "second").exists()
    assert export(other, trial.digest, tmp_path / "second", "--again") == 0
    for name in ("model.safetensors", "tokenizer.json", "modules.json"):
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


def test_mistakes_are_named(kept: tuple[Path, TrialFolder], tmp_path: Path) -> None:
    root, trial = kept
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert export(root, trial.digest, tmp_path) == 2
    untrained = next(p.name for p in root.glob("trials/*") if not TrialFolder(p).spec().steps)
    assert export(root, untrained, tmp_path / "out") == 2
    assert export(root, "ffff", tmp_path / "out") == 2


def test_sentence_transformers_reads_it(kept: tuple[Path, TrialFolder], tmp_path: Path) -> None:
    python = os.environ.get("PEERS_PYTHON") or str(ROOT / ".peers/bin/python")
    if not Path(python).exists():
        pytest.skip("no peers' environment (make peers)")
    root, trial = kept
    assert export(root, trial.digest, tmp_path / "out") == 0
    code = (
        "import json, sys; from sentence_transformers import SentenceTransformer as S;"
        "print(json.dumps(S(sys.argv[1], device='cpu').encode(json.loads(sys.argv[2])).tolist()))"
    )
    said = subprocess.run(
        [python, "-c", code, str(tmp_path / "out"), json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    theirs = np.array(json.loads(said.splitlines()[-1]))
    ours = TextEncoder.load(tmp_path / "out").encode_queries(TEXTS, "qaa")
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
