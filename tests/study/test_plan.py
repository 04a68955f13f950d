from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.planning.build import make_plan
from study.spaces.schema import load_space, space_names
from study.spaces.settings import build_settings, parse_assignments
from study.state.plan import Plan, label_of
from study.state.study_folder import StudyFolder
from trainables.errors import UserError


def plan_of(space: str, *assignments: str, **options: Any) -> Plan:
    overrides = parse_assignments(list(assignments))
    return make_plan(load_space(space), space, "demo", overrides, **options)[0]


@pytest.mark.parametrize("key", ["query_prefix", "passage_prefix"])
@pytest.mark.parametrize("text", ["query: ", " a\n", "", "none", "NULL", "\t", "a,b", "[INST]"])
def test_a_prefix_is_what_was_typed(key: str, text: str) -> None:
    assert parse_assignments([f"{key}={text}"]) == {key: text}
    plan = plan_of("mixing_ratio", f"{key}={text}", "steps=0")
    (spec,) = plan.specs.values()
    assert getattr(spec.encoder, key) == text


def test_prefixes_that_differ_in_a_blank_are_two_trials_and_two_studies() -> None:
    plans = [plan_of("mixing_ratio", f"query_prefix={p}", "steps=0") for p in ("q:", "q: ")]
    assert len({digest for plan in plans for digest in plan.specs}) == 2
    assert len({plan.name for plan in plans}) == 2


def test_values_that_read_alike_are_cells_of_their_own() -> None:
    texts = ["q", "q ", "q\n", "None", None, ""]
    labels = {label_of({"query_prefix": text}) for text in texts}
    assert len(labels) == len(texts)
    assert {'query_prefix="q "', "query_prefix=q"} < labels
    assert not any("\n" in label for label in labels)


def test_blanks_around_other_values_mean_nothing_and_null_leaves_a_setting_out() -> None:
    typed = [
        "steps= 3 ",
        "sampling=X-X\n",
        "languages= qaa, qab",
        "validation=None",
        "symmetric= no",
    ]
    found = build_settings(parse_assignments(typed), "--set")
    assert (found.steps, found.sampling, found.validation) == (3, "X-X", None)
    assert (found.languages, found.symmetric) == (("qaa", "qab"), False)


def cell(plan: Plan, label: str) -> list[str]:
    return [trial.digest for c in plan.cells if c.label == label for trial in c.trials]


@pytest.mark.parametrize("name", space_names())
def test_every_space_has_an_untrained_arm_and_three_seeds(name: str) -> None:
    plan = plan_of(name)
    untrained = [c for c in plan.cells if c.label.startswith("untrained")]
    assert len(untrained) == len({s.encoder.name for s in plan.specs.values()})
    assert all(len(c.trials) == 1 for c in untrained)
    assert all(len(c.trials) >= 3 for c in plan.cells if c not in untrained)
    assert {trial.digest for c in plan.cells for trial in c.trials} == plan.specs.keys()


def test_alpha_at_its_ends_is_the_plain_sampling() -> None:
    plan = plan_of("mixing_ratio")
    samplings = {plan.specs[cell(plan, f"alpha={a}")[0]].sampling for a in (0, 1)}
    assert samplings == {"X-Y", "X-X"}
    assert plan.specs[cell(plan, "alpha=0.5")[0]].alpha == 0.5


def test_both_controls_of_batch_size_hold_what_they_say() -> None:
    plan = plan_of("batch_size")
    for size in (16, 64, 128):
        steps = plan.specs[cell(plan, f"batch_size={size} control=equal_steps")[0]]
        examples = plan.specs[cell(plan, f"batch_size={size} control=equal_examples")[0]]
        reference = plan.specs[cell(plan, "batch_size=64 control=equal_steps")[0]]
        assert steps.steps == reference.steps
        assert examples.batch_size is not None
        assert examples.steps * examples.batch_size == reference.steps * 64
    same = [
        cell(plan, f"batch_size=64 control={control}")
        for control in ("equal_steps", "equal_examples")
    ]
    assert same[0] == same[1]


def test_only_the_searched_factor_differs_between_cells() -> None:
    plan = plan_of("mixing_ratio")
    specs = [plan.specs[cell(plan, f"alpha={a}")[0]] for a in (0.25, 0.5, 0.75)]
    assert len({s.model_copy(update={"alpha": None}).canonical() for s in specs}) == 1


def test_at_zero_steps_all_cells_are_one_trial() -> None:
    assert len(plan_of("mixing_ratio", "steps=0").specs) == 1


def test_rate_rules_follow_the_batch_size() -> None:
    rates = {}
    for rule in ("fixed", "sqrt", "linear"):
        plan = plan_of("batch_size", f"learning_rate_rule={rule}", "learning_rate=0.001")
        digest = cell(plan, "batch_size=128 control=equal_steps")[0]
        rates[rule] = plan.specs[digest].learning_rate
    assert rates == {"fixed": 0.001, "sqrt": 0.001 * 2**0.5, "linear": 0.002}


def test_names_say_what_differs_from_the_space() -> None:
    assert plan_of("mixing_ratio").name == "mixing_ratio-demo"
    assert plan_of("mixing_ratio", "steps=5").name == "mixing_ratio-demo-steps=5"
    assert len(plan_of("mixing_ratio", "query_prefix=" + "x" * 300).name) <= 100


def test_differences_are_readable() -> None:
    before, after = plan_of("mixing_ratio"), plan_of("mixing_ratio", "temperature=0.1")
    assert before.differences(before) == []
    changes = before.differences(after)
    assert "settings.temperature: 0.05 → 0.1" in changes
    assert "temperature: 0.05 → 0.1 (5 of 6 cells)" in changes
    assert before.differences(plan_of("mixing_ratio", seeds=7)) == ["seeds: 5 → 7 (5 of 6 cells)"]


def test_a_plan_reads_back_as_it_was_written(tmp_path: Path) -> None:
    folder = StudyFolder.of(tmp_path, "s")
    plan = plan_of("batch_size")
    folder.save_plan(plan)
    read = folder.plan()
    assert read is not None
    assert plan.differences(read) == []
    assert read.frozen == plan.frozen


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    folder = StudyFolder.of(tmp_path, "s")
    with (
        folder.lease(),
        pytest.raises(UserError, match="is being driven by process"),
        StudyFolder.of(tmp_path, "s").lease(),
    ):
        pass
    with folder.lease():
        pass


def test_the_null_world_has_encoders_of_its_own() -> None:
    standard, null = plan_of("mixing_ratio"), plan_of("mixing_ratio", "benchmark=synthetic:null")
    digests = {next(iter(p.specs.values())).encoder.digest for p in (standard, null)}
    assert len(digests) == 2
    assert not standard.specs.keys() & null.specs.keys()


FROZEN = {"joint": "ea65f9177a40bfd51995", "mixing_ratio": "fd3f5778d1518e671b20"}
"""If a change of the question is meant, put the new values here: studies of before are marked."""


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_what_a_study_is_held_to_never_changes_unnoticed(name: str) -> None:
    assert plan_of(name).frozen == FROZEN[name]
