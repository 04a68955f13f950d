"""Command-line arguments of a study: space, tier, settings, data folder, device and layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from study.spaces.schema import Space, Tier, load_space, refuse_several
from study.spaces.settings import parse_assignments
from trainables.data import catalog
from trainables.encoders.embedded import is_embedded
from trainables.errors import UserError

DataDir = Annotated[Path | None, typer.Option(help="Folder of the source's files.")]

Address = Annotated[str | None, typer.Option(help="Of a running Ray cluster.")]

DEVICES = ("auto", "cpu", "cuda")

GPU_FILES = ("nvidia[0-9]*", "nvidia-caps", "dxg")
"""Files in /dev of a machine with a GPU, WSL2 included."""


@dataclass(frozen=True)
class SpaceArguments:
    """Parsed arguments of a study.

    Attributes:
        space: Research question.
        tier: Tier of the space.
        settings: Settings that override the space's, by key.
    """

    space: Space
    tier: Tier
    settings: dict[str, Any]

    @classmethod
    def read(
        cls,
        space: str,
        tier: str | None,
        benchmark: str | None,
        encoder: str | None,
        assignments: Sequence[str] | None,
        default: Tier | None = None,
    ) -> SpaceArguments:
        """Parse the arguments.

        Without `tier`, the only tier of the space is taken, else `default`, else the tier that
        benchmark and encoder belong to.

        Raises:
            UserError: The space or tier is unknown, or a setting is malformed or given twice.
        """
        settings: dict[str, Any] = parse_assignments(list(assignments or ()))
        for key, value in (("benchmark", benchmark), ("encoder", encoder)):
            if value and key in settings:
                raise UserError(f"--{key} {value}: --set {key}={settings[key]} is given too")
            settings |= {key: value} if value else {}
        loaded = load_space(space)
        chosen = tier_of(tier or default, settings)
        if tier is None and len(loaded.tiers) == 1:
            [chosen] = loaded.tiers
        if chosen not in loaded.tiers:
            raise UserError(
                f"--space {space}: it has no tier {chosen}; add one to its tiers, or choose "
                f"--tier {' or '.join(loaded.tiers) or 'demo'}"
            )
        refuse_several(settings, loaded, chosen, space)
        return cls(loaded, chosen, settings)


def tier_of(tier: str | None, settings: Mapping[str, Any]) -> Tier:
    """Return the given tier, or for None the one that benchmark and encoder belong to.

    Raises:
        UserError: The tier is neither demo nor full.
    """
    if tier in ("demo", "full"):
        return "full" if tier == "full" else "demo"
    if tier is not None:
        raise UserError(f"--tier {tier}: choose demo or full")
    real = not catalog.is_embedded(settings.get("benchmark", "synthetic"))
    real |= not is_embedded(settings.get("encoder", "embedded/small"))
    return "full" if real else "demo"


def choose_device(device: str, address: str | None, ranks: int = 1) -> str:
    """Choose the device of every trial; results record it, plans do not.

    Args:
        device: `cpu`, `cuda`, or `auto` for CUDA if this machine has it.
        address: Address of a running cluster, whose machines may differ from this one: `auto` is
            then the CPU, and `cuda` asks the cluster for GPUs.
        ranks: Processes of each trial; with too few local GPUs it would wait forever.

    Raises:
        UserError: The device is unknown, or this machine has no CUDA or fewer GPUs than ranks.
    """
    if device not in DEVICES:
        raise UserError(f"--device {device}: choose {', '.join(DEVICES)}")
    if address is not None:
        return "cuda" if device == "cuda" else "cpu"
    if device == "cpu":
        return "cpu"
    if (count := count_gpus()) == 0:
        if device == "auto":
            return "cpu"
        raise UserError(
            "--device cuda: torch finds no CUDA device here; use --device cpu, a CUDA build of "
            "torch, or --address of a cluster that has GPUs"
        )
    if count < ranks:
        raise UserError(
            f"--ranks {ranks}: each rank of a trial needs a GPU of its own, and there are {count} "
            f"here; use --ranks {count} or less, or --address of a cluster with larger machines"
        )
    return "cuda"


def refuse_layout(ranks: int, nodes: int, *, cluster: bool) -> None:
    """Refuse ranks that cannot be divided among machines.

    Raises:
        UserError: Several nodes without a cluster, or `ranks` is not a multiple of `nodes`.
    """
    if nodes > 1 and not cluster:
        raise UserError(f"--nodes {nodes}: a trial over several machines needs --address")
    if ranks % nodes:
        raise UserError(
            f"--ranks {ranks} --nodes {nodes}: every machine of a trial has as many ranks; use "
            f"--ranks {nodes * (ranks // nodes + 1)}"
        )


def count_gpus() -> int:
    """Count the GPUs that torch can use here; without a driver torch is not imported."""
    if not any(any(Path("/dev").glob(name)) for name in GPU_FILES):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
