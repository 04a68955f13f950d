from __future__ import annotations

from typing import Any, get_args

import pytest

from tests.samples import DATA, ENCODER, values
from trainables.errors import UserError
from trainables.evaluation.metrics import PICTURE_MEASURES
from trainables.spec import RECIPE, Negatives, Spec, build_spec
from trainables.spec.settings import NEGATIVE_KINDS, SELECTABLE_METRIC

MANY: dict[str, Any] = {"languages": ["qaa", "qab", "qac"]}
VALIDATED: dict[str, Any] = {"validation": DATA | {"part": "validation"}, "evaluate_every": 2}


def test_a_coin_that_falls_on_one_side_is_no_coin() -> None:
    assert build_spec(values(alpha=1)) == build_spec(values(sampling="X-X", alpha=0.3))
    assert build_spec(values(alpha=0)).digest == build_spec(values(sampling="X-Y")).digest
    mixed = build_spec(values(sampling="row-hybrid", alpha=1))
    assert mixed == build_spec(values(sampling="X-X-mixed"))
    assert build_spec(values(alpha=1)).alpha is None


def test_nothing_of_training_counts_at_zero_steps() -> None:
    untrained = build_spec(values(steps=0))
    assert untrained == build_spec(values(steps=0, seed=7, sampling="X-Y", learning_rate=1))
    assert untrained.seed is None
    assert untrained.train is None


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"alpha": 0.25},
        {"steps": 11},
        {"test": DATA | {"digest": "f" * 20}},
        {"encoder": ENCODER | {"digest": "f" * 20}},
        {"languages": ["qaa", "qac"]},
        {"recipe": RECIPE + 1},
    ],
)
def test_whatever_changes_the_experiment_changes_the_digest(change: dict[str, Any]) -> None:
    assert build_spec(values()).digest != build_spec(values(**change)).digest


def test_labels_and_orders_change_nothing() -> None:
    spec = build_spec(values())
    assert spec.digest == build_spec(values(languages=["qaa", "qab", "qaa"])).digest
    assert spec.digest == build_spec(values(encoder=ENCODER | {"name": "copy"})).digest
    assert Spec.model_validate_json(spec.model_dump_json()).digest == spec.digest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alpha": 1.3}, ["alpha", "1.3"]),
        ({"sampling": "X-X", "alpha": 1.3}, ["alpha", "1.3"]),
        ({"sampling": "X-Z"}, ["sampling", "X-Z", "hybrid"]),
        ({"languages": ["qaa"]}, ["at least two", "qaa", "sampling=X-X"]),
        ({"batch_size": 1}, ["batch_size", "2"]),
        ({"learning_rate": None}, ["learning_rate"]),
        ({"alpha": None}, ["alpha"]),
        ({"stepz": 1}, ["stepz"]),
        ({"negatives": "soft"}, ["negatives", "soft", "paper_eq1"]),
        ({"negatives": "hard", "symmetric": True}, ["symmetric", "negatives=both"]),
        ({"negatives": "both", "hard_negatives": 0}, ["hard_negatives", "1"]),
        ({"rows": "some"}, ["rows", "some", "in_two"]),
        ({"rows": "in_two", "max_rows": 40}, ["max_rows 40", "in_two"]),
        ({"rows": "in_any", "shuffle_pairs": True}, ["shuffle_pairs", "in_any"]),
        ({"rows": "in_two", "languages_per_batch": 2, **MANY}, ["languages_per_batch", "in_two"]),
        ({"languages_per_batch": 1}, ["languages_per_batch 1", "sampling=X-X"]),
        ({"rows": "in_two", "language_law": 5}, ["language_law", "4"]),
        ({"max_rows": 31}, ["batch_size 32", "31 rows"]),
        ({"learn_temperature": True, "temperature": 0.001}, ["0.001", "0.01"]),
        ({"patience": 2, "select_metric": "map/multi"}, ["patience 2", "evaluate_every"]),
        ({"evaluate_every": 2}, ["evaluate_every 2", "validation="]),
        ({**VALIDATED, "select": "best"}, ["select best", "select_metric=map/multi"]),
        (
            {**VALIDATED, "select": "best", "select_metric": "rank_distance"},
            ["rank_distance", "more is better", "map/multi"],
        ),
    ],
)
def test_a_mistake_is_named(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        build_spec(values(**change))
    assert all(word in str(caught.value) for word in words), caught.value


def test_what_has_no_effect_is_no_part_of_a_spec() -> None:
    """Specs of before these fields keep their digests, and so do their equals."""
    plain = build_spec(values())
    idle = {
        "negatives": "in_batch",
        "hard_negatives": 4,
        "rows": "in_all",
        "language_law": 1.0,
        "pair_law": 0.3,
        "languages_per_batch": 2,
        "learn_temperature": False,
        "select": "last",
        "select_metric": "map/multi",
    }
    assert build_spec(values(**idle)) == plain
    assert build_spec(values(steps=0, **idle, patience=3, evaluate_every=1)).patience is None
    mixed = values(sampling="X-X-mixed", languages_per_batch=1)
    assert build_spec(mixed) == build_spec(values(sampling="X-X"))
    everywhere = {"rows": "in_two", "language_law": 0.5, "pair_law": 0.5}
    mono, cross = (build_spec(values(sampling=s, **everywhere)) for s in ("X-X", "X-Y"))
    assert (mono.language_law, mono.pair_law) == (0.5, None)
    assert (cross.language_law, cross.pair_law) == (None, 0.5)
    for sampling in ("X-X", "X-Y-fixed"):
        found = build_spec(values(sampling=sampling, languages_per_batch=2, **MANY))
        assert found.languages_per_batch is None


@pytest.mark.parametrize(
    "change",
    [
        {"negatives": "both"},
        {"negatives": "both", "hard_negatives": 2},
        {"rows": "in_two"},
        {"rows": "in_two", "language_law": 0.5},
        {"rows": "in_two", "pair_law": 1.0},
        {"max_rows": 100},
        {"languages_per_batch": 2},
        {"learn_temperature": True},
        VALIDATED,
        VALIDATED | {"patience": 1, "select_metric": "map/multi"},
        VALIDATED | {"select": "best", "select_metric": "map/multi"},
        VALIDATED | {"select": "best", "select_metric": "map/mono"},
    ],
)
def test_every_option_is_an_experiment_of_its_own(change: dict[str, Any]) -> None:
    others = [MANY, MANY | {"negatives": "both"}, MANY | {"rows": "in_two"}, MANY | VALIDATED]
    found = build_spec(values(**MANY, **change))
    assert found.digest not in {build_spec(values(**other)).digest for other in others} - {
        build_spec(values(**other)).digest for other in others if other == MANY | change
    }
    assert Spec.model_validate_json(found.model_dump_json()).digest == found.digest


def test_one_language_is_enough_for_monolingual_pairs() -> None:
    assert build_spec(values(languages=["qaa"], sampling="X-X")).languages == ("qaa",)


def test_the_digest_of_a_known_spec_stays() -> None:
    """Digests name trials on people's disks: a change here orphans those of every recipe."""
    assert build_spec(values(recipe=1)).digest == "15d81d00ef7f317e42e3"


def test_every_measure_of_retrieval_may_select() -> None:
    names = [name for name in PICTURE_MEASURES if not SELECTABLE_METRIC.match(f"{name}/mono")]
    assert not names


def test_every_kind_of_negatives_says_what_counts() -> None:
    assert list(NEGATIVE_KINDS) == list(get_args(Negatives))
