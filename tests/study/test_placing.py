"""What trials ask for, and whose loss counts; without Ray, which only carries it out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.launch import nodes as nodes_module
from study.launch import resources as placing_module
from study.launch.nodes import Node, read_proof, refuse_another_root, shared_root
from study.launch.resources import (
    lacking,
    most_at_once,
    part_of_gpu,
    placing,
    request,
    slots,
    smallest_gpu,
)
from study.launch.retries import GIVEN_UP, RETRIES, RetryPolicy
from tests.samples import values
from trainables.errors import UserError
from trainables.spec import Execution, build_spec


def node(name: str, cpus: int = 2, gpus: int = 0, kind: str | None = None) -> Node:
    return Node(name, name, cpus, gpus, kind, here=name == "head")


def answering(sees: Callable[[str, str], Any]) -> Callable[..., dict[str, Any]]:
    """`on_each` of machines that read a file as `sees` says, by machine and path."""

    def on_each(nodes: list[Node], function: Any, path: str) -> dict[str, Any]:
        assert function is read_proof
        return {node.id: sees(node.id, path) for node in nodes}

    return on_each


@pytest.mark.parametrize(
    ("needed", "memory", "part"),
    [
        (2e9, None, 1.0),  # nobody knows the GPU
        (2e9, 22e9, 0.125),  # eight fit
        (20e9, 22e9, 1.0),
        (30e9, 22e9, 1.0),  # does not fit at all: the estimate may be wrong
        (8e9, 22e9, 0.5),
        (5.8e9, 22e9, 0.3333),
        (1e8, 140e9, 0.125),  # never more than eight
    ],
)
def test_part_of_a_gpu(needed: float, memory: float | None, part: float) -> None:
    assert part_of_gpu(needed, memory) == part
    assert part * round(1 / part) <= 1


def test_the_smallest_gpu_that_a_trial_may_meet_decides() -> None:
    seen = [node("a", gpus=1, kind="L40S"), node("b", gpus=1, kind="L4"), node("c")]
    assert smallest_gpu(seen, None, None) == 22e9
    assert smallest_gpu(seen, "T4", None) == 15e9
    assert smallest_gpu([node("c")], "L4", None) == 22e9
    assert smallest_gpu([node("c")], None, None) is None
    assert smallest_gpu([*seen, node("d", gpus=1, kind="B300")], None, None) is None
    assert smallest_gpu([], None, 8e9) == 8e9


def test_slots_are_what_there_is_room_for() -> None:
    machines = [node("head", cpus=0), node("a", cpus=5), node("b", cpus=3, gpus=2, kind="L4")]
    assert slots(machines, Execution(threads=2)) == 3
    assert slots(machines, Execution(device="cuda")) == 2
    assert slots([node("head", cpus=0)], Execution()) == 1


def test_gpus_hold_no_more_trials_than_fit() -> None:
    machine = [node("a", cpus=16, gpus=1, kind="L4")]
    cuda = Execution(device="cuda")
    assert most_at_once(machine, Execution(), {}, None) == math.inf
    assert most_at_once(machine, cuda, {}, None) == 1
    assert most_at_once(machine, cuda, {"small": 2e9, "large": 20e9}, 22e9) == 8
    assert most_at_once(machine, cuda, {"large": 20e9}, 22e9) == 1
    assert most_at_once([node("a", cpus=16, gpus=4)], replace(cuda, ranks=2), {}, None) == 2


def test_a_trial_asks_for_its_threads_and_its_part_of_a_gpu() -> None:
    from study.cost.groups import cost_key

    small, other = build_spec(values()), build_spec(values(batch_size=4))
    parts = {cost_key(small): 0.25}
    config = {"spec": small.model_dump_json(exclude_none=True)}
    asked = request(parts, Execution(threads=3, device="cuda"), config)
    assert asked.bundles == [{"CPU": 3, "GPU": 0.25}]
    assert asked.strategy == "PACK"
    config = {"spec": other.model_dump_json(exclude_none=True)}
    assert request(parts, Execution(device="cuda"), config).bundles == [{"CPU": 1, "GPU": 1.0}]
    assert request(parts, Execution(), config).bundles == [{"CPU": 1}]


def test_a_trial_over_several_gpus_has_them_alone() -> None:
    several = Execution(threads=2, device="cuda", ranks=4)
    assert request({}, several, {}).bundles == [{"CPU": 8, "GPU": 4}]
    assert slots([node("a", cpus=16, gpus=8), node("b", cpus=8, gpus=3)], several) == 2


def test_what_another_machine_lacks_is_put_under_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").touch()
    places = {"d" * 20: str(tmp_path / "data"), "e" * 20: "/not/here"}
    lacks = lambda nodes, *_: {node.id: list(places) for node in nodes}  # noqa: E731
    monkeypatch.setattr(placing_module, "on_each", lacks)
    assert lacking(places, [node("head"), node("a")]) == ["d" * 20]
    assert lacking(places, [node("head", cpus=0)]) == ["d" * 20], "machines are still to come"
    assert lacking(places, [node("head")]) == []
    monkeypatch.setattr(placing_module, "on_each", lambda nodes, *_: {n.id: [] for n in nodes})
    assert lacking(places, [node("head"), node("a")]) == []


def test_machines_that_go_away_are_no_failure() -> None:
    trial, patience = SimpleNamespace(config={"spec": "x"}, max_failures=-1), RetryPolicy()
    trial.set_config = lambda config: setattr(trial, "config", config)
    for _ in range(10):
        patience.lost(trial, "d", "node lost", "the machine of its worker went away")
    for _ in range(RETRIES):
        patience.lost(trial, "d", "killed", "its worker died")
    patience.lost(trial, "d", "node lost", "the machine of its worker went away")
    assert trial.max_failures == -1
    assert GIVEN_UP not in trial.config
    patience.lost(trial, "d", "killed", "its worker died")
    assert trial.config == {"spec": "x", GIVEN_UP: ["killed", "its worker died; tried 3 times"]}
    assert trial.max_failures == 0, "if even that start fails, Tune ends it"


def test_a_root_that_all_machines_see_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes_module, "on_each", answering(lambda _, path: read_proof(path)))
    with shared_root(tmp_path, [node("head"), node("a")]) as proof:
        assert Path(proof).is_file()
        refuse_another_root(proof)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="not the folder of --root on this machine"):
        refuse_another_root(proof)


@pytest.mark.parametrize("content", ["", "another"])
def test_a_folder_of_one_machine_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    sees = lambda name, path: content if name == "b" else read_proof(path)  # noqa: E731
    monkeypatch.setattr(nodes_module, "on_each", answering(sees))
    with (
        pytest.raises(UserError, match=r"not the same folder on b as here.*3 machines.*s3://"),
        shared_root(tmp_path, [node("head"), node("a"), node("b")]),
    ):
        pytest.fail("this must not start")
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes_module, "on_each", answering(lambda *_: TimeoutError("late")))
    with (
        pytest.raises(UserError, match=r"a does not answer \(late\).*doctor"),
        shared_root(tmp_path, [node("head"), node("a")]),
    ):
        pytest.fail("this must not start")


def test_a_head_without_trials_needs_a_root_that_others_will_see(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="takes no trials"),
        shared_root(tmp_path, [node("head", cpus=0)]),
    ):
        pytest.fail("this must not start")
    with shared_root(tmp_path, [node("head")]) as proof:
        assert proof == ""


def test_the_autoscaler_is_told_of_all_that_may_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "auto")
    monkeypatch.setattr(placing_module, "alive", lambda: [node("head", cpus=4)])
    with placing(tmp_path, Execution(), None, "auto", {}) as placed:
        assert placed.workers == 4
        assert os.environ["TUNE_MAX_PENDING_TRIALS_PG"] == "4"
    with placing(tmp_path, Execution(), 32, "auto", {}) as placed:
        assert placed.workers == 32
        assert os.environ["TUNE_MAX_PENDING_TRIALS_PG"] == "32"


def test_small_trials_share_a_gpu_and_large_ones_do_not() -> None:
    from study.cost.forecast import gpu_bytes
    from study.planning.build import make_plan
    from study.spaces.schema import load_space

    plan, places = make_plan(load_space("model_scale"), "model_scale", "demo", {})
    needs = gpu_bytes(plan, places, Execution(device="cuda"))
    assert len(needs) >= 2
    assert all(1e9 < needed < 3e9 for needed in needs.values()), "embedded encoders are tiny"
    assert {part_of_gpu(needed, 22e9) for needed in needs.values()} == {0.125}
