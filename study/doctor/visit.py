"""Looking at one machine or at all of a cluster, and judging what was seen."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from study.cost.inputs_needed import Need
from study.doctor import checks
from study.doctor.checks import ClockReading
from study.doctor.diagnosis import Diagnosis, problem
from study.doctor.facts import Facts, examine, visible_files
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
    question_of = (question, str(root), str(state), list(folders))
    try:
        if address is None:
            facts = Facts.of(examine(*question_of))
            machines = {facts.host: facts}
            clocks, findings = dict[str, ClockReading](), list[Diagnosis]()
        else:
            machines, clocks, findings = _everywhere(address, state, question_of)
        together = len(visible_files(root, question)) if machines else 0
    finally:
        places.remove(root / question)
    if machines:
        findings += checks.versions(machines, checks.locked())
        findings += checks.storages(machines, str(root), together)
        findings += checks.clocks(clocks)
        findings += checks.disks(machines)
        findings += checks.gpus(machines)
        findings += checks.tokens(machines, cluster=address is not None)
        findings += checks.ports(machines)
    try:
        databases.refuse_network(state)
    except UserError as error:
        findings.append(problem("storage", "all", str(error), "choose a local folder with --state"))
    if folders or absent:
        findings += checks.data(machines, absent)
    return findings


def _everywhere(
    address: str, state: Path, request: tuple[str, str, str, list[str]]
) -> tuple[dict[str, Facts], dict[str, ClockReading], list[Diagnosis]]:
    """Facts and clocks by the machines' addresses, and what there is to say of silent ones."""
    from study.launch.nodes import ask

    answered = ask(address, state, examine, *request)
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
