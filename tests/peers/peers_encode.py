"""Run in the peers' environment: encodes texts with sentence-transformers, folder by folder.

usage: peers_encode.py TASK.json, an object with `folders` (name to path), `texts` and `out`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]


def main() -> None:
    """Write queries' and documents' vectors of each folder, or what went wrong."""
    torch.set_num_threads(1)
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    vectors, errors = {}, {}
    for name, folder in task["folders"].items():
        try:
            model = SentenceTransformer(
                folder, device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
            )
            for role, encode in (("q", model.encode_query), ("d", model.encode_document)):
                vectors[f"{role} {name}"] = encode(
                    task["texts"], batch_size=4, normalize_embeddings=True
                )
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}"
    np.savez(Path(task["out"]) / "vectors.npz", **vectors)
    (Path(task["out"]) / "errors.json").write_text(json.dumps(errors), encoding="utf-8")


main()
