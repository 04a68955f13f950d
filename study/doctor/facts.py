"""What a machine says of itself; every machine of a cluster runs `gather`, so it knows no Ray."""

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
"""The repository, as it lies on this machine."""


@dataclass(frozen=True)
class Token:
    """How Ray keeps strangers away.

    Attributes:
        mode: `RAY_AUTH_MODE`; empty where it is not set.
        source: Where the token comes from; empty where there is none.
        mark: The same on machines with the same token, for one nonce.
        private: Whether nobody else may read its file.
    """

    mode: str
    source: str = ""
    mark: str = ""
    private: bool = True


@dataclass(frozen=True)
class Facts:
    """A machine.

    Attributes:
        host: Its name.
        python: Version.
        packages: Installed versions by name.
        code: A hash of this project's modules.
        free: Bytes left on the disk of the state folder.
        gpus: Names of GPUs, as the driver says.
        cuda: Whether torch can use them; None where there are none.
        token: Of Ray.
        listening: Servers that others could reach.
        storage: What is wrong with the root; empty where nothing is.
        first: Whether this machine was the first to create the probe of this nonce.
        missing: Folders of data and checkpoints that are not here.
        skew: Seconds by which its clock certainly differs; None where it was not asked the time.
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
    """Look at this machine.

    Args:
        nonce: A name that nothing else has; a folder of it under `root` is written to.
        root: Of trial folders.
        state: Of databases and the cache.
        folders: That trials read.
    """
    wrong, first = probe(root, nonce)
    names, cuda = gpus()
    disk = next(path for path in (Path(state), *Path(state).resolve().parents) if path.is_dir())
    return Facts(
        host=socket.gethostname(),
        python=platform.python_version(),
        packages={
            # a local part such as +cpu names one build of the same version
            entry.metadata["Name"].lower().replace("_", "-"): entry.version.partition("+")[0]
            for entry in distributions()
        },
        code=code_digest(),
        free=shutil.disk_usage(disk).free,
        gpus=names,
        cuda=cuda,
        token=token(nonce),
        listening=listeners(),
        storage=wrong,
        first=first,
        missing=[name for name in folders if not Path(name).exists()],
    )


def probe(root: str, nonce: str) -> tuple[str, bool]:
    """Write, read and claim under a root: of all machines that ask the same, one may claim.

    Returns:
        What is wrong, empty where nothing is; whether this machine was first.
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
    except Exception as error:  # every store's client has errors of its own
        return " ".join(f"{type(error).__name__}: {error}".split())[:300], False


def probe_files(root: AnyPath, nonce: str) -> set[str]:
    """Names of the probes of all machines, as this one sees them."""
    return set(places.files_under(root / nonce)) - {"claimed"}


def locked_versions(sources: Path = SOURCES) -> dict[str, str]:
    """Versions of the lock; empty where this is no clone of the repository."""
    try:
        lines = (sources / "requirements/runtime.lock").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("==") for line in lines if "==" in line)
    return {name: version for name, _, version in pairs}


def code_digest(sources: Path = SOURCES) -> str:
    """12 hexadecimal digits that name the content of all modules of this project."""
    digest = hashlib.sha256()
    for folder in ("study", "trainables"):
        for path in sorted((sources / folder).rglob("*.py")):
            digest.update(path.relative_to(sources).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def gpus() -> tuple[list[str], bool | None]:
    """What NVIDIA's driver names, and whether torch can use it; None where there is nothing."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return [], None
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    names = [line.strip() for line in done.stdout.splitlines()] if done.returncode == 0 else []
    if not names:
        return [], None
    import torch

    return names, torch.cuda.is_available()


def token(nonce: str) -> Token:
    """How Ray finds its token here: the environment first, a file named there, the usual file."""
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
