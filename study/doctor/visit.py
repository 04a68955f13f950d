"""Looking at one machine or at all of a cluster, and judging what was seen."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from study.cost.inputs_needed import Need
from study.doctor import checks
from study.doctor.checks import ClockReading
from study.doctor.facts import Facts, examine, seen
from study.doctor.finding import Diagnosis, problem
from study.state import databases
from trainables.errors import UserError
from trainables.storage import paths as places
from trainables.storage.paths import AnyPath


def visit(
    root: AnyPath, state: Path, folders: Sequence[str], absent: Sequence[Need], address: str | None
) -> list[Diagnosis]:
    """Everything that can be found.

    Args:
        root: Of trial folders.
        state: Of databases, locks and the cache.
        folders: Of data and checkpoints that trials read.
        absent: Data and checkpoints for which there is no folder, and how to get them.
        address: Of a cluster, all of whose machines are asked; None for this machine alone.

    Raises:
        UserError: No cluster answers at the address.
    """
    question = f".doctor-{uuid.uuid4().hex[:12]}"
    asked = (question, str(root), str(state), list(folders))
    try:
        if address is None:
            facts = Facts.of(examine(*asked))
            machines = {facts.host: facts}
            clocks, found = dict[str, ClockReading](), list[Diagnosis]()
        else:
            machines, clocks, found = _everywhere(address, state, asked)
        together = len(seen(root, question)) if machines else 0
    finally:
        places.remove(root / question)
    if machines:
        found += checks.versions(machines, checks.locked())
        found += checks.storages(machines, str(root), together)
        found += checks.clocks(clocks)
        found += checks.disks(machines)
        found += checks.gpus(machines)
        found += checks.tokens(machines, cluster=address is not None)
        found += checks.ports(machines)
    try:
        databases.refuse_network(state)
    except UserError as error:
        found.append(problem("storage", "all", str(error), "choose a local folder with --state"))
    if folders or absent:
        found += checks.data(machines, absent)
    return found


def _everywhere(
    address: str, state: Path, asked: tuple[str, str, str, list[str]]
) -> tuple[dict[str, Facts], dict[str, ClockReading], list[Diagnosis]]:
    """Facts and clocks by the machines' addresses, and what there is to say of silent ones."""
    from study.launch.nodes import ask

    answered = ask(address, state, examine, *asked)
    machines: dict[str, Facts] = {}
    clocks: dict[str, ClockReading] = {}
    silent = []
    for node in answered.nodes:
        answer = answered.answers[node.id]
        if isinstance(answer, BaseException):
            why = " ".join(str(answer).split())[-300:]
            remedy = "the same environment on every machine: `ray up` again; then `ray status`"
            silent.append(problem("machine", node.host, f"cannot be asked: {why}", remedy))
            continue
        machines[node.host] = Facts.of(answer)
        if node.id in answered.clocks:
            clocks[node.host] = ClockReading(*answered.clocks[node.id])
    if not any(node.takes_trials for node in answered.nodes):
        says = "no machine takes trials now; an autoscaler must start some"
        silent.append(
            Diagnosis("machine", "all", "warning", says, "name their number: --workers N")
        )
    return machines, clocks, silent
