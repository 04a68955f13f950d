"""Every connection of a program and of all that it starts, as the kernel sees them (strace).

A hook in Python would miss Ray's servers, which are C++.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

PYTEST_AND_CI = ("CI", "PYTEST", "GITHUB_", "MLFLOW_", "DO_NOT_TRACK", "RAY_", "HF_", "OMP_")
"""Variables under which telemetry is silent, or that tests set; a person's machine has none."""

CALLS = ("connect", "sendto", "sendmsg", "sendmmsg")

LINE = re.compile(r"(connect|sendto|sendmsg|sendmmsg)\(\d+<(TCP|UDP|TCPv6|UDPv6):\[(.*?)\]>, (.*)")
"""A call on a socket: its name, the protocol, who is connected with it, what it is given."""

NAMED = re.compile(r"inet_addr\(\"([^\"]+)\"\)|inet_pton\(AF_INET6, \"([^\"]+)\"")
"""An address among what a call is given."""

PORT = re.compile(r"htons\((\d+)\)")
"""Its port."""

PEER = re.compile(r"->\[?([0-9a-fA-F.:]+?)\]?:(\d+)$")
"""The other end of a connected socket."""

NAME_SERVER = 53
"""The port at which names are looked up: one on this machine passes the question on."""


@dataclass(frozen=True)
class Sent:
    """A system call that names another address.

    Attributes:
        call: Its name.
        kind: `TCP`, `UDP`, `TCPv6` or `UDPv6`.
        address: Where to.
        port: Likewise.
    """

    call: str
    kind: str
    address: str
    port: int

    @property
    def leaves(self) -> bool:
        """Whether a packet goes to another machine, or to a name server.

        To connect a UDP socket sends nothing: it is how programs, Ray among them, learn which of
        their own addresses faces outwards.
        """
        silent = self.call == "connect" and self.kind.startswith("UDP")
        return not silent and (self.port == NAME_SERVER or not is_own(self.address))


def is_own(address: str) -> bool:
    """Whether an address is one of this machine's: only such can be listened on."""
    number = ip_address(address.removeprefix("::ffff:"))
    if number.is_loopback or number.is_unspecified:
        return True
    family = socket.AF_INET if number.version == 4 else socket.AF_INET6
    with socket.socket(family) as probe:
        try:
            probe.bind((str(number), 0))
        except OSError:
            return False
    return True


def parsed(log: str) -> list[Sent]:
    """What strace wrote of the internet's sockets."""
    found = []
    for line in log.splitlines():
        if match := LINE.search(line):
            call, kind, ends, given = match.groups()
            if named := NAMED.search(given):
                port = PORT.search(given)
                found.append(Sent(call, kind, named[1] or named[2], int(port[1]) if port else 0))
            elif peer := PEER.search(ends):
                found.append(Sent(call, kind, peer[1], int(peer[2])))
    return found


def recorded(words: Sequence[str], log: Path) -> list[str]:
    """A command line that runs `words` and writes all its connections to `log`."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (Debian: apt-get install strace)")
    options = ["-f", "-qq", "-yy", "--seccomp-bpf", "-e", f"trace={','.join(CALLS)}"]
    return ["strace", *options, "-e", "signal=none", "-o", str(log), *words]


def of_a_person(home: Path) -> dict[str, str]:
    """An environment without what tests and CI set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(PYTEST_AND_CI)}
    return kept | {"HOME": str(home)}


def run(words: Sequence[str], log: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program as on a person's machine, recorded."""
    return subprocess.run(
        recorded(words, log),
        env=of_a_person(folder),
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
