"""The plan of a study: its cells, seeds and complete specs, known before anything runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from study.spaces.optimize import SearchPlan
from study.spaces.schema import Tier
from study.state.proposals import STORED_BY_NAME, Phase, Proposal, ProposedTrial
from trainables.spec import Frozen, Spec


class PlannedTrial(Frozen):
    """A cell with a seed, or None for the untrained cell; `phase` is set by a search."""

    digest: str
    seed: int | None = None
    phase: Phase | None = None


class Cell(Frozen):
    """One point of the space, with one trial per seed.

    A cell `beside` the grid is a reference line or a control; one with `proposal` comes from a
    search.
    """

    model_config = STORED_BY_NAME

    params: dict[str, Any]
    trials: tuple[PlannedTrial, ...]
    beside: bool = False
    proposal: Proposal | None = Field(
        default=None, validation_alias="asked", serialization_alias="asked"
    )

    @property
    def label(self) -> str:
        """Parameters as text (`label_of`)."""
        return label_of(self.params)

    @property
    def is_arm(self) -> bool:
        """Whether the cell answers the question: a trained point of the grid."""
        return self.params.get("steps") != 0 and not self.beside


def label_of(params: Mapping[str, Any]) -> str:
    """Format parameters as `alpha=0.5 batch_size=32`, or `untrained`."""
    words = [f"{k}={_brief(v)}" for k, v in params.items() if (k, v) != ("steps", 0)]
    return " ".join(["untrained", *words] if params.get("steps") == 0 else words) or "all"


def _brief(value: Any) -> str:
    """Format a value for a label; quote text that could be mistaken for another value."""
    ambiguous = isinstance(value, str) and (value != value.strip() or not value.isprintable())
    if ambiguous or value in ("None", "True", "False"):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def trial_label(label: str, seed: int | None) -> str:
    """Format a trial for people: its cell's label, with the seed if there is one."""
    return label if seed is None else f"{label} seed={seed}"


class Plan(Frozen):
    """All trials that a study runs; written before any of them starts.

    `tuned` names parameters outside the study's question: of the cells that differ only in these,
    the best on the validation benchmark represents its arm. Cells proposed by a `search` follow the
    planned ones.
    """

    format: int = 1
    name: str
    space: str
    tier: Tier
    question: str
    primary: str
    settings: dict[str, Any]
    cells: tuple[Cell, ...]
    specs: dict[str, Spec]
    hypotheses: tuple[dict[str, Any], ...]
    tuned: tuple[str, ...] = ()
    search: SearchPlan | None = None

    def named(self, name: str) -> Plan:
        """Return the plan under the name of its folder, whatever name the file holds.

        Raises:
            ValueError: Its trials' digests are not those of its specs.
        """
        digests = {trial.digest for cell in self.cells for trial in cell.trials}
        if digests != self.specs.keys() or any(d != s.digest for d, s in self.specs.items()):
            raise ValueError("it has trials under names that are not theirs")
        return self if self.name == name else self.model_copy(update={"name": name})

    @property
    def frozen(self) -> str:
        """Hash of what must not change once results exist: hypotheses, primary metric, seeds.

        For a search, its definition without its end (`SearchPlan.lasting`) is hashed too.
        """
        planned = [cell for cell in self.cells if cell.proposal is None]
        content: dict[str, Any] = {
            "hypotheses": self.hypotheses,
            "primary": self.primary,
            "seeds": {cell.label: [trial.seed for trial in cell.trials] for cell in planned},
        }
        if self.search is not None:
            content["search"] = self.search.lasting
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def labels(self) -> dict[str, str]:
        """Label of each trial's cell, by digest; the first cell if several share the trial."""
        return {t.digest: cell.label for cell in reversed(self.cells) for t in cell.trials}

    @property
    def also(self) -> tuple[str, ...]:
        """Names of the additional benchmarks."""
        first = next(iter(self.specs.values()), None)
        return tuple(ref.name for ref in (first.also if first else None) or ())

    @property
    def planned(self) -> Plan:
        """The plan without its search's proposals."""
        if self.search is None:
            return self
        cells = tuple(cell for cell in self.cells if cell.proposal is None)
        digests = {trial.digest for cell in cells for trial in cell.trials}
        specs = {digest: spec for digest, spec in self.specs.items() if digest in digests}
        return self.model_copy(update={"cells": cells, "specs": specs})

    def joined(self, trials: Sequence[ProposedTrial]) -> Plan:
        """Return the plan with these proposed trials added to their cells."""
        cells = {(cell.label, cell.proposal is None): cell for cell in self.cells}
        specs = dict(self.specs)
        for trial in trials:
            specs[trial.digest] = trial.spec
            key = label_of(trial.params), False
            cell = cells.get(key) or Cell(params=trial.params, trials=(), proposal=trial.proposal)
            planned = PlannedTrial(digest=trial.digest, seed=trial.seed, phase=trial.phase)
            if planned not in cell.trials:
                cell = cell.model_copy(update={"trials": (*cell.trials, planned)})
            cells[key] = cell
        return self.model_copy(update={"cells": tuple(cells.values()), "specs": specs})

    def differences(self, other: Plan) -> list[str]:
        """List the differences from `other`, one a line, but for the path of the space's file."""
        if other is self:
            return []
        parts = ("tier", "question", "primary", "settings", "hypotheses")
        mine, theirs = (_flat(p.model_dump(mode="json", include=set(parts))) for p in (self, other))
        lines = _changes(mine, theirs)
        searches = [plan.search.lasting if plan.search else {} for plan in (self, other)]
        lines += _changes(*(_flat({"search": search}) for search in searches))
        ours = {cell.label: cell for cell in self.planned.cells}
        others = {cell.label: cell for cell in other.planned.cells}
        lines += [f"cell {label}: no longer planned" for label in ours if label not in others]
        lines += [f"cell {label}: new" for label in others if label not in ours]
        fields: dict[str, list[str]] = {}
        for label in ours.keys() & others.keys():
            for change in self._spec_changes(ours[label], other, others[label]):
                fields.setdefault(change, []).append(label)
        lines += [
            f"{change} ({len(labels)} of {len(ours)} cells)" for change, labels in fields.items()
        ]
        return lines

    def _spec_changes(self, cell: Cell, other: Plan, theirs: Cell) -> list[str]:
        """List the differences between the trials of one cell in two plans."""
        seeds, new = [t.seed for t in cell.trials], [t.seed for t in theirs.trials]
        changes = [] if seeds == new else [f"seeds: {len(seeds)} → {len(new)}"]
        for before, after in zip(cell.trials, theirs.trials, strict=False):
            if before.digest != after.digest:
                specs = self.specs[before.digest], other.specs[after.digest]
                changes += _changes(*(_flat(json.loads(spec.canonical())) for spec in specs))
                break
        return changes


FILES = {
    "encoder": "the encoder",
    "test": "the benchmark",
    "train": "the training data",
    "validation": "the validation benchmark",
}
"""Names of the files behind a spec's digests, for messages."""


def _changes(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [
        _change(key, mine.get(key, "absent"), theirs.get(key, "absent"))
        for key in sorted(mine.keys() | theirs.keys())
        if mine.get(key) != theirs.get(key)
    ]


def _change(key: str, before: Any, after: Any) -> str:
    part, _, field = key.partition(".")
    if field == "digest" and part in FILES and "absent" not in (before, after):
        return f"{FILES[part]}'s files changed ({key}: {before[:8]} → {after[:8]})"
    return f"{key}: {before} → {after}"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts and lists into one dict with dotted keys."""
    if isinstance(value, dict):
        pairs = ((f"{prefix}{key}", item) for key, item in value.items())
    elif isinstance(value, list):
        pairs = ((f"{prefix}{number}", item) for number, item in enumerate(value))
    else:
        return {prefix.rstrip("."): value}
    flat: dict[str, Any] = {}
    for key, item in pairs:
        flat |= _flat(item, f"{key}.")
    return flat
