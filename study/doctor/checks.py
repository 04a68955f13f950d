"""Checks of machines' facts: each finding says what is wrong and what to do about it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from study.cost.inputs_needed import Need
from study.doctor.facts import Facts, gather, locked_versions, probe_files
from study.doctor.ports import OpenPort
from study.state import databases
from trainables.errors import UserError
from trainables.storage import paths as places
from trainables.storage.paths import AnyPath

LITTLE, NONE = 10_000_000_000, 1_000_000_000
"""Free bytes of a disk below which to warn, and below which a study soon stops."""

SKEW = 5.0
"""Seconds between two clocks that confuse readers of logs; stores refuse beyond 15 minutes."""

INSTALL = "install the same lock everywhere: `ray up` again, or requirements/install.py cluster"
RESTART = "`. cluster/environment.sh` before `ray start`"

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Diagnosis:
    """Finding of one check.

    Attributes:
        check: Name of the check.
        where: Machine; `all` if it concerns several.
        state: `problem` if a study would fail or be unsafe, `warning` if it could do better.
        says: Description of the finding.
        remedy: What to do; empty if nothing.
    """

    check: str
    where: str
    state: State
    says: str
    remedy: str


Findings = Iterable[tuple[str, State, str, str]]
"""Results of a check: the fields of each `Diagnosis` after its name."""


def diagnose(
    root: AnyPath, state: Path, needed: Sequence[Need], address: str | None
) -> list[Diagnosis]:
    """Run all checks; probe files and new folders are removed again.

    Args:
        root: Folder or object store for trial folders.
        state: Local folder for databases, locks and the cache.
        needed: Data and checkpoints that trials read.
        address: Address of a cluster whose machines are all asked; None for this machine alone.

    Raises:
        UserError: No cluster answers at the address.
    """
    nonce = f".doctor-{uuid.uuid4().hex[:12]}"
    folders = [need.place for need in needed if need.place and need.place != "embedded"]
    absent = [need for need in needed if need.place is None]
    ancestors = (root, *root.parents) if isinstance(root, Path) else ()
    new_folders = [folder for folder in ancestors if not folder.exists()]
    try:
        machines, without_answer = _ask(address, state, (nonce, str(root), str(state), folders))
        file_count = len(probe_files(root, nonce)) if machines else 0
    finally:
        places.remove(root / nonce)
        for folder in new_folders:
            with suppress(OSError):  # something else has been written there
                folder.rmdir()
    checks: list[tuple[str, Findings]] = [("machine", without_answer)]
    if machines:
        checks += [
            ("versions", versions(machines, locked_versions())),
            ("storage", storage(machines, str(root), file_count)),
            ("clocks", clocks(machines)),
            ("disk", disk(machines)),
            ("GPU", gpu(machines)),
            ("token", token(machines, cluster=address is not None)),
            ("ports", ports(machines)),
        ]
    checks.append(("storage", databases_here(state)))
    if folders or absent:
        checks.append(("data", data(machines, absent)))
    return [Diagnosis(name, *finding) for name, check in checks for finding in check]


def versions(machines: Mapping[str, Facts], lock: Mapping[str, str]) -> Findings:
    """Check that Python, packages and code are equal everywhere, and packages as locked."""
    pythons = {where: facts.python for where, facts in machines.items()}
    if len({version.rpartition(".")[0] for version in pythons.values()}) > 1:
        yield "all", "problem", f"different Pythons: {_listed(pythons)}", INSTALL
    codes = {where: facts.code for where, facts in machines.items()}
    one_code = len(set(codes.values())) == 1
    if not one_code:
        remedy = "ship this project to all machines: `ray up` copies it"
        yield "all", "problem", f"different code of this project: {_listed(codes)}", remedy
    first = next(iter(machines.values()))
    for where, facts in machines.items():
        if unlike := _version_differences(facts.packages, first.packages, lock):
            yield where, "problem", f"other packages than on {first.host}: {unlike}", INSTALL
    if unlike := _version_differences(first.packages, lock, lock):
        remedy = "make install (or requirements/install.py cluster) brings what was tested"
        yield first.host, "warning", f"not as in the lock: {unlike}", remedy
    elif lock and one_code:
        yield "all", "ok", f"Python {first.python}, {len(lock)} packages as in the lock", ""


def storage(machines: Mapping[str, Facts], root: str, together: int) -> Findings:
    """Check that all machines share the root, and that a claim there succeeds on one alone.

    Args:
        machines: Facts of each machine, which wrote a probe under the root.
        root: Root of trial folders.
        together: Number of probe files that this machine sees.
    """
    claims = sum(facts.first for facts in machines.values())
    if failures := {where: facts.storage for where, facts in machines.items() if facts.storage}:
        remedy = "mount the same folder there, or use --root s3://bucket/prefix; check its rights"
        for where, why in failures.items():
            yield where, "problem", f"--root {root}: {why}", remedy
    elif together != len(machines) or claims != 1:
        says = f"--root {root}: {claims} of {len(machines)} machines were first, "
        remedy = "use one folder that all machines mount (NFS), or --root s3://bucket/prefix"
        yield "all", "problem", f"{says}{together} files came together there", remedy
    else:
        several = f"; of {len(machines)} machines one was first" if len(machines) > 1 else ""
        yield "all", "ok", f"--root {root}: written, read and claimed{several}", ""


def databases_here(state: Path) -> Findings:
    """Check that the state folder is on a local disk, as SQLite needs."""
    try:
        databases.refuse_network(state)
    except UserError as error:
        yield "all", "problem", str(error), "choose a local folder with --state"


def clocks(machines: Mapping[str, Facts]) -> Findings:
    """Check that all clocks agree with this machine's within `SKEW`."""
    skews = {where: facts.skew for where, facts in machines.items() if facts.skew is not None}
    remedy = "switch on time synchronisation there (chrony or systemd-timesyncd)"
    for where, skew in skews.items():
        if skew > SKEW:
            yield where, "warning", f"{skew:.0f} s away from this machine's clock", remedy
    if skews and max(skews.values()) <= SKEW:
        yield "all", "ok", f"within {SKEW:.0f} s of each other", ""


def disk(machines: Mapping[str, Facts]) -> Findings:
    """Check disk space for databases, Ray's own files and the cache."""
    remedy = "free some space, choose another disk with --state, or `python -m study clean`"
    for where, facts in machines.items():
        says = f"{facts.free / 1e9:,.1f} GB free"
        if facts.free < LITTLE:
            yield where, "problem" if facts.free < NONE else "warning", says, remedy
        else:
            yield where, "ok", says, ""


def gpu(machines: Mapping[str, Facts]) -> Findings:
    """Check that torch can use the GPUs of each machine."""
    remedy = "install torch's CUDA build, and a driver that is new enough for it"
    for where, facts in machines.items():
        names = ", ".join(facts.gpus)
        if facts.cuda is False:
            yield where, "problem", f"{names}: torch cannot use it", remedy
        else:
            yield where, "ok", names or "none; trials run on the CPU there", ""


def token(machines: Mapping[str, Facts], cluster: bool) -> Findings:
    """Check that Ray's token is private, and on a cluster required and the same everywhere."""
    for where, facts in machines.items():
        if not facts.token.private:
            source = facts.token.source
            yield where, "problem", f"others may read {source}", f"chmod 600 {source}"
        if cluster and facts.token.mode != "token":
            remedy = f"start Ray as cluster.yaml does: {RESTART}"
            yield where, "problem", "RAY_AUTH_MODE is not `token`", remedy
    marks = {facts.token.mark for facts in machines.values()}
    if not cluster:
        yield "all", "ok", "a Ray that a study starts here gets a token of its own", ""
    elif len(marks) > 1 or "" in marks:
        remedy = "ray get-auth-token --generate && chmod 600 ~/.ray/auth_token; ray up"
        yield "all", "problem", "machines have different tokens, or none", remedy
    else:
        yield "all", "ok", "the same everywhere", ""


def ports(machines: Mapping[str, Facts]) -> Findings:
    """Check that beyond loopback no server of ours listens, and Ray only with its token."""
    tunnel = "start it with --host 127.0.0.1 and reach it through an SSH tunnel"
    restart = f"stop that Ray; {RESTART}"
    for where, facts in machines.items():
        ours = [entry for entry in facts.listening if entry.is_ours]
        ray = [entry for entry in facts.listening if entry.is_ray]
        for entry in ours:
            program = entry.command.split(" ")[0]
            yield where, "problem", f"{program} listens on {entry.address}:{entry.port}", tunnel
        if tokenless := [entry for entry in ray if not entry.asks_token]:
            says = f"Ray listens on {_numbers(tokenless)} and asks for no token"
            yield where, "problem", says, restart
        elif with_metrics := [entry for entry in ray if entry.metrics]:
            says = f"Ray may show figures of this machine to everybody ({_numbers(with_metrics)})"
            yield where, "warning", says, restart
        elif not ours:
            says = f"{len(ray)} of Ray beyond loopback, all asking for the token"
            says = says if ray else "nothing of ours beyond loopback"
            other = len(facts.listening) - len(ray)
            yield where, "ok", says + (f"; {other} of other programs" if other else ""), ""


def data(machines: Mapping[str, Facts], absent: Sequence[Need]) -> Findings:
    """Check that machines have all data and checkpoints; for `absent` ones no folder is known."""
    for need in absent:
        option = "--encoder" if need.kind == "checkpoint" else "--data-dir"
        yield "all", "problem", str(need), f"fetch it, or name its folder with {option}"
    remedy = "copy or mount it there under the same path (file_mounts, NFS)"
    for where, facts in machines.items():
        for folder in facts.missing:
            yield where, "problem", f"{folder} is not there", remedy
    if not absent and not any(facts.missing for facts in machines.values()):
        yield "all", "ok", "everything that the space reads is there", ""


def _ask(
    address: str | None, state: Path, request: tuple[str, str, str, list[str]]
) -> tuple[dict[str, Facts], Findings]:
    """Gather the facts of each machine by host name, and findings on those without an answer."""
    if address is None:
        facts = gather(*request)
        return {facts.host: facts}, ()
    from study.launch.nodes import ask

    replies = ask(address, state, gather, *request)
    machines: dict[str, Facts] = {}
    without_answer: list[tuple[str, State, str, str]] = []
    for node in replies.nodes:
        answer = replies.answers[node.id]
        if isinstance(answer, Exception):
            why = " ".join(str(answer).split())[-300:]
            remedy = "the same environment on every machine: `ray up` again; then `ray status`"
            without_answer.append((node.host, "problem", f"cannot be asked: {why}", remedy))
            continue
        machines[node.host] = replace(answer, skew=replies.skews.get(node.id))
    if not any(node.takes_trials for node in replies.nodes):
        says = "no machine takes trials now; an autoscaler must start some"
        without_answer.append(("all", "warning", says, "name their number: --workers N"))
    return machines, without_answer


def _version_differences(
    here: Mapping[str, str], expected: Mapping[str, str], names: Iterable[str]
) -> str:
    """List packages with another version than expected, five by name; empty if none."""
    differences = [
        f"{name} {here.get(name, 'missing')} instead of {expected.get(name, 'none')}"
        for name in names
        if here.get(name) != expected.get(name)
    ]
    more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
    return ", ".join(differences[:5]) + more


def _numbers(entries: Sequence[OpenPort]) -> str:
    return ", ".join(str(entry.port) for entry in entries[:10]) + (", …" if entries[10:] else "")


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{where} {value}" for where, value in values.items())
