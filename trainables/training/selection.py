"""Model selection and early stopping, by the validation benchmark alone (law 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from trainables.failures import TrialFailedError
from trainables.spec import Spec

OVERALL_PARTS = 2
"""Maximum number of parts in the name of a mean over languages, such as `map/cross`."""


class Selection:
    """Validation curve, the best encoder on it, and whether training goes on.

    Attributes:
        points: One per evaluation: its step, and the means over languages as `validation/...`.
        best: Step and value of the best evaluation, the first on ties; None before there is one.
        weights: Encoder weights at `best`, where `select` is `best`.
    """

    def __init__(self, spec: Spec) -> None:
        """Start without evaluations; if `evaluate_every` is None, none is ever due."""
        self.spec = spec
        self.points: list[dict[str, float]] = []
        self.best: tuple[int, float] | None = None
        self.weights: dict[str, torch.Tensor] | None = None

    def due(self, step: int) -> bool:
        """Whether the encoder after `step` steps is to be evaluated and has not been yet."""
        every = self.spec.evaluate_every
        latest = self.points[-1]["step"] if self.points else 0
        return every is not None and step > latest and (not step % every or step == self.spec.steps)

    def note(self, step: int, metrics: Mapping[str, float], encoder: nn.Module) -> None:
        """Record an evaluation on the validation benchmark.

        Raises:
            TrialFailedError: The benchmark lacks the metric that the spec selects by.
        """
        means = {name: v for name, v in metrics.items() if len(name.split("/")) <= OVERALL_PARTS}
        metric = self.spec.select_metric
        if metric is not None and metric not in metrics:
            raise TrialFailedError(
                "error",
                f"select_metric {metric}: the validation benchmark has no such metric; "
                f"it has {', '.join(sorted(means))}",
            )
        self.points.append(
            {"step": step} | {f"validation/{name}": value for name, value in means.items()}
        )
        if metric is None or (self.best is not None and metrics[metric] <= self.best[1]):
            return
        self.best = step, metrics[metric]
        if self.spec.select == "best":
            state = encoder.state_dict()
            self.weights = {name: value.detach().cpu().clone() for name, value in state.items()}

    @property
    def stopped(self) -> bool:
        """Whether `patience` evaluations have passed without a better one."""
        if self.spec.patience is None or self.best is None:
            return False
        since = sum(point["step"] > self.best[0] for point in self.points)
        return since >= self.spec.patience

    def restore(self, encoder: nn.Module) -> None:
        """Load the best weights into the encoder, if the spec selects them."""
        if self.weights is not None:
            encoder.load_state_dict(self.weights)

    def summary(self, step: int) -> dict[str, Any]:
        """Summarise the selection for the result, after training ended at `step`."""
        if self.best is None:
            return {}
        chosen = self.best[0] if self.spec.select == "best" else step
        return {
            "selected_by": self.spec.select_metric,
            "best_step": self.best[0],
            "best_value": self.best[1],
            "chosen_step": chosen,
            "stopped_early": self.stopped and step < self.spec.steps,
        }

    def state(self) -> dict[str, Any]:
        """Return everything that a later attempt needs to resume exactly."""
        return {"points": self.points, "best": self.best, "weights": self.weights}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Resume from what `state` returned."""
        self.points, self.weights = list(state["points"]), state["weights"]
        self.best = None if state["best"] is None else tuple(state["best"])
