"""Early stopping in a space: its kinds, and the rungs of a trial in examples."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from trainables.spec import Frozen, Spec

Kind = Literal["none", "look", "asha", "hyperband", "median", "bootstrap"]


class Fidelity(Frozen):
    """Early stopping: at which rungs trials are compared, and which of them stop.

    Rungs are counted in examples: rungs in steps would favour large batches. They lie at `first`,
    `first * factor`, `first * factor ** 2`, … below a trial's end.

    Attributes:
        kind: `none` has no rungs; `look` looks and stops nothing. `asha` goes on with the best
            1/`factor` of those that came to a rung so far (Li et al. 2018, arXiv:1810.05934);
            `hyperband` deals the trials to `brackets` of it, each of which begins a rung later, for
            settings that start slowly; `median` stops what is below the median of the others'
            running means (Golovin et al. 2017); `bootstrap` stops an arm only where the paired
            bootstrap of its queries against the leader's, at the same rung, says that it cannot
            win.
        first: Examples of the first rung; at least the largest batch, so that all reach it alike.
        factor: From a rung to the next.
        brackets: Of `hyperband`.
        level: Of `bootstrap`: an arm is stopped where the upper end of its two-sided 1 - `level`
            interval is below `-slack`.
        slack: Of `bootstrap`, in units of the metric: how much of the gap to the leader an arm is
            granted to make up by its end.
        enough: Of `median`: trials at a rung before any is stopped there.
    """

    kind: Kind = "none"
    first: int = Field(default=1000, ge=2)
    factor: int = Field(default=3, ge=2)
    brackets: int = Field(default=3, ge=1)
    level: float = Field(default=0.05, gt=0, lt=1)
    slack: float = Field(default=0.0, ge=0)
    enough: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _no_idle_keys(self) -> Self:
        """A key without effect is a misunderstanding."""
        owners = {
            "brackets": "hyperband",
            "level": "bootstrap",
            "slack": "bootstrap",
            "enough": "median",
        }
        for key in self.model_fields_set & owners.keys():
            default = type(self).model_fields[key].default  # as a plan writes it, which says all
            if self.kind != owners[key] and getattr(self, key) != default:
                raise ValueError(
                    f"{key} is of kind {owners[key]}, not of {self.kind}; leave it out"
                )
        return self

    def rungs(self, examples: int) -> tuple[int, ...]:
        """Rungs of a trial that ends after so many examples."""
        rungs, rung = [], self.first
        while rung < examples:
            rungs.append(rung)
            rung *= self.factor
        return tuple(rungs)

    def rungs_of(self, spec: Spec) -> tuple[int, ...]:
        """Rungs of a trial; empty without training or a validation benchmark."""
        if spec.validation is None or self.kind == "none":
            return ()
        return self.rungs(spec.steps * (spec.batch_size or 0))
