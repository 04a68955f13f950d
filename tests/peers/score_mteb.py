"""Scores data folders with mteb's own loader and evaluator; runs in the peers' environment.

Reads a JSON list of {"folder", "split", "subset"} and writes a list of scores, or of {"error"}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from mteb.abstasks.retrieval import AbsTaskRetrieval  # type: ignore[import-not-found]
from mteb.abstasks.task_metadata import TaskMetadata  # type: ignore[import-not-found]
from mteb.models.model_meta import ModelMeta  # type: ignore[import-not-found]

from tests.peers.hashed import vectors

SCORES = (
    "ndcg_at_10",
    "map_at_1000",
    "mrr_at_1000",
    "recall_at_1",
    "recall_at_10",
    "recall_at_100",
)


class Encoder:
    """What mteb calls an encoder."""

    mteb_model_meta = ModelMeta.create_empty({"name": "own/hashed", "revision": "1"})

    def encode(self, inputs: Any, **_: Any) -> Any:
        return vectors([text for batch in inputs for text in batch["text"]])

    def similarity(self, left: Any, right: Any) -> Any:
        return np.asarray(left) @ np.asarray(right).T

    def similarity_pairwise(self, left: Any, right: Any) -> Any:
        return (np.asarray(left) * np.asarray(right)).sum(1)


def task_of(folder: str, split: str, subset: str | None) -> AbsTaskRetrieval:
    """A retrieval task whose data are a local folder."""
    languages: Any = {subset: ["swa-Latn"]} if subset else ["swa-Latn"]

    class Folder(AbsTaskRetrieval):  # type: ignore[misc]
        metadata = TaskMetadata(
            name="Folder",
            description="A folder.",
            dataset={"path": folder, "revision": "1"},
            type="Retrieval",
            eval_splits=[split],
            eval_langs=languages,
            main_score="ndcg_at_10",
        )

    return Folder()


def score(folder: str, split: str, subset: str | None) -> dict[str, Any]:
    """Scores of one subset, or why mteb gives none."""
    try:
        task = task_of(folder, split, subset)
        by_subset = task.evaluate(Encoder(), split, encode_kwargs={"show_progress_bar": False})
    except Exception as error:  # whatever it is, it is mteb's answer
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    [scores] = by_subset.values()
    return {name: scores[name] for name in SCORES}


if __name__ == "__main__":
    given, written = sys.argv[1:]
    with open(given, encoding="utf-8") as file:
        requests = json.load(file)
    answers = [score(**request) for request in requests]
    with open(written, "w", encoding="utf-8") as file:
        json.dump(answers, file)
