"""Trials over several ranks ask for as much as they use, or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.cli import arguments
from study.launch.actor import last_word
from study.launch.nodes import Node
from study.launch.resources import request, slots
from tests.samples import values
from trainables.errors import UserError
from trainables.spec import Execution, build_spec
from trainables.trial.trial_folder import TrialFolder


def test_a_trial_asks_for_a_gpu_and_its_threads_a_rank_on_one_machine() -> None:
    execution = Execution(device="cuda", threads=2, ranks=4)
    (bundle,) = request({}, execution, {}).bundles
    assert bundle == {"CPU": 8, "GPU": 4}
    (bundle,) = request({}, Execution(threads=2, ranks=3), {}).bundles
    assert bundle == {"CPU": 6}


def test_a_machine_has_room_for_whole_trials() -> None:
    nodes = [node(cpus=16, gpus=5), node(cpus=7, gpus=1)]
    assert slots(nodes, Execution(device="cuda", ranks=2)) == 2
    assert slots(nodes, Execution(threads=2, ranks=3)) == 3
    assert slots(nodes, Execution(threads=2)) == 11


def test_a_trial_over_machines_asks_for_a_part_of_each() -> None:
    execution = Execution(device="cuda", threads=2, ranks=4, nodes=2)
    asked = request({}, execution, {})
    assert asked.bundles == [{"CPU": 4, "GPU": 2}] * 2
    assert asked.strategy == "STRICT_SPREAD"
    nodes = [node(cpus=16, gpus=8), node(cpus=7, gpus=2), node(cpus=7, gpus=1)]
    assert slots(nodes, execution) == 1, "all parts but one have room on one machine"
    nodes[1] = node(cpus=16, gpus=5)
    assert slots(nodes, execution) == 2
    assert slots(nodes, Execution(ranks=2, nodes=2)) == 19


def test_ranks_are_dealt_evenly_and_to_machines_of_a_cluster() -> None:
    with pytest.raises(UserError, match="--nodes 2: a trial over several machines needs --address"):
        arguments.refuse_layout(4, 2, cluster=False)
    with pytest.raises(UserError, match="use --ranks 6"):
        arguments.refuse_layout(5, 3, cluster=True)
    arguments.refuse_layout(4, 2, cluster=True)
    arguments.refuse_layout(3, 1, cluster=False)


def test_a_word_is_heard_once_and_only_of_this_launch(tmp_path: Path) -> None:
    spec = build_spec(values())
    folder = TrialFolder.of(tmp_path, spec.digest)
    assert last_word(folder, "now", 0) is None
    folder.claim(spec, {"launch": "before"}).fail({"reason": "node lost", "detail": "d"})
    assert last_word(folder, "now", 0) is None
    folder.claim(spec, {"launch": "now"}).fail({"reason": "node lost", "detail": "e"})
    assert last_word(folder, "now", 1) == ("node lost", "e")
    assert last_word(folder, "now", 2) is None, "a worker that was lost before it claimed the next"
    folder.claim(spec, {"launch": "now"})
    assert last_word(folder, "now", 2) is None


def test_more_ranks_than_gpus_are_refused_before_anything_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arguments, "count_gpus", lambda: 2)
    assert arguments.choose_device("auto", None, 2) == "cuda"
    with pytest.raises(UserError, match=r"--ranks 3.*there are 2 here"):
        arguments.choose_device("auto", None, 3)
    assert arguments.choose_device("cuda", "auto", 3) == "cuda"
    assert arguments.choose_device("cpu", None, 3) == "cpu"


def node(cpus: int, gpus: int) -> Node:
    return Node("n", "127.0.0.1", cpus=cpus, gpus=gpus, accelerator=None, here=True)
