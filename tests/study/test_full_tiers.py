"""Every full tier, with data and checkpoints of the real formats in small: planned, and run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from study.analysis.contrasts import contrasts_of
from study.cli.app import main
from study.planning.build import make_plan
from study.spaces.schema import load_space, space_names
from tests.study import full_data
from tests.study.inline import study

PICTURED = ("backbone", "contrastive")
"""Spaces about images and texts."""

SHORT = ["--set", "steps=2", "--seeds", "1", "--keep", "none"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory; the hub's cache holds the checkpoints while tests run."""
    folder = tmp_path_factory.mktemp("full")
    hub = full_data.write_hub(folder / "hub")
    with pytest.MonkeyPatch.context() as patch:
        import huggingface_hub.constants

        patch.setenv("HF_HUB_CACHE", str(hub))
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub))
        yield full_data.write_data(folder / "data")


@pytest.mark.parametrize("name", space_names())
def test_a_full_tier_is_planned_without_anything_at_hand(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    words = ["run", "--space", name, "--tier", "full", "--dry-run", "--root", str(root)]
    assert main([*words, "--accelerator", "A100"]) == 0  # nothing is measured, as on a CPU
    shown = " ".join(capsys.readouterr().out.split())
    trained = "multi30k" if name in PICTURED else "mmarco"
    assert f"not at hand: {trained}" in shown
    assert f"data show {trained}" in shown
    assert "hf download" in shown
    assert not root.exists()


@pytest.mark.parametrize("name", space_names())
def test_a_full_tier_names_seeds_validation_margins_and_what_it_tunes(name: str) -> None:
    missing: dict[str, str] = {}
    space = load_space(name)
    searched = space.for_tier("full").optimize
    plan, _ = make_plan(space, name, "full", {}, missing=missing, optimize=searched)
    trained = [cell for cell in plan.cells if cell.is_arm]
    if plan.search is None:
        assert min(len(cell.trials) for cell in trained) >= 5
        assert plan.tuned == ("learning_rate",)
    else:
        assert plan.search.confirm.seeds >= 5
        assert "learning_rate" in plan.search.ranges
    for spec in plan.specs.values():
        assert spec.validation is not None
        assert spec.validation.name not in (spec.test.name, *(r.name for r in spec.also or ()))
    for hypothesis in plan.hypotheses:
        assert 0 < hypothesis["margin"] <= 0.003
        for one in contrasts_of(plan.model_copy(update={"cells": tuple(trained)}), hypothesis):
            assert one.coefficients, one.problem


def run(files: Path, tmp_path: Path, name: str, *more: str) -> str:
    """The output of a full tier that ran to its end."""
    output = tmp_path / "output"
    arguments = ["--tier", "full", "--data-dir", str(files), *SHORT, *more]
    assert study(tmp_path / "root", Path(name), *arguments, output=output) == 0
    return " ".join(output.read_text(encoding="utf-8").split())


def test_the_shortest_full_tier_runs_to_its_table(files: Path, tmp_path: Path) -> None:
    shown = run(files, tmp_path, "mixing_ratio")
    assert "the same on mlqa_r, as mlqa_r:map/mono" in shown
    assert "hybrid beats X-X in multilingual retrieval: undecided" in shown
    assert "Selected by map/multi on the validation benchmark: alpha=0:" in shown
    assert "Each arm answers with its best learning_rate" in shown


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in space_names() if name != "mixing_ratio"])
def test_every_full_tier_runs_to_its_table(name: str, files: Path, tmp_path: Path) -> None:
    fewer = ["--set", "max_examples=1200", "--set", "batch_size=64"]
    shown = run(files, tmp_path, name, *(fewer if name == "language_count" else ()))
    if name == "language_count":
        assert "belebele stands in for ndqa" in shown
        assert "map/multi by the language of the query: low-resource" in shown
        assert "map/multi/low-resource, language_count=12 volume=equal_total" in shown
        assert "trained-in-none" in shown
    if name == "contrastive":
        assert "xflickrco" in shown
        assert "trained-in-none" in shown
        assert "map/i2t_multi, sampling=hybrid minus sampling=X-Y" in shown
    if name == "backbone":
        assert "the same on mmmu, as mmmu:map/" in shown
        assert "untrained encoder=Salesforce/blip2-itm-vit-g" in shown
        assert "hybrid beats X-X from text to image, over backbones: undecided" in shown
    if name == "batch_size":
        assert "openai/clip-vit-base-patch32 reads 77 tokens" in shown or "cut off" not in shown


def test_a_validation_benchmark_of_the_test_s_questions_is_refused(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLQA-R is made from MLQA's validation part: the same questions under another name."""
    for source in (files / "mlqa_r").glob("*.json"):
        target = f"dev-context-{source.stem}-question-{source.stem}.json"
        (tmp_path / "data" / "mlqa").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "mlqa" / target).write_bytes(source.read_bytes())
    for name in ("mlqa_r", "mmarco", "xquad_r"):
        (tmp_path / "data" / name).symlink_to(files / name)
    arguments = ["--space", "mixing_ratio", "--tier", "full", "--data-dir", str(tmp_path / "data")]
    arguments += ["--set", "validation=mlqa:validation", "--root", str(tmp_path / "root")]
    assert main(["run", *arguments]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "validation mlqa: 42 of its 42 questions are those of mlqa_r" in said
