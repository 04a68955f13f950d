"""Whole studies of images and texts on scenes, from space to answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from study.analysis.contrasts import difference
from study.analysis.inference import bootstrap, percentile_interval
from study.analysis.scores import stored_scores
from study.planning.build import make_plan
from study.spaces.schema import load_space
from tests.study.inline import study, write_space

SPACE = """
question: Does hybrid beat the others with pictures?
fixed:
  benchmark: scenes
  encoder: embedded/clip-small
  languages: [qaa, qad]
  eval_languages: [qaa, qad, qaf]
  symmetric: true
  batch_size: 16
  reference_batch_size: 16
  steps: 4
  learning_rate: 0.005
search:
  sampling: [X-Y, hybrid]
beside:
  - {sampling: hybrid, pairs: caption}
  - {sampling: hybrid, shuffle_pairs: true}
seeds: 1
primary: map/t2i
hypotheses:
  - {name: a, metric: map/t2i, better: {sampling: hybrid}, than: {sampling: X-Y}, margin: 0.01,
     why: test}
  - {name: b, metric: map/i2t_multi, better: {sampling: hybrid}, than: {sampling: X-Y},
     margin: 0.01, why: test}
  - {name: c, metric: map/t2i/trained-in-none, better: {sampling: hybrid},
     than: {sampling: hybrid, pairs: caption}, margin: 0.01, why: test}
  - {name: d, metric: rank_distance, better: {sampling: hybrid}, than: {sampling: X-Y}, margin: 1,
     why: test}
tiers:
  demo: {}
  full: {}
"""
GALLERY = 300
"""Pictures that the test part searches."""


def test_a_study_of_pictures_ends_in_an_answer(tmp_path: Path) -> None:
    output = tmp_path / "output"
    assert study(tmp_path / "root", write_space(tmp_path, SPACE), output=output) == 0
    shown = output.read_text(encoding="utf-8")
    assert all(column in shown for column in ("map/t2i", "map/i2t", "rank_distance"))
    assert "trained-in-none" in shown
    assert "map/i2t_multi, sampling=hybrid minus sampling=X-Y: " in " ".join(shown.split())
    assert "sampling=hybrid minus sampling=hybrid pairs=caption" in " ".join(shown.split())
    for digest in (path.name for path in (tmp_path / "root" / "trials").iterdir()):
        found = stored_scores(tmp_path / "root", digest, ["map/t2i", "map/i2t_multi"])
        assert set(found) == {"map/t2i", "map/i2t_multi"}
        result = next((tmp_path / "root" / "trials" / digest).glob("attempts/*/result.json"))
        metrics = json.loads(result.read_text())["metrics"]
        for name, scores in found.items():
            assert scores.value == pytest.approx(metrics[name], abs=1e-12)


def test_what_is_beside_the_grid_is_averaged_over_by_nothing(tmp_path: Path) -> None:
    space = load_space(str(write_space(tmp_path, SPACE)))
    plan, _ = make_plan(space, "small", "demo", {})
    labels = [cell.label for cell in plan.cells]
    assert labels[-2:] == ["sampling=hybrid pairs=caption", "sampling=hybrid shuffle_pairs=True"]
    assert [cell.label for cell in plan.cells if cell.is_arm] == ["sampling=X-Y", "sampling=hybrid"]
    found = difference(plan.cells, {"sampling": "hybrid"}, {"sampling": "X-Y"})
    assert found == {"sampling=hybrid": 1.0, "sampling=X-Y": -1.0}
    control = {"sampling": "hybrid", "shuffle_pairs": True}
    found = difference(plan.cells, {"sampling": "hybrid"}, control)
    assert found == {"sampling=hybrid": 1.0, "sampling=hybrid shuffle_pairs=True": -1.0}


@pytest.mark.parametrize("name", ["contrastive", "backbone"])
def test_a_tier_s_languages_go_with_its_benchmark(name: str) -> None:
    other = {"benchmark": "scenes:null"}
    plan, _ = make_plan(load_space(name), name, "demo", other)
    specs = [plan.specs[t.digest] for c in plan.cells if c.is_arm for t in c.trials]
    assert {len(spec.languages or ()) for spec in specs} == {6}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["contrastive", "backbone"])
def test_a_demo_s_arms_are_above_chance_and_shuffled_captions_at_it(
    name: str, tmp_path: Path
) -> None:
    """By recall@10 of 300 pictures: 95 % intervals over seeds and scenes."""
    root = tmp_path / "root"
    assert study(root, Path(name)) == 0
    plan, _ = make_plan(load_space(name), name, "demo", {})
    chance = 10 / GALLERY
    for cell in plan.cells:
        if cell.params.get("steps") == 0:
            continue
        held = [stored_scores(root, t.digest, ["recall_at_10/t2i"]) for t in cell.trials]
        scores = [found["recall_at_10/t2i"] for found in held]
        draws = bootstrap(np.stack([s.sums for s in scores]), scores[0].counts)
        low, high = percentile_interval(draws)
        if cell.params.get("shuffle_pairs"):
            assert low <= chance <= high, (cell.label, low, high)
        else:
            assert low > chance, (cell.label, low)
