"""Learning-rate schedule, and the parameter groups of AdamW."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from trainables.spec import Spec


def learning_rate(spec: Spec, step: int) -> float:
    """Return the rate of a step, counted from 0: linear warm-up, then the spec's schedule."""
    peak, warmup = spec.learning_rate or 0.0, round((spec.warmup or 0.0) * spec.steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, spec.steps - warmup)
    if spec.schedule == "linear":
        return peak * (1 - done)
    if spec.schedule == "cosine":
        return peak * (1 + math.cos(math.pi * done)) / 2
    return peak


def decay_groups(encoder: nn.Module, log_scale: nn.Parameter, decay: float) -> list[dict[str, Any]]:
    """Group parameters: matrices decay; embeddings, biases, norms and temperature do not."""
    spared = {
        id(parameter)
        for module in encoder.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters()
    }
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for parameter in (*encoder.parameters(), log_scale):
        if parameter.requires_grad:
            groups[parameter.ndim >= 2 and id(parameter) not in spared].append(parameter)
    return [
        {"params": groups[True], "weight_decay": decay},
        {"params": groups[False], "weight_decay": 0.0},
    ]
