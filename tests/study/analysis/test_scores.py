from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from study.analysis.scores import scores, stored_scores
from tests.trainables.evaluation.toys import TableEncoder, benchmark, parallel, vectors_for
from trainables.data import catalog
from trainables.data.benchmark import Benchmark
from trainables.encoders import registry
from trainables.errors import UserError
from trainables.evaluation.evaluate import evaluate, evaluate_embeddings
from trainables.evaluation.metrics import MEASURES
from trainables.evaluation.ranks import Ranks
from trainables.finetune import finetune
from trainables.spec import build_spec
from trainables.trial.trial_folder import TrialFolder

FIXTURES = Path(__file__).parents[2] / "trainables" / "fixtures"


def ranked(toy: Benchmark, rows: list[list[int]]) -> Ranks:
    """Rows of scores: all queries by language, whole pool by language."""
    table: NDArray[np.float32] = np.array(rows, dtype=np.float32)
    return evaluate_embeddings(toy, *vectors_for(toy, table)).ranks


@pytest.fixture
def fully_parallel() -> Ranks:
    """Ranks in the pool of (own, other language's): 1 2 / 2 4 for de, 2 3 / 1 3 for en."""
    rows = [[4, 1, 3, 2], [4, 3, 2, 1], [2, 1, 3, 4], [1, 2, 3, 4]]
    return ranked(parallel(["de", "en"], 2, 2), rows)


@pytest.fixture
def partly_parallel() -> Ranks:
    """Three German questions, of which the first is English too."""
    qrels = {
        "de:q0": {"de_0": 1.0, "en_0": 1.0},
        "de:q1": {"de_1": 1.0},
        "de:q2": {"de_2": 1.0},
        "en:q0": {"de_0": 1.0, "en_0": 1.0},
    }
    toy = benchmark({"de": 3, "en": 1}, {"de": 3, "en": 1}, qrels)
    return ranked(toy, [[4, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1], [1, 3, 2, 4]])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("map/mono", (3 / 4 + 3 / 4) / 2),
        ("map/cross", (3 / 4 + 1) / 2),
        ("map/multi", ((1 + 1 / 2) / 2 + (7 / 12 + 5 / 6) / 2) / 2),
        ("map/multi/en", (7 / 12 + 5 / 6) / 2),
        ("map/cross/en-de", 1),
        ("mrr/multi", ((1 + 1 / 2) / 2 + (1 / 2 + 1) / 2) / 2),
        ("recall_at_1/mono", 1 / 2),
        ("rank_distance", ((1 + 2) / 2 + (1 + 2) / 2) / 2),
    ],
)
def test_a_parallel_benchmark_by_hand(fully_parallel: Ranks, metric: str, expected: float) -> None:
    assert scores(fully_parallel, metric).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("map/mono", ((1 + 1 / 2 + 1 / 3) / 3 + 1) / 2),
        ("map/cross", (1 + 1 / 3) / 2),
        ("map/multi", ((3 / 4 + 1 / 2 + 1 / 3) / 3 + 3 / 4) / 2),
        ("map/multi_micro", (3 / 4 + 1 / 2 + 1 / 3 + 3 / 4) / 4),
        ("rank_distance", 3),
        ("rank_distance/de", 3),
    ],
)
def test_a_partly_parallel_benchmark_by_hand(
    partly_parallel: Ranks, metric: str, expected: float
) -> None:
    assert scores(partly_parallel, metric).value == pytest.approx(expected, abs=1e-12)


def test_sums_and_counts_are_by_cluster_and_setting(partly_parallel: Ranks) -> None:
    found = scores(partly_parallel, "map/mono")
    assert found.settings == ("mono/de", "mono/en")
    assert found.clusters == ("c0", "c1")  # questions 0 and 1, and question 2
    np.testing.assert_allclose(found.sums, [[1 + 1 / 2, 1], [1 / 3, 0]])
    assert found.counts.tolist() == [[2, 1], [1, 0]]


def test_a_cluster_that_a_setting_does_not_ask_about_is_no_cluster_of_it(
    partly_parallel: Ranks,
) -> None:
    assert scores(partly_parallel, "map/cross").clusters == ("c0",)


def test_every_metric_that_is_a_mean_is_reproduced() -> None:
    toy = parallel(["de", "en", "fr"], 9, 20, relevant=2)
    found = evaluate(toy, TableEncoder.of(toy))
    kinds = ("mono", "cross", "multi", "multi_micro", "mono/de", "cross/fr-de", "multi/en")
    names = [f"{measure}/{kind}" for measure in MEASURES for kind in kinds]
    names += ["rank_distance", "rank_distance/fr", "rank_distance_pair"]
    for name in [*names, "rank_distance_normalised"]:
        assert scores(found.ranks, name).value == pytest.approx(found.metrics[name], abs=1e-12)


@pytest.mark.parametrize("number", [1, 2])
def test_a_committed_trial_of_each_format_gives_its_reported_metrics(number: int) -> None:
    root = FIXTURES / f"format-{number}"
    [path] = (root / "trials").iterdir()
    names = ["map/mono", "map/cross", "map/multi", "rank_distance", "map/t2i"]
    found = stored_scores(root, path.name, names)
    assert list(found) == names[:-1]
    result = TrialFolder(path).result()
    for name, one in found.items():
        assert one.value == pytest.approx(result["metrics"][name], abs=1e-12)


def test_changed_ranks_are_not_believed(tmp_path: Path) -> None:
    import shutil

    from trainables.trial.trial_folder import NotCommittedError

    shutil.copytree(FIXTURES / "format-2", tmp_path, dirs_exist_ok=True)
    [path] = (tmp_path / "trials").iterdir()
    manifest = json.loads((path / "manifest.json").read_bytes())
    file = path / "attempts" / f"{manifest['attempt']:03d}" / "ranks-test.npz"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(NotCommittedError, match="not as it was committed"):
        stored_scores(tmp_path, path.name, ["map/mono"])


@pytest.mark.parametrize(
    "metric", ["map", "map/none", "nap/mono", "share_at_10/de", "map/cross/de"]
)
def test_what_is_no_mean_over_settings_is_refused(fully_parallel: Ranks, metric: str) -> None:
    with pytest.raises(UserError, match="choose one of its kinds"):
        scores(fully_parallel, metric)


def test_rank_distance_is_refused_where_other_languages_are_not_judged() -> None:
    toy = benchmark(
        {"de": 1, "en": 1},
        {"de": 2, "en": 2},
        {"de:q0": {"de_0": 1.0}, "en:q0": {"en_0": 1.0}},
        judged_in_all_languages=False,
    )
    ranks = evaluate(toy, TableEncoder.of(toy)).ranks
    assert scores(ranks, "map/pool_same_language").settings[0] == "pool_same_language/de"
    for metric in ("rank_distance", "map/multi"):
        with pytest.raises(UserError):
            scores(ranks, metric)


def test_a_trial_of_pictures_has_scores_in_both_directions(tmp_path: Path) -> None:
    ref, _ = registry.reference("embedded/clip-small", "scenes", {})
    test = catalog.reference("scenes", languages=["qaa", "qad"], part="validation")
    spec = build_spec({"encoder": ref, "test": test, "steps": 0})
    folder = TrialFolder.of(tmp_path, spec.digest)
    for _ in finetune(spec, folder, places={}):
        pass
    metrics = folder.result()["metrics"]
    names = ["map/t2i", "map/t2i/qad", "map/i2t", "map/i2t_multi", "hit_at_5/i2t/qaa"]
    found = stored_scores(tmp_path, spec.digest, [*names, "rank_distance", "map/mono", "map/cross"])
    assert list(found) == [*names, "rank_distance"]
    for metric, one in found.items():
        assert one.value == pytest.approx(metrics[metric], abs=1e-12)
    assert found["map/i2t"].settings == ("i2t/qaa", "i2t/qad")
    assert found["map/t2i"].clusters == found["map/i2t_multi"].clusters
