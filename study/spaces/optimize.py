"""The block `optimize` of a space: how a sampler searches it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from study.spaces.fidelity import Fidelity
from study.spaces.ranges import Point, Searched
from trainables.evaluation.metric_names import lower_is_better
from trainables.spec import Frozen

Sampler = Literal["grid", "random", "qmc", "tpe", "gp", "nsga2", "nsga3"]

SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)

GENETIC: tuple[Sampler, ...] = ("nsga2", "nsga3")

GENERATIONS = 3
"""A genetic search of fewer has hardly begun to select: random or quasi-random draws do as well."""

OPERATIONS, MEMORY = "cost/operations", "cost/memory_gb"
"""Estimates of `study.cost` before a trial runs: operations of training and evaluation, and peak
memory. Measured seconds are no objective: they differ from run to run."""

BUDGETS = frozenset({"trials", "hours", "accelerator_hours", "target"})
"""When a search ends is no part of what it is: a resumed one may have another budget."""


class Objective(Frozen):
    """A metric to maximize or minimize.

    Attributes:
        metric: Of the validation benchmark, or `cost/operations` or `cost/memory_gb`.
        direction: By default `minimize` for measures of bias and cost, else `maximize`.
    """

    metric: str
    direction: Literal["maximize", "minimize"]

    @model_validator(mode="before")
    @classmethod
    def _direct(cls, values: Any) -> Any:
        if isinstance(values, str):
            values = {"metric": values}
        if isinstance(values, dict) and "direction" not in values:
            metric = str(values.get("metric", ""))
            less = lower_is_better(metric) or metric.startswith("cost/")
            return values | {"direction": "minimize" if less else "maximize"}
        return values

    @property
    def sign(self) -> float:
        """1 where more is better, -1 where less is."""
        return 1.0 if self.direction == "maximize" else -1.0


class Constraint(Frozen):
    """A limit that a cell must keep to.

    Attributes:
        metric: As of an objective.
        at_most: Largest value allowed.
        at_least: Smallest value allowed.
    """

    metric: str
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("say either at_most or at_least")
        return self

    def violation(self, value: float) -> float:
        """By how much a value misses it; at most 0 where it does not."""
        return value - self.at_most if self.at_most is not None else (self.at_least or 0.0) - value

    def __str__(self) -> str:
        """The limit in words."""
        if self.at_most is not None:
            return f"{self.metric} at most {self.at_most:g}"
        return f"{self.metric} at least {self.at_least:g}"


class Seeds(Frozen):
    """Trials of a cell in a search: `first` of every cell, up to `most` of contenders."""

    first: int = Field(1, ge=1)
    most: int = Field(1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _number(cls, values: Any) -> Any:
        if isinstance(values, int):
            return {"first": values, "most": values}
        if isinstance(values, dict) and "first" in values:
            return {"most": values["first"]} | values
        return values

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.most < self.first:
            raise ValueError(f"most {self.most} must not be below first {self.first}")
        return self


class Confirm(Frozen):
    """Cells that are run again once the search has ended, on seeds that it never used.

    Attributes:
        top: At most so many cells: the best, or of several objectives those of the front.
        seeds: Trials of each.
    """

    top: int = Field(1, ge=0)
    seeds: int = Field(3, ge=1)


class Optimize(Frozen):
    """A search over a space.

    Attributes:
        sampler: Where the next cell comes from.
        objectives: Metrics to optimize; the space's primary metric by default.
        constraints: Limits that a cell must keep to.
        memory_gb: Cells estimated to need more are not run.
        trials: Of the search, seeds included; not of the confirmation or of cells beside.
        hours: From start to end, over all launches; what the confirmation will take is kept free.
        accelerator_hours: Of all trials together (of workers, on the CPU).
        target: Value of the first objective that is enough.
        seeds: Trials of a cell.
        points: Cells to try first; settings that one does not name are drawn.
        warm_start: Studies under the same root: trials of theirs that are this study's own count
            as its own and cost nothing; of other experiments the best cells are tried first.
        confirm: What is run again on fresh seeds.
        fidelity: How trials are stopped early.
        population: Cells of a generation (`nsga2`, `nsga3`).
        seed: Of the draws.
    """

    sampler: Sampler = "tpe"
    objectives: tuple[Objective, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    memory_gb: float | None = Field(None, gt=0)
    trials: int = Field(30, ge=0)
    hours: float | None = Field(None, gt=0)
    accelerator_hours: float | None = Field(None, gt=0)
    target: float | None = None
    seeds: Seeds = Field(default_factory=lambda: Seeds.model_validate({}))
    points: tuple[Point, ...] = ()
    warm_start: tuple[str, ...] = ()
    confirm: Confirm = Field(default_factory=lambda: Confirm.model_validate({}))
    fidelity: Fidelity = Field(default_factory=lambda: Fidelity.model_validate({}))
    population: int = Field(20, ge=2)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        metrics = [objective.metric for objective in self.objectives]
        if repeated := sorted({name for name in metrics if metrics.count(name) > 1}):
            raise ValueError(f"objectives: {repeated[0]} is named twice")
        if self.fidelity.kind != "none" and len(metrics) > 1:
            raise ValueError(
                f"fidelity {self.fidelity.kind}: stopping early compares one objective, and there "
                f"are {len(metrics)}; leave out fidelity, or all objectives but one"
            )
        return self


class SearchPlan(Optimize):
    """A search as a plan holds it, with everything that its cells are made of.

    Attributes:
        ranges: The searched settings, in their order.
        base: All other settings; a searched one without effect has its value from here too.
        transferred: Best cells of other studies, tried after `points`.
        held_out: Whether trials are tested on what their training data leave out.
    """

    ranges: dict[str, Searched] = Field(min_length=1)
    base: dict[str, Any] = Field(default_factory=dict)
    transferred: tuple[Point, ...] = ()
    held_out: bool = False

    @property
    def first_points(self) -> tuple[Point, ...]:
        """Points tried before any is drawn."""
        return (*self.points, *self.transferred)

    @property
    def lasting(self) -> dict[str, Any]:
        """Plain values of what must stay the same for the search to be the same."""
        return self.model_dump(mode="json", exclude={*BUDGETS, "transferred"}, exclude_none=True)

    def with_budget(self, budget: Mapping[str, Any]) -> SearchPlan:
        """The search with another budget."""
        return self.model_copy(update={key: budget[key] for key in BUDGETS & budget.keys()})
