"""Which servers of this machine others could reach."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

LISTENING = "0A"
"""The state of a socket, as the kernel lists it."""

RAY = ("gcs_server", "raylet", "ray::", "/ray/", "ray.util.client.server")
"""What is in the command line of Ray's processes."""

METRICS = "RAY_enable_metrics_collection"
"""Of Ray's environment: 0 keeps a machine's server of figures shut."""

OURS = ("mlflow", "optuna_dashboard", "optuna-dashboard", "postgres", "gunicorn", "uvicorn")
"""What is in the command line of servers that must listen on this machine alone."""


@dataclass(frozen=True)
class OpenPort:
    """A server beyond loopback.

    Attributes:
        address: It listens on.
        port: Likewise.
        command: Its command line, as far as this user may see it; else empty.
        asks_token: Whether its environment makes Ray ask for a token.
        metrics: Whether its environment lets Ray serve figures, for which it asks no token.
    """

    address: str
    port: int
    command: str
    asks_token: bool
    metrics: bool

    @property
    def is_ray(self) -> bool:
        """Whether it is one of Ray's processes."""
        return any(word in self.command for word in RAY)

    @property
    def is_ours(self) -> bool:
        """Whether it is a server that must not be reached from elsewhere."""
        return not self.is_ray and any(word in self.command for word in OURS)


def listeners(processes: Sequence[int] | None = None) -> list[OpenPort]:
    """Servers of this machine, or of these processes, beyond loopback; empty off Linux."""
    every = sorted(int(folder.name) for folder in Path("/proc").glob("[0-9]*"))
    looked_at = every if processes is None else processes
    # of several processes that hold a socket, the first
    holders = {inode: process for process in reversed(looked_at) for inode in _sockets(process)}
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
    """Address and port as the kernel writes them: words of 32 bits, each in the machine's order."""
    digits, _, port = text.partition(":")
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    address = ip_address(struct.pack(f"={len(words)}I", *words))
    return getattr(address, "ipv4_mapped", None) or address, int(port, 16)


def _sockets(process: int) -> Iterator[str]:
    """Inodes of the sockets of a process."""
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
    """With what a process was started; empty where this user may not see it.

    Ray's processes write their titles over it; then it is that of their parent.
    """
    with suppress(OSError, ValueError):
        while process > 1:
            pairs = (word.partition("=") for word in _words(process, "environ"))
            environment = {name: value for name, _, value in pairs}
            if "PATH" in environment:
                return environment
            # the name before it is in brackets and may hold anything
            _, _, rest = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")
            process = int(rest.split()[1])
    return {}


def _words(process: int, file: str) -> list[str]:
    return Path(f"/proc/{process}/{file}").read_bytes().decode(errors="replace").split("\0")
