"""Early stopping in a space (ASHA, Hyperband, median, bootstrap) and the rungs of a trial."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from trainables.spec import Frozen, Spec

Kind = Literal["none", "look", "asha", "hyperband", "median", "bootstrap"]


class Fidelity(Frozen):
    """Early stopping: the rungs at which trials are compared, and the rule that stops some.

    Rungs are counted in examples, because rungs in steps would favour large batches. They lie at
    `first`, `first * factor`, `first * factor ** 2`, … below the end of a trial.

    Attributes:
        kind: The rule. `none` has no rungs; `look` evaluates at rungs but stops nothing. `asha`
            continues the best 1/`factor` of the trials that have reached a rung so far (Li et al.
            2018, arXiv:1810.05934); `hyperband` distributes trials over `brackets` of ASHA, each
            starting one rung later, for settings that learn slowly at first; `median` stops
            trials below the median of the others' running means (Golovin et al. 2017);
            `bootstrap` stops an arm only if the paired bootstrap of its queries against the
            leader's, at the same rung, shows that it cannot win.
        first: Examples at the first rung; at least the largest batch, so that every trial reaches
            it at the same count.
        factor: Ratio of each rung to the one before.
        brackets: Number of brackets of `hyperband`.
        level: Significance level of `bootstrap`: an arm is stopped if the upper end of its
            two-sided 1 - `level` interval is below `-slack`.
        slack: For `bootstrap`, the gap to the leader that an arm may still close by its end, in
            units of the metric.
        enough: For `median`, the number of other trials that must have reached a rung before any
            is stopped there.
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
        """Refuse a key that the rule does not use: whoever set it expects an effect."""
        owners = {
            "brackets": "hyperband",
            "level": "bootstrap",
            "slack": "bootstrap",
            "enough": "median",
        }
        for key in self.model_fields_set & owners.keys():
            default = type(self).model_fields[key].default  # plans spell out all defaults
            if self.kind != owners[key] and getattr(self, key) != default:
                raise ValueError(
                    f"{key} is of kind {owners[key]}, not of {self.kind}; leave it out"
                )
        return self

    def rungs(self, examples: int) -> tuple[int, ...]:
        """Return rungs, in examples, of a trial that ends after `examples`."""
        rungs, rung = [], self.first
        while rung < examples:
            rungs.append(rung)
            rung *= self.factor
        return tuple(rungs)

    def rungs_of(self, spec: Spec) -> tuple[int, ...]:
        """Return a trial's rungs, in examples; empty without training or a validation benchmark."""
        if spec.validation is None or self.kind == "none":
            return ()
        return self.rungs(spec.steps * (spec.batch_size or 0))
