"""The answer of a study, cached beside its results and recomputed when they change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from study.analysis.answer import Answer, Selection, answer, stored
from study.analysis.caveats import executions, mixed, tied
from study.analysis.exploration import explore
from study.analysis.results import answering, arm_label, by_cell, waiting
from study.analysis.words import words
from study.console import in_markdown, visible
from study.state.plan import Cell, Plan
from study.state.record import Record
from trainables.storage import atomic as storage
from trainables.storage.paths import AnyPath, own

FORMAT = 9
"""Version of `answer.json`; a file of another version is recomputed."""


def conclude(
    plan: Plan, record: Record, root: AnyPath, results: Mapping[str, dict[str, Any]]
) -> list[str]:
    """Return the answer in words, and write all its numbers to `reports/<study>/answer.json`.

    Args:
        plan: Plan of the study.
        record: Record of the study, with what was changed after results existed (law 6).
        root: Root of trial folders and reports.
        results: `result.json` by digest, for trials that have one.

    Returns:
        Lines of text; only the marks of the record while no trial has a result.

    Raises:
        UserError: A committed file of ranks cannot be read.
    """
    return words(concluded(plan, record, root, results)) if results else record.marks


def concluded(
    plan: Plan, record: Record, root: AnyPath, results: Mapping[str, dict[str, Any]]
) -> Answer:
    """Compute the answer, or read it from `answer.json` if that was computed from the same inputs.

    Args:
        plan: Plan of the study.
        record: Record of the study.
        root: Root of trial folders and reports.
        results: As for `conclude`; with none, every hypothesis is undecided.

    Raises:
        UserError: A committed file of ranks cannot be read.
    """
    marks, late = record.marks, record.late
    reports = own(root / "reports" / plan.name)
    path, page = reports / "answer.json", reports / "answer.md"
    heading = {"format": FORMAT, "of": answer_key(plan, results, [*marks, *late])}
    values = read_sealed(path)
    known = from_values(values) if heading.items() <= values.items() else None
    if known is not None and page.exists() and storage.read(page) == _page(known):
        return known
    cell_results = by_cell(plan, dict(results))
    cells, unanswered = answering(plan, cell_results), waiting(plan, cell_results)
    limited = plan.model_copy(update={"cells": (*cells, *unanswered)})
    computed = executions(results)
    declared = answer(
        limited,
        stored(limited, root),
        marks=marks,
        late=late,
        waiting=unanswered,
        computed=computed,
    )
    complete = replace(
        declared,
        selected=_selected(plan, cells),
        exploration=explore(plan, cells, root, results),
        tied=tuple(tied(plan, root, results)),
        mixed=mixed(computed),
    )
    with suppress(OSError):  # a user who may only read still gets the answer
        storage.write(path, storage.seal(heading | as_values(complete)))
        storage.write(page, _page(complete))
    return complete


def as_values(answer: Answer) -> dict[str, Any]:
    """Convert the answer to plain values, adding the verdict to each finding."""
    values = asdict(answer)
    for written, finding in zip(values["findings"], answer.findings, strict=True):
        written["verdict"] = finding.verdict
    return values


def from_values(values: Mapping[str, Any]) -> Answer | None:
    """Read what `as_values` returned; None if the fields are not those of an answer."""
    try:
        return TypeAdapter(Answer).validate_python(values)
    except ValidationError:
        return None


def answer_key(plan: Plan, results: Mapping[str, Any], remarks: Sequence[str]) -> str:
    """Hash of all that the answer depends on, including results, which a rerun may change."""
    known = [
        json.dumps(results[digest], sort_keys=True)
        for digest in sorted(results.keys() & plan.specs.keys())
    ]
    text = "\n".join([plan.name, plan.frozen, *plan.tuned, *remarks, *known])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def read_sealed(path: AnyPath) -> dict[str, Any]:
    """Read a sealed JSON object that can be recomputed; empty if it is missing or damaged."""
    try:
        return storage.unseal(storage.read(path))
    except (OSError, ValueError):
        return {}


def _selected(plan: Plan, cells: Sequence[Cell]) -> Selection | None:
    """Return tuned values with which each arm answers; None if nothing was tuned."""
    arms = {
        arm_label(plan, cell): {key: cell.params[key] for key in plan.tuned}
        for cell in cells
        if cell.is_arm
    }
    return Selection(plan.primary, arms) if plan.tuned and arms else None


def _page(answer: Answer) -> bytes:
    body = "\n".join(
        f"- {in_markdown(line)}" if line.startswith("  ") else f"\n{in_markdown(line)}"
        for line in words(answer)
    )
    return visible(f"# {in_markdown(answer.study)}\n{body}\n").encode()
