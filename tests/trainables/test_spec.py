from __future__ import annotations

from typing import Any

import pytest

from tests.samples import DATA, ENCODER, values
from trainables.errors import UserError
from trainables.spec import RECIPE, Spec, build_spec


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
    ],
)
def test_a_mistake_is_named(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        build_spec(values(**change))
    assert all(word in str(caught.value) for word in words), caught.value


def test_one_language_is_enough_for_monolingual_pairs() -> None:
    assert build_spec(values(languages=["qaa"], sampling="X-X")).languages == ("qaa",)


def test_the_digest_of_a_known_spec_stays() -> None:
    """Digests name trials on people's disks: a change here orphans those of every recipe."""
    assert build_spec(values(recipe=1)).digest == "15d81d00ef7f317e42e3"
