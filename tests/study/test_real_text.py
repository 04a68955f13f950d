"""Whole studies on the real files at hand, with a tiny encoder and a small budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import make_checkpoint
from tests.study.inline import study, write_space

SPACE = """
question: Does it run on real text?
fixed: {batch_size: 16, reference_batch_size: 16, steps: 3, learning_rate: 0.001}
search: {temperature: [0.05]}
seeds: 1
tiers: {demo: {}, full: {}}
"""


def results(root: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in root.glob("trials/*/*/*/result.json")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "benchmark", "settings", "queries", "has"),
    [
        (
            "tydiqa-goldp-train", "tydiqa:held-out", ["train=tydiqa:articles", "languages=sw,en",
             "eval_languages=sw,en", "rows=in_any", "sampling=X-X"],
            None,
            ["map/mono/sw", "map/pool_same_language"],
        ),
        (
            "afriqa", "afriqa", ["train=afriqa", "languages=en,ha", "eval_languages=en,ha",
             "rows=in_any", "sampling=X-X"],
            None,
            ["map/cross/ha-en"],
        ),
        ("mkqa-mia2022", "mkqa", ["steps=0", "eval_languages=en,km"], 2 * 1758,
         ["map/mono/km", "map/multi"]),
        (
            "xquad-r", "xquad_r", ["eval_languages=en,es", "sampling=hybrid"],
            None,
            ["map/cross/en-es", "map/multi", "rank_distance"],
        ),
        (
            "xquad-r", "xquad_r", ["eval_languages=en,es", "steps=0"],
            2 * 1190,
            ["map/multi"],
        ),
    ],
)  # fmt: skip
def test_a_study_runs_on_real_text(
    shared: Path,
    tmp_path: Path,
    folder: str,
    benchmark: str,
    settings: list[str],
    queries: int | None,
    has: list[str],
) -> None:
    encoder = make_checkpoint("xlm-roberta", tmp_path / "tiny" / "encoder")
    arguments = ["--data-dir", str(shared / "data" / folder), "--encoder", str(encoder)]
    arguments += [word for setting in settings for word in ("--set", setting)]
    arguments += ["--benchmark", benchmark]
    space = write_space(tmp_path, SPACE)
    assert study(tmp_path / "root", space, "--keep", "none", *arguments) == 0
    for result in results(tmp_path / "root"):
        assert not [name for name in has if name not in result["metrics"]]
        assert result["zero_shot"]["verdict"]
        counted = sum(
            v for k, v in result["counts"]["test"].items() if k.startswith("queries/mono")
        )
        assert queries is None or counted == queries
