"""Test functions with a known optimum, on which samplers are measured in place of studies.

Each has settings as a space file writes them. `mixed` is shaped like the project's own joint space:
nine categorical, ordered, conditional and logarithmic settings, a best learning rate that depends
on batch size and encoder, and noise like that between seeds. `hartmann` is Hartmann's
function of six dimensions, `rates` a tilted valley. `styblinski` (with a choice that shifts the
whole, and a setting that only one choice has) and `bent` were held out: no setting of a sampler
was chosen with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.spaces.ranges import Choice, Numbers, Point, Range

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Surrogate:
    """Function of settings with a known optimum.

    Attributes:
        name: Name shown in figures.
        ranges: Ranges of its settings.
        losses: Losses without noise, one per objective; less is better.
        noise: Standard deviation of the noise on the first loss.
        best: Minimum of the loss; for two objectives, the largest hypervolume.
        reference: Reference point of the hypervolume of two objectives.
        held_out: Whether it served to choose no setting of a sampler.
    """

    name: str
    ranges: Mapping[str, Range]
    losses: Callable[[Point], tuple[float, ...]]
    best: float
    noise: float = 0.0
    reference: tuple[float, float] | None = None
    held_out: bool = False

    def seen(self, point: Point, rng: np.random.Generator) -> tuple[float, ...]:
        """Return the losses with noise, as a trial would see them."""
        first, *rest = self.losses(point)
        return (first + self.noise * float(rng.standard_normal()), *rest)


def log_rate(low: float, high: float) -> Numbers:
    """Make a logarithmic range."""
    return Numbers(low=low, high=high, log=True)


RATES: dict[str, Range] = {
    "learning_rate": log_rate(1e-5, 1e-1),
    "temperature": log_rate(0.005, 0.5),
    "warmup": Numbers(low=0.0, high=0.5),
    "weight_decay": log_rate(1e-4, 1.0),
}


def rates(point: Point) -> tuple[float]:
    """Return the loss of a valley along learning rate times temperature, with minimum 0."""
    rate = math.log10(point["learning_rate"] / 2e-3)
    temperature = math.log10(point["temperature"] / 0.04)
    warmup = (point["warmup"] - 0.12) / 0.2
    decay = math.log10(point["weight_decay"] / 0.02)
    return ((rate + temperature) ** 2 + 0.2 * temperature**2 + 0.15 * warmup**2 + 0.05 * decay**2,)


ENCODERS = {"small": 0.10, "base": 0.03, "large": 0.0}
SAMPLINGS = {"X-X": 0.08, "X-Y": 0.10, "X-X-mixed": 0.05, "hybrid": 0.0}
SCHEDULES = {"linear": 0.0, "cosine": 0.005, "constant": 0.02}
MIXED: dict[str, Range] = {
    "encoder": Choice(choices=tuple(ENCODERS), ordered=True),
    "sampling": Choice(choices=tuple(SAMPLINGS)),
    "alpha": Numbers(low=0.0, high=1.0, when={"sampling": ("hybrid",)}),
    "batch_size": Choice(choices=(8, 16, 32, 64, 128, 256), ordered=True),
    "language_count": Numbers(low=1, high=11),
    "learning_rate": log_rate(1e-5, 1e-2),
    "temperature": log_rate(0.005, 0.5),
    "warmup": Numbers(low=0.0, high=0.5),
    "schedule": Choice(choices=tuple(SCHEDULES)),
}


def mixed(point: Point) -> tuple[float]:
    """Return a joint study's loss; 0 at large, hybrid, 0.3, 128, 9, 4e-4, 0.05, 0.1, linear."""
    size = math.log2(point["batch_size"] / 128)
    order = list(ENCODERS).index(point["encoder"]) - 2
    best_rate = 4e-4 * 2 ** (0.5 * size) * 3**-order
    found = ENCODERS[point["encoder"]] + SAMPLINGS[point["sampling"]]
    if point["sampling"] == "hybrid":
        found += 0.3 * (point["alpha"] - 0.3) ** 2
    found += 0.006 * size**2
    found += 0.0012 * (point["language_count"] - 9) ** 2
    found += 0.10 * math.log10(point["learning_rate"] / best_rate) ** 2
    found += 0.12 * math.log10(point["temperature"] / 0.05) ** 2
    found += 0.15 * (point["warmup"] - 0.1) ** 2
    return (found + SCHEDULES[point["schedule"]],)


SIX: dict[str, Range] = {f"x{n}": Numbers(low=0.0, high=1.0) for n in range(1, 7)}
WEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
NARROW = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
CENTRES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann(point: Point) -> tuple[float]:
    """Return Hartmann's function of six dimensions (Dixon and Szegö 1978)."""
    x = np.array([point[name] for name in SIX])
    return (-float(WEIGHTS @ np.exp(-(NARROW * (x - CENTRES) ** 2).sum(1))),)


KINDS = {"a": 0.0, "b": 12.0, "c": 25.0}
SHIFTED: dict[str, Range] = {
    "kind": Choice(choices=("c", "a", "b")),
    **{f"y{n}": Numbers(low=-5.0, high=5.0) for n in range(1, 5)},
    "extra": Numbers(low=0.0, high=10.0, when={"kind": ("a",)}),
}


def styblinski(point: Point) -> tuple[float]:
    """Return Styblinski-Tang in four dimensions, shifted by `kind`; kind `a` adds a setting."""
    y = [point[f"y{n}"] for n in range(1, 5)]
    found = sum(v**4 - 16 * v**2 + 5 * v for v in y) / 2 + KINDS[point["kind"]]
    return (found + (0.5 * (point["extra"] - 7) ** 2 if point["kind"] == "a" else 0.0),)


COSTS = {"small": 1.0, "base": 4.0, "large": 12.0}


def quality_and_cost(point: Point) -> tuple[float, float]:
    """Return `mixed`, and the cost of a trial: a fifth of log2 of its relative operations."""
    work = COSTS[point["encoder"]] * (0.5 + point["batch_size"] / 256)
    return (*mixed(point), math.log2(work) / 5)


def zdt1(point: Point) -> tuple[float, float]:
    """Return ZDT1 (Zitzler, Deb and Thiele 2000) in six dimensions."""
    x = [point[name] for name in SIX]
    g = 1 + 9 * sum(x[1:]) / 5
    return x[0], g * (1 - math.sqrt(x[0] / g))


def bent(point: Point) -> tuple[float, float]:
    """Return ZDT2, whose front is concave."""
    x = [point[name] for name in SIX]
    g = 1 + 9 * sum(x[1:]) / 5
    return x[0], g * (1 - (x[0] / g) ** 2)


def hypervolume(points: Floats, reference: tuple[float, float]) -> float:
    """Return the area that points dominate up to the reference; less is better.

    Args:
        points: (count, 2) losses.
        reference: Largest losses that count.
    """
    inside = points[(points < np.array(reference)).all(1)]
    area, height = 0.0, reference[1]
    for across, up in inside[np.lexsort((inside[:, 1], inside[:, 0]))]:
        if up < height:
            area += (reference[0] - across) * (height - up)
            height = up
    return float(area)


def _front_of_mixed() -> Floats:
    """Return the front of `quality_and_cost`: all but encoder and batch size at their best."""
    choices = [(e, b) for e in ENCODERS for b in MIXED["batch_size"].values()]
    found = []
    for encoder, size in choices:
        quality = ENCODERS[encoder] + 0.006 * math.log2(size / 128) ** 2
        found.append((quality, math.log2(COSTS[encoder] * (0.5 + size / 256)) / 5))
    return np.array(found)


SINGLE = (
    Surrogate("rates", RATES, rates, 0.0),
    Surrogate("mixed", MIXED, mixed, 0.0, noise=0.01),
    Surrogate("hartmann", SIX, hartmann, -3.32237),
    Surrogate("styblinski", SHIFTED, styblinski, 4 * -39.16617, held_out=True),
)
"""One objective."""

_REFERENCE = (0.5, 1.0)
DOUBLE = (
    Surrogate(
        *("quality and cost", MIXED, quality_and_cost),
        best=hypervolume(_front_of_mixed(), _REFERENCE),
        reference=_REFERENCE,
    ),
    # the areas above the fronts 1 - sqrt(x) and 1 - x^2, up to the reference
    Surrogate("zdt1", SIX, zdt1, best=5 + 2 / 3 + 0.6, reference=(1.1, 6.0)),
    Surrogate("bent", SIX, bent, best=5 + 1 / 3 + 0.6, reference=(1.1, 6.0), held_out=True),
)
"""Two objectives."""


def value(surrogate: Surrogate, losses: Any) -> float:
    """Return the distance of a set of losses from the optimum; less is better."""
    found = np.asarray(losses, float)
    if surrogate.reference is None:
        return float(found.min()) - surrogate.best
    return surrogate.best - hypervolume(found, surrogate.reference)
