"""Facts of one machine; `gather` runs on every machine of a cluster, so it imports no Ray."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from study.doctor.ports import OpenPort, listeners
from trainables.errors import UserError
from trainables.storage import atomic as storage
from trainables.storage import paths as places
from trainables.storage.paths import AnyPath

SOURCES = Path(__file__).resolve().parents[2]
"""Folder of the repository on this machine."""


@dataclass(frozen=True)
class Token:
    """Authentication of Ray on a machine.

    Attributes:
        mode: `RAY_AUTH_MODE`; empty if not set.
        source: Environment variable or file of the token; empty without one.
        mark: Hash of nonce and token, equal on machines with the same token; empty without one.
        private: Whether no other user may read the file.
    """

    mode: str
    source: str = ""
    mark: str = ""
    private: bool = True


@dataclass(frozen=True)
class Facts:
    """Facts of a machine.

    Attributes:
        host: Host name.
        python: Version of Python.
        packages: Installed versions by name.
        code: Digest of this project's modules.
        free: Free bytes on the disk of the state folder.
        gpus: Names of GPUs from NVIDIA's driver.
        cuda: Whether torch can use them; None without GPUs.
        token: Ray's token.
        listening: Servers that other machines could reach.
        storage: Problem with the root; empty without one.
        first: Whether this machine won the claim under the root.
        missing: Folders of data and checkpoints that do not exist here.
        skew: Seconds by which its clock differs at least; None if not asked.
    """

    host: str
    python: str
    packages: Mapping[str, str]
    code: str
    free: int
    gpus: Sequence[str]
    cuda: bool | None
    token: Token
    listening: Sequence[OpenPort]
    storage: str
    first: bool
    missing: Sequence[str]
    skew: float | None = None


def gather(nonce: str, root: str, state: str, folders: Sequence[str]) -> Facts:
    """Gather the facts of this machine.

    Args:
        nonce: Unique name of a probe folder, which is created under `root`.
        root: Folder or object store for trial folders.
        state: Local folder for databases and the cache.
        folders: Folders that trials read.
    """
    problem, first = probe(root, nonce)
    names, cuda = gpus()
    disk = next(path for path in (Path(state), *Path(state).resolve().parents) if path.is_dir())
    return Facts(
        host=socket.gethostname(),
        python=platform.python_version(),
        packages={
            # a local part such as +cpu names a build of the same version
            entry.metadata["Name"].lower().replace("_", "-"): entry.version.partition("+")[0]
            for entry in distributions()
        },
        code=code_digest(),
        free=shutil.disk_usage(disk).free,
        gpus=names,
        cuda=cuda,
        token=token(nonce),
        listening=listeners(),
        storage=problem,
        first=first,
        missing=[name for name in folders if not Path(name).exists()],
    )


def probe(root: str, nonce: str) -> tuple[str, bool]:
    """Write and read a file under a root, and claim another that only one machine can create.

    Returns:
        The problem, empty without one; whether this machine won the claim.
    """
    try:
        folder = places.parse_root(root) / nonce
        name = f"{socket.gethostname()}-{os.getpid()}"
        storage.write(folder / name, name.encode())
        if storage.read(folder / name) != name.encode():
            return "what was written there reads differently", False
        return "", storage.create(folder / "claimed", name.encode())
    except UserError as error:
        return str(error), False
    except Exception as error:  # each store's client raises its own errors
        return " ".join(f"{type(error).__name__}: {error}".split())[:300], False


def probe_files(root: AnyPath, nonce: str) -> set[str]:
    """List the names of all machines' probe files that this machine sees."""
    return set(places.files_under(root / nonce)) - {"claimed"}


def locked_versions(sources: Path = SOURCES) -> dict[str, str]:
    """Read the locked versions by package; empty if this is no clone of the repository."""
    try:
        lines = (sources / "requirements/runtime.lock").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("==") for line in lines if "==" in line)
    return {name: version for name, _, version in pairs}


def code_digest(sources: Path = SOURCES) -> str:
    """Hash the paths and content of all modules of this project to 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for folder in ("study", "trainables"):
        for path in sorted((sources / folder).rglob("*.py")):
            digest.update(path.relative_to(sources).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def gpus() -> tuple[list[str], bool | None]:
    """List the GPUs that NVIDIA's driver names, and whether torch can use them; None without."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return [], None
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    names = [line.strip() for line in run.stdout.splitlines()] if run.returncode == 0 else []
    if not names:
        return [], None
    import torch

    return names, torch.cuda.is_available()


def token(nonce: str) -> Token:
    """Find Ray's token as Ray does: in the environment, a file named there, or the usual file."""
    mode = os.environ.get("RAY_AUTH_MODE", "")
    source, private, value = "RAY_AUTH_TOKEN", True, os.environ.get("RAY_AUTH_TOKEN", "")
    if not value:
        source = os.path.expanduser(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token"))
        try:
            value = Path(source).read_text(encoding="utf-8").strip()
            private = Path(source).stat().st_mode & 0o077 == 0
        except OSError:
            return Token(mode)
    mark = hashlib.sha256(f"{nonce} {value}".encode()).hexdigest()[:12]
    return Token(mode, source, mark, private)
