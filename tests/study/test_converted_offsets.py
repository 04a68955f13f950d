"""Offsets in another unit stop a study; converted on request, its numbers are marked."""

from __future__ import annotations

import json
from pathlib import Path

from tests.checkpoints import make_checkpoint
from tests.study.inline import study

CONTEXT = "Ein Fluß 🌊🌊. Er mündet ins Meer. Die Stadt."
SPACE = """
question: Is it marked?
fixed: {benchmark: xquad_r, sampling: X-X, batch_size: 8, steps: 0, learning_rate: 0.001,
        validation: null, candidate_text: sentence, eval_languages: [de]}
search: {temperature: [0.05]}
seeds: 1
primary: map/mono
tiers: {full: {}}
"""


def write(folder: Path) -> None:
    """XQuAD-R with one answer, whose offset counts UTF-8 bytes."""
    start = len(CONTEXT[: CONTEXT.index("Meer")].encode())
    answers = [{"text": "Meer", "answer_start": start}]
    breaks = [[0, 12], [13, 32], [33, len(CONTEXT)]]
    question = {"id": "1", "question": "Wohin?", "answers": answers}
    paragraph = {"context": CONTEXT, "sentence_breaks": breaks, "qas": [question]}
    folder.mkdir()
    (folder / "de.json").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))


def test_converted_offsets_are_asked_for_counted_and_marked(tmp_path: Path) -> None:

    write(tmp_path / "data")
    make_checkpoint("bert", tmp_path / "encoder")
    space, root, shown = tmp_path / "small.yaml", tmp_path / "root", tmp_path / "shown"
    space.write_text(SPACE, encoding="utf-8")
    arguments = ["--data-dir", str(tmp_path / "data"), "--encoder", str(tmp_path / "encoder")]
    assert study(root, space, "--tier", "full", *arguments) == 2
    assert not list(root.glob("studies/*"))

    converting = [*arguments, "--set", "convert_offsets=true"]
    assert study(root, space, "--tier", "full", *converting, output=shown) == 0
    [result] = root.glob("trials/*/*/*/result.json")
    document = json.loads(result.read_bytes())
    assert document["counts"]["test"]["source/answers whose offset was converted from UTF-8 bytes"]
    mark = "xquad_r is not comparable with published numbers"
    assert mark in " ".join(shown.read_text(encoding="utf-8").split())
    report = (root / "reports" / "s" / "report.md").read_text(encoding="utf-8")
    assert mark in report.replace("\\_", "_")
