"""From what machines say of themselves to findings, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.cost.inputs_needed import Need
from study.doctor.diagnosis import Diagnosis, ok, problem, warning
from study.doctor.facts import SOURCES, Facts
from study.doctor.ports import OpenPort

LITTLE, NONE = 10_000_000_000, 1_000_000_000
"""Bytes left on a disk below which a person should know, and below which a study soon stops."""

SKEW = 5.0
"""Seconds between two clocks that confuse people who read logs; stores refuse after 15 minutes."""

INSTALL = "install the same lock everywhere: `ray up` again, or requirements/install.py cluster"


@dataclass(frozen=True)
class ClockReading:
    """When a machine said what time it is.

    Attributes:
        sent: This machine's time before it was asked.
        said: That machine's time.
        answered: This machine's time after it answered.
    """

    sent: float
    said: float
    answered: float

    @property
    def skew(self) -> float:
        """Seconds by which that clock certainly differs: an answer takes time on its way."""
        return max(self.sent - self.said, self.said - self.answered, 0.0)


def versions(machines: Mapping[str, Facts], locked: Mapping[str, str]) -> Iterator[Diagnosis]:
    """Python, packages and this project's code, equal on all machines and as the lock says."""
    check = "versions"
    pythons = {where: facts.python for where, facts in machines.items()}
    if len({version.rpartition(".")[0] for version in pythons.values()}) > 1:
        yield problem(check, "all", f"different Pythons: {_listed(pythons)}", INSTALL)
    codes = {where: facts.code for where, facts in machines.items()}
    if len(set(codes.values())) > 1:
        remedy = "ship this project to all machines: `ray up` copies it"
        yield problem(check, "all", f"different code of this project: {_listed(codes)}", remedy)
    first = next(iter(machines.values()))
    for where, facts in machines.items():
        unlike = _unlike(facts.packages, first.packages, locked)
        if unlike:
            yield problem(check, where, f"other packages than on {first.host}: {unlike}", INSTALL)
    if unlike := _unlike(first.packages, locked, locked):
        remedy = "make install (or requirements/install.py cluster) brings what was tested"
        yield warning(check, first.host, f"not as in the lock: {unlike}", remedy)
    elif locked and len(set(codes.values())) == 1:
        yield ok(check, "all", f"Python {first.python}, {len(locked)} packages as in the lock")


def _unlike(here: Mapping[str, str], expected: Mapping[str, str], names: Mapping[str, str]) -> str:
    """Packages with another version than wanted, at most five."""
    differing = [
        f"{name} {here.get(name, 'missing')} instead of {expected.get(name, 'none')}"
        for name in names
        if here.get(name) != expected.get(name)
    ]
    more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
    return ", ".join(differing[:5]) + more


def storages(machines: Mapping[str, Facts], root: str, together: int) -> Iterator[Diagnosis]:
    """The root is the same place everywhere, and lets one machine claim what several want."""
    check = "storage"
    broken = {where: facts.storage for where, facts in machines.items() if facts.storage}
    for where, why in broken.items():
        remedy = "mount the same folder there, or use --root s3://bucket/prefix; check its rights"
        yield problem(check, where, f"--root {root}: {why}", remedy)
    if broken:
        return
    claims = [where for where, facts in machines.items() if facts.claimed]
    if together != len(machines) or len(claims) != 1:
        says = f"--root {root}: {len(claims)} of {len(machines)} machines were first, "
        remedy = "use one folder that all machines mount (NFS), or --root s3://bucket/prefix"
        yield problem(check, "all", f"{says}{together} files came together there", remedy)
        return
    several = f"; of {len(machines)} machines one was first" if len(machines) > 1 else ""
    yield ok(check, "all", f"--root {root}: written, read and claimed{several}")


def clocks(said: Mapping[str, ClockReading]) -> Iterator[Diagnosis]:
    """Whether all machines know what time it is."""
    late = {where: clock.skew for where, clock in said.items() if clock.skew > SKEW}
    for where, skew in late.items():
        remedy = "switch on time synchronisation there (chrony or systemd-timesyncd)"
        yield warning("clocks", where, f"{skew:.0f} s away from this machine's clock", remedy)
    if said and not late:
        yield ok("clocks", "all", f"within {SKEW:.0f} s of each other")


def disks(machines: Mapping[str, Facts]) -> Iterator[Diagnosis]:
    """Room for databases, Ray's own files and the cache."""
    for where, facts in machines.items():
        says = f"{facts.free / 1e9:,.1f} GB free"
        remedy = "free some space, choose another disk with --state, or `python -m study clean`"
        if facts.free < NONE:
            yield problem("disk", where, says, remedy)
        elif facts.free < LITTLE:
            yield warning("disk", where, says, remedy)
        else:
            yield ok("disk", where, says)


def gpus(machines: Mapping[str, Facts]) -> Iterator[Diagnosis]:
    """Whether torch can use the GPUs that are there."""
    for where, facts in machines.items():
        names = ", ".join(facts.gpus)
        if facts.cuda is False:
            remedy = "install torch's CUDA build, and a driver that is new enough for it"
            yield problem("GPU", where, f"{names}: torch cannot use it", remedy)
        else:
            yield ok("GPU", where, names or "none; trials run on the CPU there")


def tokens(machines: Mapping[str, Facts], cluster: bool) -> Iterator[Diagnosis]:
    """Ray's token: everywhere the same, in a file that nobody else reads."""
    check, before = "token", "ray get-auth-token --generate && chmod 600 ~/.ray/auth_token"
    for where, facts in machines.items():
        if not facts.token.private:
            yield problem(
                check,
                where,
                f"others may read {facts.token.source}",
                f"chmod 600 {facts.token.source}",
            )
        if cluster and facts.token.mode != "token":
            remedy = "start Ray as cluster.yaml does: `. cluster/environment.sh` before `ray start`"
            yield problem(check, where, "RAY_AUTH_MODE is not `token`", remedy)
    marks = {facts.token.mark for facts in machines.values()}
    if cluster and (len(marks) > 1 or "" in marks):
        yield problem(check, "all", "machines have different tokens, or none", f"{before}; ray up")
    elif not cluster:
        yield ok(check, "all", "a Ray that a study starts here gets a token of its own")
    else:
        yield ok(check, "all", "the same everywhere")


def ports(machines: Mapping[str, Facts]) -> Iterator[Diagnosis]:
    """What listens beyond loopback: only Ray may, and only with the token."""
    for where, facts in machines.items():
        bad = [entry for entry in facts.listening if entry.is_ours]
        open_ray = [entry for entry in facts.listening if entry.is_ray]
        for entry in bad:
            says = f"{entry.command.split(' ')[0]} listens on {entry.address}:{entry.port}"
            remedy = "start it with --host 127.0.0.1 and reach it through an SSH tunnel"
            yield problem("ports", where, says, remedy)
        if unguarded := [entry for entry in open_ray if not entry.guarded]:
            remedy = "stop that Ray; `. cluster/environment.sh` before `ray start`"
            says = f"Ray listens on {_ports(unguarded)} and asks for no token"
            yield problem("ports", where, says, remedy)
        elif telling := [entry for entry in open_ray if entry.metrics]:
            remedy = "stop that Ray; `. cluster/environment.sh` before `ray start`"
            says = f"Ray may show figures of this machine to everybody ({_ports(telling)})"
            yield warning("ports", where, says, remedy)
        elif not bad:
            other = len(facts.listening) - len(open_ray)
            says = f"{len(open_ray)} of Ray beyond loopback, all asking for the token"
            said = says if open_ray else "nothing of ours beyond loopback"
            yield ok("ports", where, f"{said}; {other} of other programs" if other else said)


def data(machines: Mapping[str, Facts], missing: Sequence[Need]) -> Iterator[Diagnosis]:
    """Checkpoints and data of a space, where trials will read them.

    Args:
        machines: Who said which folders are not there.
        missing: What no folder was found for, each with how to get it.
    """
    for need in missing:
        option = "--encoder" if need.kind == "checkpoint" else "--data-dir"
        yield problem("data", "all", str(need), f"fetch it, or name its folder with {option}")
    for where, facts in machines.items():
        for folder in facts.missing:
            remedy = "copy or mount it there under the same path (file_mounts, NFS)"
            yield problem("data", where, f"{folder} is not there", remedy)
    if not missing and not any(facts.missing for facts in machines.values()):
        yield ok("data", "all", "everything that the space reads is there")


def locked(sources: Path = SOURCES) -> dict[str, str]:
    """Versions of the lock; empty where this is no clone of the repository."""
    try:
        lines = (sources / "requirements/runtime.lock").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("==") for line in lines if "==" in line)
    return {name: version for name, _, version in pairs}


def _ports(entries: Sequence[OpenPort]) -> str:
    more = ", …" if len(entries) > 10 else ""
    return ", ".join(str(entry.port) for entry in entries[:10]) + more


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{where} {value}" for where, value in values.items())
