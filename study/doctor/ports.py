"""Servers of this machine that other machines could reach."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

LISTENING = "0A"
"""State of a listening socket in /proc/net/tcp."""

RAY = ("gcs_server", "raylet", "ray::", "/ray/", "ray.util.client.server")
"""Substrings that identify Ray's processes by their command line."""

METRICS = "RAY_enable_metrics_collection"
"""Environment variable of Ray; 0 turns off each machine's metrics server."""

OURS = ("mlflow", "optuna_dashboard", "optuna-dashboard", "postgres", "gunicorn", "uvicorn")
"""Substrings that identify servers which must listen on loopback only."""


@dataclass(frozen=True)
class OpenPort:
    """Server that listens beyond loopback.

    Attributes:
        address: Address it listens on.
        port: Port it listens on.
        command: Command line; empty if this user may not see it.
        asks_token: Whether its environment makes Ray ask for a token.
        metrics: Whether its environment lets Ray serve metrics, for which it asks no token.
    """

    address: str
    port: int
    command: str
    asks_token: bool
    metrics: bool

    @property
    def is_ray(self) -> bool:
        """Whether it is a Ray process."""
        return any(word in self.command for word in RAY)

    @property
    def is_ours(self) -> bool:
        """Whether it is a server that other machines must not reach."""
        return not self.is_ray and any(word in self.command for word in OURS)


def listeners(processes: Sequence[int] | None = None) -> list[OpenPort]:
    """List the servers that listen beyond loopback, by port; empty if not on Linux.

    Args:
        processes: Ids of the processes to search; None for all servers of this machine.
    """
    all_processes = sorted(int(folder.name) for folder in Path("/proc").glob("[0-9]*"))
    searched = all_processes if processes is None else processes
    # the first process wins if several hold a socket
    holders = {inode: process for process in reversed(searched) for inode in _sockets(process)}
    servers = set()
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", name).read_text(encoding="ascii").splitlines()[1:]:
                _, local, _, state, *_, inode = line.split()[:10]
                address, port = _parsed(local)
                beyond = state == LISTENING and not address.is_loopback
                if beyond and (inode in holders or processes is None):
                    process = holders.get(inode, 0)
                    words = _environment(process)
                    token = words.get("RAY_AUTH_MODE", "").lower() == "token"
                    metrics = words.get(METRICS, "1").lower() not in ("0", "false")
                    servers.add(OpenPort(str(address), port, _command(process), token, metrics))
    return sorted(servers, key=lambda entry: (entry.port, entry.address))


def _parsed(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """Parse address and port from /proc/net/tcp: 32-bit hexadecimal words in host byte order."""
    digits, _, port = text.partition(":")
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    address = ip_address(struct.pack(f"={len(words)}I", *words))
    return getattr(address, "ipv4_mapped", None) or address, int(port, 16)


def _sockets(process: int) -> Iterator[str]:
    """Yield the inodes of a process's sockets."""
    with suppress(OSError):
        for handle in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                target = str(handle.readlink())
                if target.startswith("socket:["):
                    yield target[8:-1]


def _command(process: int) -> str:
    with suppress(OSError):
        return " ".join(_words(process, "cmdline")).strip()
    return ""


def _environment(process: int) -> dict[str, str]:
    """Read the environment a process was started with; empty if this user may not see it.

    Ray's processes overwrite theirs with their titles; the nearest ancestor's is read instead.
    """
    with suppress(OSError, ValueError):
        while process > 1:
            pairs = (word.partition("=") for word in _words(process, "environ"))
            environment = {name: value for name, _, value in pairs}
            if "PATH" in environment:
                return environment
            # the process name before the last bracket may contain anything
            _, _, rest = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")
            process = int(rest.split()[1])
    return {}


def _words(process: int, file: str) -> list[str]:
    return Path(f"/proc/{process}/{file}").read_bytes().decode(errors="replace").split("\0")
