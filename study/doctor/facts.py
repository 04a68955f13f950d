"""What a machine is asked about; runs on every machine of a cluster, so it knows no Ray."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import socket
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from study.doctor.ports import OpenPort, listeners
from trainables.errors import UserError
from trainables.storage import atomic as storage
from trainables.storage.paths import AnyPath, parse_root

SOURCES = Path(__file__).resolve().parents[2]
"""The repository, as it lies on this machine."""

DEFAULT_TOKEN = "~/.ray/auth_token"


@dataclass(frozen=True)
class Token:
    """How Ray keeps strangers away here.

    Attributes:
        mode: `RAY_AUTH_MODE`; empty where it is not set.
        source: Where the token comes from; empty where there is none.
        mark: The same on machines with the same token, for one question.
        private: Whether nobody else may read its file.
    """

    mode: str
    source: str
    mark: str
    private: bool


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
        claimed: Whether this machine was the first to create the probe of this question.
        missing: Folders of data and checkpoints that are not here.
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
    claimed: bool
    missing: Sequence[str]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Facts:
        """From the plain values that come over from another machine."""
        token = Token(**values["token"])
        listening = [OpenPort(**entry) for entry in values["listening"]]
        return cls(**{**values, "token": token, "listening": listening})


def examine(question: str, root: str, state: str, folders: Sequence[str]) -> dict[str, Any]:
    """Look at this machine.

    Args:
        question: A name that nothing else has; a folder of it under `root` is written to.
        root: Of trial folders.
        state: Of databases and the cache.
        folders: That trials read.

    Returns:
        The fields of `Facts`, as plain values.
    """
    wrong, claimed = probe(root, question)
    gpus = names_of_gpus()
    facts = Facts(
        host=socket.gethostname(),
        python=platform.python_version(),
        packages={
            # a local part such as +cpu names one build of the same version
            entry.metadata["Name"].lower().replace("_", "-"): entry.version.partition("+")[0]
            for entry in distributions()
        },
        code=code_digest(),
        free=free_bytes(Path(state)),
        gpus=gpus,
        cuda=usable_cuda() if gpus else None,
        token=token(question),
        listening=listeners(),
        storage=wrong,
        claimed=claimed,
        missing=[name for name in folders if not Path(name).exists()],
    )
    return asdict(facts)


def probe(root: str, question: str) -> tuple[str, bool]:
    """Write, read and claim under a root: of all machines that ask the same, one may claim.

    Returns:
        What is wrong, empty where nothing is; whether this machine was first.
    """
    try:
        folder = parse_root(root) / question
        name = f"{socket.gethostname()}-{os.getpid()}"
        storage.write(folder / name, name.encode())
        if storage.read(folder / name) != name.encode():
            return "what was written there reads differently", False
        return "", storage.create(folder / "claimed", name.encode())
    except UserError as error:
        return str(error), False
    except Exception as error:  # every store's client has errors of its own
        return " ".join(f"{type(error).__name__}: {error}".split())[:300], False


def visible_files(root: AnyPath, question: str) -> set[str]:
    """Names of the probes of all machines, as this one sees them."""
    from trainables.storage.paths import files_under

    return set(files_under(root / question)) - {"claimed"}


def code_digest(sources: Path = SOURCES) -> str:
    """12 hexadecimal digits that name the content of all modules of this project."""
    digest = hashlib.sha256()
    for folder in ("study", "trainables"):
        for path in sorted((sources / folder).rglob("*.py")):
            digest.update(path.relative_to(sources).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def free_bytes(folder: Path) -> int:
    """Bytes left on the disk of a folder, which need not be there."""
    there = next(path for path in (folder, *folder.resolve().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def names_of_gpus() -> list[str]:
    """What NVIDIA's driver says it has; empty without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(
        ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return [line.strip() for line in done.stdout.splitlines()] if done.returncode == 0 else []


def usable_cuda() -> bool:
    """Whether torch can compute on CUDA."""
    import torch

    return torch.cuda.is_available()


def token(salt: str) -> Token:
    """How Ray finds its token here: the environment first, a file named there, the usual file."""
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if value := os.environ.get("RAY_AUTH_TOKEN"):
        return Token(mode, "RAY_AUTH_TOKEN", _mark(value, salt), private=True)
    path = Path(os.path.expanduser(os.environ.get("RAY_AUTH_TOKEN_PATH", DEFAULT_TOKEN)))
    try:
        value = path.read_text(encoding="utf-8").strip()
        private = stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    except OSError:
        return Token(mode, "", "", private=True)
    return Token(mode, str(path), _mark(value, salt), private)


def _mark(value: str, salt: str) -> str:
    return hashlib.sha256(f"{salt} {value}".encode()).hexdigest()[:12]
