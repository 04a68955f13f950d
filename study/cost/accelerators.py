"""Peak rates of accelerators by their data sheets, and the share of them that is assumed."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.errors import UserError


@dataclass(frozen=True)
class Accelerator:
    """What a data sheet says of one device.

    Attributes:
        float32: Operations a second outside tensor cores: torch leaves TF32 off by default.
        bfloat16: Operations a second of dense matrices on tensor cores; None without bfloat16.
        memory: Bytes.
        bandwidth: Bytes a second.
    """

    float32: float
    bfloat16: float | None
    memory: float
    bandwidth: float


ACCELERATORS = {
    "T4": Accelerator(8.1e12, None, 16e9, 320e9),
    "V100": Accelerator(15.7e12, None, 32e9, 900e9),
    "RTX 3090": Accelerator(35.6e12, 71e12, 24e9, 936e9),
    "RTX 4090": Accelerator(82.6e12, 165.2e12, 24e9, 1008e9),
    "L4": Accelerator(30.3e12, 121e12, 24e9, 300e9),
    "L40S": Accelerator(91.6e12, 362e12, 48e9, 864e9),
    "A100": Accelerator(19.5e12, 312e12, 80e9, 2039e9),
    "H100": Accelerator(66.9e12, 989e12, 80e9, 3350e9),
    "H200": Accelerator(66.9e12, 989e12, 141e9, 4800e9),
}
"""By name, SXM modules where there are several: NVIDIA's data sheets, dense rates."""

UTILISATION = {"float32": 0.55, "bfloat16": 0.3}
"""Share of the peak that training reaches: assumed, not measured."""

BANDWIDTH_SHARE = 0.7
"""Share of the bandwidth that an optimizer step reaches: assumed, not measured."""

DRIVER_BYTES = 1_000_000_000
"""Of the CUDA context and the workspaces of its libraries: assumed, not measured."""


def accelerator(name: str) -> Accelerator:
    """The entry of `name`, whatever its case.

    Raises:
        UserError: There is none.
    """
    entry = {key.lower(): value for key, value in ACCELERATORS.items()}.get(name.lower())
    if entry is None:
        raise UserError(f"accelerator {name!r}: choose {', '.join(ACCELERATORS)}")
    return entry


def rate(entry: Accelerator, precision: str) -> float:
    """Operations a second that are assumed.

    Raises:
        UserError: bfloat16 on a device without it.
    """
    peak = entry.float32 if precision == "float32" else entry.bfloat16
    if peak is None:
        raise UserError(f"precision {precision}: this accelerator has none; choose float32")
    return peak * UTILISATION[precision]
