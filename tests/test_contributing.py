"""The examples of CONTRIBUTING.md do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.planning.build import make_plan
from study.planning.check_data import check_data
from study.spaces.schema import load_space
from trainables.data import catalog
from trainables.data.catalog import load_benchmark
from trainables.data.source import Source
from trainables.evaluation import metrics
from trainables.evaluation.evaluate import evaluate

PAGE = Path(__file__).resolve().parent.parent / "CONTRIBUTING.md"
LONGEST = 30
"""Lines that an example may have."""


def example(name: str) -> str:
    """The block of this name."""
    blocks = re.findall(rf"^```\w+ {name}\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    assert len(blocks) == 1
    return str(blocks[0])


def executed(name: str) -> dict[str, Any]:
    """What the code of a block defines."""
    names: dict[str, Any] = {}
    exec(compile(example(name), f"CONTRIBUTING.md: {name}", "exec"), names)
    return names


@pytest.mark.parametrize("name", ["space", "benchmark", "source", "encoder", "metric"])
def test_examples_are_short(name: str) -> None:
    assert len(example(name).splitlines()) < LONGEST


def test_a_space_is_planned(tmp_path: Path) -> None:
    path = tmp_path / "my_question.yaml"
    path.write_text(example("space"), encoding="utf-8")
    plan, places = make_plan(load_space(str(path)), str(path), "demo", {})
    check_data(plan, places)
    assert [cell.label for cell in plan.cells] == [
        "untrained",
        "temperature=0.02",
        "temperature=0.05",
    ]
    assert len(plan.specs) == 11


def test_a_benchmark_is_loaded_and_an_encoder_evaluated_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        "1	de	Wo ist das Salz?	Das Salz steht hier.",
        "1	en	Where is the salt?	The salt is here.",
        "2	de	Wer singt?	Es singt Maria.",
        "2	en	Who sings?	It is Maria who sings.",
    ]
    (tmp_path / "faq.tsv").write_text("\n".join(rows), encoding="utf-8")
    facts = yaml.safe_load(example("source"))["faq"]
    loader = executed("benchmark")[facts["loader"].partition(":")[2]]
    source = Source.model_validate({**facts, "name": "faq", "loader": loader})
    monkeypatch.setitem(catalog.table(), "faq", source)
    assert catalog.reference("faq", tmp_path).languages == ("de", "en")
    found = evaluate(load_benchmark("faq", tmp_path), executed("encoder")["Letters"]())
    assert found.metrics["map/mono"] == 1.0
    assert {"map/cross/de-en", "map/multi/en", "rank_distance"} <= found.metrics.keys()


def test_a_metric_is_in_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, measure in executed("metric")["MEASURE"].items():
        monkeypatch.setitem(metrics.MEASURES, name, measure)
    found = evaluate(load_benchmark("synthetic"), executed("encoder")["Letters"]()).metrics
    for setting in ("mono/qaa", "cross/qaa-qab", "multi"):
        low, high = found[f"recall_at_1/{setting}"], 1.0
        assert low <= found[f"success_at_5/{setting}"] <= high
    assert found["success_at_5/mono"] > found["recall_at_1/mono"]
