"""The answer of a study, kept beside its results and made again only when they change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from study.analysis.results import answering, arm_label, by_cell, waiting
from study.console import in_markdown, visible
from study.state.plan import Cell, Plan
from study.state.record import Record
from trainables.storage import atomic as storage
from trainables.storage.paths import AnyPath, own

if TYPE_CHECKING:
    from study.analysis.answer import Answer

FORMAT = 8
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
    return list(concluded(plan, record, root, results)["words"]) if results else record.marks


def concluded(
    plan: Plan,
    record: Record,
    root: AnyPath,
    results: Mapping[str, dict[str, Any]],
    anew: bool = False,
) -> dict[str, Any]:
    """What `answer.json` holds: made now, or kept from when it was made of the same.

    Args:
        plan: Of the study.
        record: Of the study.
        root: Of trial folders and reports.
        results: As for `conclude`; with none, every hypothesis is undecided.
        anew: Make it now.

    Raises:
        UserError: A committed file of ranks that cannot be read.
    """
    marks, late = record.marks, record.late
    reports = own(root / "reports" / plan.name)
    path, key = reports / "answer.json", answer_key(plan, results, [*marks, *late])
    known = {} if anew else read_sealed(path)
    page, said = reports / "answer.md", known.get("words")
    ours = known.get("format") == FORMAT and known.get("of") == key and page.exists()
    whole = isinstance(said, list) and all(isinstance(line, str) for line in said)
    if ours and whole and storage.read(page) == _page(plan, said or ()):
        return known
    # scipy takes seconds to import, and a study that has ended says the same every time
    from study.analysis.answer import answer, stored
    from study.analysis.caveats import executions, mixed, tied, tied_words
    from study.analysis.exploration import exploratory_words, explore
    from study.analysis.words import words

    every = by_cell(plan, dict(results))
    cells, without = answering(plan, every), waiting(plan, every)
    limited = plan.model_copy(update={"cells": (*cells, *without)})
    computed = executions(results)
    concluding = answer(
        limited, stored(limited, root), marks=marks, late=late, waiting=without, computed=computed
    )
    explored = explore(plan, cells, root, results)
    selected = _selected(plan, cells)
    ties, unlike = tied(plan, root, results), mixed(computed)
    lines = [
        *selected,
        *words(concluding),
        *exploratory_words(explored),
        *tied_words(ties),
        *unlike,
    ]
    numbers = _numbers(concluding) | {
        "exploration": asdict(explored),
        "selected": selected,
        "tied": [asdict(one) for one in ties],
        "mixed": unlike,
    }
    made = {"format": FORMAT, "of": key, "words": lines, **numbers}
    content = storage.seal(made)
    with suppress(OSError):  # it is as true where this user may only read
        storage.write(path, content)
        storage.write(page, _page(plan, lines))
    return storage.unseal(content)


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


def _selected(plan: Plan, cells: Sequence[Cell]) -> list[str]:
    """Which value of what was tuned each arm answers with."""
    trained = [cell for cell in cells if cell.is_arm]
    if not plan.tuned or not trained:
        return []
    each = []
    for cell in trained:
        tuned = ", ".join(f"{key}={cell.params[key]}" for key in plan.tuned)
        each.append(f"{arm_label(plan, cell)}: {tuned}")
    return [f"Selected by {plan.primary} on the validation benchmark: {'; '.join(each)}."]


def _numbers(answer: Answer) -> dict[str, Any]:
    """Every number of the answer, as plain values."""
    from study.analysis.words import finding_words

    return {
        "study": answer.study,
        "question": answer.question,
        "marks": list(answer.marks),
        "trials": answer.trials,
        "with_result": answer.with_result,
        "fixed": dict(answer.fixed),
        "findings": [
            asdict(finding) | {"verdict": finding.verdict, "words": finding_words(finding)}
            for finding in answer.findings
        ],
    }


def _page(plan: Plan, lines: Sequence[str]) -> bytes:
    body = "\n".join(
        f"- {in_markdown(line)}" if line.startswith("  ") else f"\n{in_markdown(line)}"
        for line in lines
    )
    return visible(f"# {in_markdown(plan.name)}\n{body}\n").encode()
