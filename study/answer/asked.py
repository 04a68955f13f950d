"""What a declared hypothesis asks: weights of cells, and how that is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.answer.contrasts import Coefficients, difference, slope
from study.plan import Plan, label_of
from study.spaces.hypothesis import Slope
from trainables.errors import UserError
from trainables.evaluation.names import lower_is_better


@dataclass(frozen=True)
class Asked:
    """One contrast of a hypothesis.

    Attributes:
        what: In words, such as `alpha=1 minus alpha=0`.
        coefficients: Of the cells; none where the study cannot make it.
        problem: Why there are none, else empty.
    """

    what: str
    coefficients: Coefficients
    problem: str = ""


def asked(plan: Plan, hypothesis: Mapping[str, Any]) -> list[Asked]:
    """The contrasts of a hypothesis: one, or one for each cell that must be beaten."""
    over = Slope.model_validate(hypothesis["slope"]) if "slope" in hypothesis else None
    if "better" not in hypothesis:
        return [_asked(plan, None, over)]
    than = hypothesis["than"]
    others = than if isinstance(than, (list, tuple)) else [than]
    return [_asked(plan, (hypothesis["better"], other), over) for other in others]


def expects_less(hypothesis: Mapping[str, Any]) -> bool:
    """Whether the declared sign of the contrast is negative."""
    return lower_is_better(hypothesis["metric"]) != (hypothesis.get("expected") == "worse")


def _asked(
    plan: Plan, sides: tuple[Mapping[str, Any], Mapping[str, Any]] | None, over: Slope | None
) -> Asked:
    words = [" minus ".join(map(label_of, sides))] if sides else []
    what = ", ".join([*words, _change(over)] if over else words)
    try:
        if over is not None:
            return Asked(what, slope(plan.cells, over, sides, plan.tuned))
        assert sides is not None
        return Asked(what, difference(plan.cells, *sides))
    except UserError as error:
        return Asked(what, {}, str(error))


def _change(over: Slope) -> str:
    """`change per doubling of batch_size (16 to 128) at alpha=0.5`."""
    unit = {"log2": "doubling", "order": "step", "linear": "unit", None: "unit"}[over.scale]
    span = f" ({over.levels[0]} to {over.levels[-1]})" if over.levels else ""
    where = f" at {label_of(over.where)}" if over.where else ""
    return f"change per {unit} of {over.factor}{span}{where}"
