"""Groups of languages, and which settings are of them."""

from __future__ import annotations

import numpy as np
import pytest

from study.analysis.results import in_group, language_groups, metric_of
from study.analysis.scores import scores
from study.state.plan import Plan
from tests.study.analysis.planned import plan_of
from tests.trainables.evaluation.toys import parallel, vectors_for
from trainables.evaluation.evaluate import evaluate_embeddings
from trainables.spec import DataRef, Spec


def planned(*arms: tuple[str, ...], tested: tuple[str, ...]) -> Plan:
    """Arms that train on these languages; nothing else of their specs matters."""
    test = DataRef.model_construct(languages=tested)
    specs = {str(n): Spec.model_construct(test=test, languages=x) for n, x in enumerate(arms)}
    return plan_of([], []).model_copy(update={"specs": specs})


def test_scripts_and_regions_of_a_language_are_trained_on_with_it() -> None:
    tested = ("de", "hi", "hi-Latn", "zh-HK", "zh-Hans", "zh-Hant")
    groups = language_groups(planned(("hi", "zh"), ("de", "zh-CN"), tested=tested))
    assert groups["trained-in-all"] == ("zh-HK", "zh-Hans", "zh-Hant")
    assert groups["trained-in-none"] == ("hi-Latn",)
    romanised = language_groups(planned(("hi-Latn",), tested=tested))
    assert romanised["trained-in-all"] == ("hi-Latn",)


@pytest.mark.parametrize(
    ("setting", "languages", "expected"),
    [
        ("cross/hi-Latn-de", ("hi",), False),
        ("cross/hi-Latn-de", ("hi-Latn",), True),
        ("cross/hi-de", ("hi",), True),
        ("cross/hi-hi-Latn", ("hi",), True),
        ("cross/hi-hi-Latn", ("hi-Latn",), False),
        ("cross/hi-Latn-hi", ("hi",), False),
        ("cross/zh-Hans-zh-Hant", ("zh-Hans",), True),
        ("cross/zh-CN-en", ("zh",), False),
        ("cross/es-419-pt-BR", ("es-419",), True),
        ("mono/hi-Latn", ("hi",), False),
        ("hi-Latn", ("hi-Latn",), True),
    ],
)
def test_a_setting_is_of_the_language_of_its_queries(
    setting: str, languages: tuple[str, ...], expected: bool
) -> None:
    assert in_group(setting, languages) is expected


def test_results_and_scores_agree_on_a_group() -> None:
    groups = {"some": ("de", "hi")}
    toy = parallel(["de", "hi", "hi-Latn"], 4, 3)
    table = np.random.default_rng(0).normal(size=(12, 9))
    found = evaluate_embeddings(toy, *vectors_for(toy, table))
    for metric in ("map/cross/some", "map/mono/some", "rank_distance/some"):
        whole = scores(found.ranks, metric, groups)
        assert whole.value == pytest.approx(metric_of(found.metrics, metric, groups)), metric
    settings = scores(found.ranks, "map/cross/some", groups).settings
    assert sorted(settings) == [
        "cross/de-hi",
        "cross/de-hi-Latn",
        "cross/hi-de",
        "cross/hi-hi-Latn",
    ]
