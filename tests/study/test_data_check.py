"""A validation benchmark that holds the test's questions or pictures is refused (law 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from study.planning.build import make_plan
from study.planning.check_data import check_data, refuse_shared
from study.spaces.schema import load_space
from trainables.data.benchmark import Benchmark, Candidate, Query
from trainables.data.pictures import IMAGE, Picture
from trainables.errors import UserError
from trainables.spec import Spec

IDS = [f"56beb434{row:04x}" for row in range(20)]


def asking(name: str, language: str, ids: Sequence[str]) -> Benchmark:
    """Questions of these ids, in words of their own."""
    asked = [Query(f"{language}:{one}", f"{name} {language} {one}?", one, "c") for one in ids]
    return Benchmark(name, {language: asked}, {language: []}, {})


def showing(name: str, names: Sequence[str], contents: Sequence[bytes]) -> Benchmark:
    """Pictures of these names and contents, with captions of their own."""
    pictures = [Picture(one, held, one) for one, held in zip(names, contents, strict=True)]
    captions = [Query(f"en:{one}", f"{name} {one}", one, one) for one in names]
    corpus = {IMAGE: [Candidate(one, one) for one in names]}
    qrels = {f"en:{one}": {one: 1.0} for one in names}
    return Benchmark(name, {"en": captions}, corpus, qrels, pictures=pictures)


def test_the_same_questions_in_another_language_are_refused() -> None:
    test = asking("xquad_r", "de", IDS)
    with pytest.raises(UserError, match=r"validation own: 5 of its 20 question ids .* xquad_r"):
        refuse_shared(asking("own", "th", [*IDS[:5], *(f"{one}-b" for one in IDS[5:])]), test)
    refuse_shared(asking("own", "th", [f"{one}-b" for one in IDS]), test)


@pytest.mark.parametrize("form", ["{}", "sw:{}", "query-{:05d}", "validation_{}"])
def test_numbers_of_rows_agree_by_chance(form: str) -> None:
    numbers = [form.format(row) for row in range(2000)]
    refuse_shared(asking("one", "sw", numbers), asking("other", "sw", numbers))


def test_the_same_pictures_are_refused_by_name_and_by_content() -> None:
    names, contents = [f"10000927{row}" for row in range(10, 20)], [b"%d" % n for n in range(10)]
    test = showing("flickr30k_x", names, contents)
    others = [f"20000927{row}" for row in range(10, 20)]
    fresh = [b"fresh %d" % n for n in range(10)]
    for held in (names, fresh), (others, contents):
        with pytest.raises(UserError, match="10 of its 10 pictures are those of flickr30k_x"):
            refuse_shared(showing("own", *held), test)
    refuse_shared(showing("own", others, fresh), test)
    one = showing("own", names[:1], contents[:1])
    with pytest.raises(UserError, match="1 of its 1 pictures"):
        refuse_shared(one, test)


PICTURES: dict[str, Any] = {
    "encoder": "embedded/clip-small",
    "benchmark": "scenes",
    "steps": 6,
    "batch_size": 8,
    "reference_batch_size": 8,
    "languages": ["qaa", "qad"],
    "eval_languages": ["qaa", "qad", "qaf"],
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"negatives": "both"}, "no hard negatives"),
        (
            {"benchmark": "synthetic", "encoder": "embedded/small", "train": "scenes"},
            "has pictures, and synthetic has none",
        ),
        (
            {"evaluate_every": 2, "select": "best", "select_metric": "map/multi"},
            "settings t2i, i2t, i2t_multi",
        ),
        ({"encoder": "embedded/small"}, "reads only text"),
        ({"languages": ["qaa", "xx"]}, "scenes has no 'xx' to train on; it has qaa, qab"),
    ],
    ids=["negatives", "benchmark", "metric", "encoder", "languages"],
)
def test_what_cannot_be_trained_on_pictures_is_refused(changes: dict[str, Any], said: str) -> None:
    def plan_and_check() -> None:
        settings = PICTURES | changes
        check_data(*make_plan(load_space("contrastive"), "contrastive", "demo", settings))

    with pytest.raises(UserError, match=said):
        plan_and_check()


def spec_of(**changes: Any) -> Spec:
    """The first arm of the space of pictures, which is X-X."""
    settings = PICTURES | changes
    plan, _ = make_plan(load_space("contrastive"), "contrastive", "demo", settings, seeds=1)
    return next(plan.specs[cell.trials[0].digest] for cell in plan.cells if cell.is_arm)


def test_settings_of_pictures_are_no_part_of_a_text_trial_s_spec() -> None:
    settings = {"benchmark": "synthetic", "encoder": "embedded/small", "pairs": "caption"}
    spec = spec_of(**settings, image_tower="live")
    assert (spec.pairs, spec.image_tower) == (None, None)
    assert spec_of().pairs is None  # the first arm is X-X
    assert spec_of(sampling="hybrid").pairs == "image"
