"""Asking every machine of a running cluster something, for the doctor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.launch.nodes import Node, alive, on_each
from study.launch.session import ray_session


@dataclass(frozen=True)
class Round:
    """What the machines of a cluster answered.

    Attributes:
        nodes: All that Ray reaches, this machine first.
        answers: By a machine's id: what it said, or the exception in its place.
        clocks: By a machine's id: times before, there, and after.
    """

    nodes: Sequence[Node]
    answers: Mapping[str, Any]
    clocks: Mapping[str, tuple[float, float, float]]


def ask(address: str, state: Path, function: Callable[..., Any], *arguments: Any) -> Round:
    """Run `function` on every machine of a cluster, and ask each what time it is.

    Args:
        address: Of the cluster.
        state: A local folder for temporary files.
        function: Of a module that is installed there too.
        arguments: Plain values.

    Raises:
        UserError: No cluster answers there, or it does not take the token.
    """
    with ray_session(state, 1, address):
        nodes = alive()
        answers = on_each(nodes, function, *arguments)
        clocks = {}
        for node in nodes:  # one after the other: an answer must not wait for another's
            asked = time.time()
            said = on_each([node], time.time)[node.id]
            if isinstance(said, float):
                clocks[node.id] = (asked, said, time.time())
    return Round(nodes, answers, clocks)
