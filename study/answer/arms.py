"""Arms by the names people give them: `STUDY:alpha=0.5`, a cell's label, or a whole study."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from study.answer.side_by_side import Arm
from study.answer.tuning import arm_label
from study.answer.variance import levels_of
from study.plan import Cell, Plan
from trainables.errors import UserError


def find_arm(plan: Plan, cells: Sequence[Cell], text: str) -> Arm:
    """The cells of a study that a text names, averaged if they are several.

    Args:
        plan: Of the study.
        cells: Those that answer.
        text: A label, or some parameters as `KEY=VALUE` with commas or blanks between;
            `untrained` for the encoder as it was.

    Raises:
        UserError: No such arm, with the nearest ones.
    """
    exact = [cell for cell in cells if arm_label(plan, cell) == text.strip()]
    wanted = [word for word in re.split(r"[,\s]+", text.strip()) if word]
    found = exact or [cell for cell in cells if _matches(cell, wanted)]
    if not found or not wanted:
        known = [arm_label(plan, cell) for cell in cells]
        words = [f"{k}={v}" for k, levels in levels_of(trained(cells)).items() for v in levels]
        near = difflib.get_close_matches(text, list(dict.fromkeys([*known, *words])), 3)
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(
            f"{plan.name}:{text}: no such arm; {guess}arms are {', '.join(known) or 'none yet'}"
        )
    mean = f" (mean of {len(found)} cells)" if len(found) > 1 else ""
    return arm(plan, f"{plan.name}:{text.strip()}{mean}", found)


def arm(plan: Plan, name: str, cells: Sequence[Cell]) -> Arm:
    """Cells of a study as an arm."""
    spec = plan.specs[cells[0].trials[0].digest]
    further = {ref.name: repr(ref) for ref in spec.also or ()}
    return Arm(name, tuple(cells), {"test": repr(spec.test)} | further)


def trained(cells: Sequence[Cell]) -> list[Cell]:
    """Cells in which something is trained."""
    return [cell for cell in cells if cell.params.get("steps") != 0]


def common_arms(
    first: tuple[Plan, Sequence[Cell]], second: tuple[Plan, Sequence[Cell]]
) -> list[tuple[str, Arm, Arm]]:
    """The trained arms that two studies share by label, and their mean.

    Raises:
        UserError: They share none, and do not have a single one each.
    """
    sides = (first, second)
    held = [{arm_label(plan, cell): cell for cell in trained(cells)} for plan, cells in sides]
    names = [(name, name) for name in held[0] if name in held[1]]
    if not names and len(held[0]) == len(held[1]) == 1:
        names = list(zip(*held, strict=True))
    if not names:
        known = (f"{p.name} has {', '.join(h)}" for (p, _), h in zip(sides, held, strict=True))
        raise UserError(
            f"no arm in common: {'; '.join(known)}. Name one of each: compare STUDY:ARM STUDY:ARM"
        )
    a, b = first[0].name, second[0].name
    pairs = [
        (
            " against ".join(dict.fromkeys((one, other))),
            arm(first[0], f"{a}:{one}", [held[0][one]]),
            arm(second[0], f"{b}:{other}", [held[1][other]]),
        )
        for one, other in names
    ]
    if len(pairs) > 1:
        ours = arm(first[0], a, [held[0][name] for name, _ in names])
        theirs = arm(second[0], b, [held[1][name] for _, name in names])
        pairs.append((f"mean of these {len(names)}", ours, theirs))
    return pairs


def _matches(cell: Cell, wanted: Sequence[str]) -> bool:
    """Whether a cell has all these parameters; an untrained one only if that is among them."""
    params = {key: str(value) for key, value in cell.params.items()}
    untrained = params.get("steps") == "0"
    asked = [word for word in wanted if word not in ("untrained", "steps=0")]
    if untrained != (len(asked) < len(wanted)):
        return False
    return all(_same(params.get(key), value) for key, _, value in (w.partition("=") for w in asked))


def _same(found: str | None, wanted: str) -> bool:
    """Equal as text or as numbers: `1` is `1.0`."""
    if found is None:
        return False
    try:
        return float(found) == float(wanted)
    except ValueError:
        return found == wanted
