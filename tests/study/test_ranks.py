"""Trials over several ranks ask for as much as they use, or are refused."""

from __future__ import annotations

import pytest
import torch

from study.commands import devices
from study.launch.nodes import Node
from study.launch.resources import request, slots
from trainables.errors import UserError
from trainables.spec import Execution


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


def test_more_ranks_than_gpus_are_refused_before_anything_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "has_cuda", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose_device("auto", None, 2) == "cuda"
    with pytest.raises(UserError, match=r"--ranks 3.*there are 2 here"):
        devices.choose_device("auto", None, 3)
    assert devices.choose_device("cuda", "auto", 3) == "cuda"
    assert devices.choose_device("cpu", None, 3) == "cpu"


def node(cpus: int, gpus: int) -> Node:
    return Node("n", "127.0.0.1", cpus=cpus, gpus=gpus, accelerator=None, here=True)
