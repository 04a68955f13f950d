"""The answer of a study, kept beside its results and made again only when they change."""

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
"""Of `answer.json`; another one is made again."""


def conclude(
    plan: Plan, record: Record, root: AnyPath, results: Mapping[str, dict[str, Any]]
) -> list[str]:
    """The answer in words, and every number of it in `reports/<study>/answer.json`.

    Args:
        plan: Of the study.
        record: Of the study, which knows what was changed after results existed (law 6).
        root: Of trial folders and reports.
        results: `result.json` by digest, of the trials that have one.

    Returns:
        Lines; where nothing has a result yet, what was changed and no more.

    Raises:
        UserError: A committed file of ranks that cannot be read.
    """
    return words(concluded(plan, record, root, results)) if results else record.marks


def concluded(
    plan: Plan, record: Record, root: AnyPath, results: Mapping[str, dict[str, Any]]
) -> Answer:
    """The answer: made now, or as `answer.json` has it, where that was made of the same.

    Args:
        plan: Of the study.
        record: Of the study.
        root: Of trial folders and reports.
        results: As for `conclude`; with none, every hypothesis is undecided.

    Raises:
        UserError: A committed file of ranks that cannot be read.
    """
    marks, late = record.marks, record.late
    reports = own(root / "reports" / plan.name)
    path, page = reports / "answer.json", reports / "answer.md"
    heading = {"format": FORMAT, "of": answer_key(plan, results, [*marks, *late])}
    values = read_sealed(path)
    known = from_values(values) if heading.items() <= values.items() else None
    if known is not None and page.exists() and storage.read(page) == _page(known):
        return known
    every = by_cell(plan, dict(results))
    cells, without = answering(plan, every), waiting(plan, every)
    limited = plan.model_copy(update={"cells": (*cells, *without)})
    computed = executions(results)
    declared = answer(
        limited, stored(limited, root), marks=marks, late=late, waiting=without, computed=computed
    )
    made = replace(
        declared,
        selected=_selected(plan, cells),
        exploration=explore(plan, cells, root, results),
        tied=tuple(tied(plan, root, results)),
        mixed=mixed(computed),
    )
    with suppress(OSError):  # it is as true where this user may only read
        storage.write(path, storage.seal(heading | as_values(made)))
        storage.write(page, _page(made))
    return made


def as_values(answer: Answer) -> dict[str, Any]:
    """The answer as plain values, with each verdict beside its hypothesis."""
    values = asdict(answer)
    for written, finding in zip(values["findings"], answer.findings, strict=True):
        written["verdict"] = finding.verdict
    return values


def from_values(values: Mapping[str, Any]) -> Answer | None:
    """The answer that `as_values` wrote; None where its fields are not an answer's."""
    try:
        return TypeAdapter(Answer).validate_python(values)
    except ValidationError:
        return None


def answer_key(plan: Plan, results: Mapping[str, Any], said: Sequence[str]) -> str:
    """What the answer is made from; a trial that ran again may have another result."""
    known = [
        json.dumps(results[digest], sort_keys=True)
        for digest in sorted(results.keys() & plan.specs.keys())
    ]
    text = "\n".join([plan.name, plan.frozen, *plan.tuned, *said, *known])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def read_sealed(path: AnyPath) -> dict[str, Any]:
    """The object in a JSON file that can be made again; empty where it is not as it was made."""
    try:
        return storage.unseal(storage.read(path))
    except (OSError, ValueError):
        return {}


def _selected(plan: Plan, cells: Sequence[Cell]) -> Selection | None:
    """Which value of what was tuned each arm answers with."""
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
