"""Write the report in `reports/<study>/`, unless it is up to date."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from study.analysis.conclusion import answer_key, as_values, concluded, read_sealed
from study.console import count_of, visible
from study.state.plan import Plan
from study.state.record import Record
from trainables.storage import atomic as storage
from trainables.storage.paths import AnyPath, own

if TYPE_CHECKING:
    from study.analysis.answer import Answer
    from study.report.document import Document, Section, Table
    from study.report.material import Material
    from study.report.sections.searched import Searched

FORMAT = 9
"""Version of the report; raise it with every change of the content, so that all are rewritten."""

MADE = "made.json"
"""Stamp, written last: a key of the input, and the checksums of the files beside it."""


def write_report(
    plan: Plan, record: Record, root: AnyPath, results: dict[str, dict[str, Any]]
) -> AnyPath:
    """Write `report.html`, `.md`, `.json` and `.csv`, unless they are up to date.

    Args:
        plan: Plan of the study.
        record: Record of the study, for failures and late changes.
        root: Root of trial folders and reports.
        results: `result.json` by digest.

    Returns:
        The folder of the report.

    Raises:
        UserError: A committed file of ranks cannot be read.
    """
    folder = own(root / "reports" / plan.name)
    failures = {d: why for d, why in record.failures.items() if d not in results}
    facts = [*record.marks, *record.late, *map(":".join, sorted(failures.items()))]
    stopped = record.pruned if plan.search is not None else {}
    facts += [f"pruned {digest}" for digest in sorted(stopped)]
    stamp = {"format": FORMAT, "of": _key(plan, results, facts)}
    if read_sealed(folder / MADE) == stamp | {"files": _checksums(folder)}:
        return folder
    # import drawing and inference only if the report is written
    from study.report.html import to_html
    from study.report.markdown import to_markdown
    from study.report.material import gather
    from study.report.numbers import to_csv

    answer = concluded(plan, record, root, results)
    material = gather(plan, root, answer, results, failures)
    document = compose(material, None if plan.search is None else searched_of(material, record))
    pages = {
        "report.html": visible(to_html(document)).encode(),
        "report.md": visible(to_markdown(document)).encode(),
        "report.csv": visible(to_csv(material)).encode(),
        "report.json": storage.to_json(to_values(document, answer)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in pages.items():
        storage.write(folder / name, content)
    storage.write_json(folder / MADE, stamp | {"files": _checksums(folder)})
    return folder


def _checksums(folder: AnyPath) -> dict[str, str]:
    """Hash those files of the report and the answer that exist, with SHA-256."""
    files = ("answer.json", "answer.md", "report.html", "report.md", "report.csv", "report.json")
    return {name: storage.sha256(folder / name) for name in files if (folder / name).exists()}


def searched_of(material: Material, record: Record) -> Searched:
    """Collect the input for the report of a search."""
    from study.report.sections.searched import Searched, spending
    from study.search.budget import more, over, spent
    from study.search.summary import cells_of, outcomes_of, tried

    plan = material.plan
    assert plan.search is not None
    outcomes = outcomes_of(
        plan.search, record.proposals, material.results, record.failures, record.pruned
    )
    spending_so_far, proposed = spent(record.times), sum(v.phase == "search" for v in outcomes)
    cells = tried(cells_of(plan.search, outcomes))
    running = sum(v.state in ("planned", "running") for v in outcomes)
    why = "" if running else over(plan.search, proposed, cells, spending_so_far, 0)
    text = more(plan.search, cells)
    return Searched(
        plan.search,
        outcomes,
        f"It ended: {why}." if why else "",
        spending(plan.search, outcomes, spending_so_far),
        (text,) if text else (),
    )


def compose(material: Material, searched: Searched | None = None) -> Document:
    """Compose the report, the answer first; for a search, its results first.

    A search's sections show test results only of confirmed winners (law 5).
    """
    from study.report.document import Document
    from study.report.sections import (
        answered,
        compared,
        languages,
        published,
        tradeoffs,
        validity,
    )

    plan = material.plan
    specs = list(plan.specs.values())
    encoders = ", ".join(sorted({spec.encoder.name for spec in specs}))
    tests = ", ".join(dict.fromkeys([*(spec.test.name for spec in specs), *plan.also]))
    facts = (
        f"Space {plan.space}, tier {plan.tier}; {count_of(len(plan.cells), 'cell')}, "
        f"{count_of(len(specs), 'trial')}; "
        f"tested on {tests} with {encoders}."
    )
    if searched is not None:
        return Document(plan.name, plan.question, facts, _search_sections(material, searched))
    sections = (
        answered.answered(material),
        compared.compared(material),
        compared.responses(material),
        languages.pairs_of_languages(material),
        languages.bias(material),
        tradeoffs.tradeoffs(material),
        tradeoffs.cost(material),
        tradeoffs.everything(material),
        answered.explored(material),
        validity.validity(material),
        published.published(material),
        validity.reproduction(material),
    )
    existing = tuple(section for section in sections if section is not None)
    return Document(plan.name, plan.question, facts, existing)


def _search_sections(material: Material, searched: Searched) -> tuple[Section, ...]:
    from study.report.sections import answered, validity
    from study.report.sections import search_space as settings
    from study.report.sections import searched as search

    sections = (
        search.search_result(material, searched),
        search.history(searched),
        settings.settings(searched),
        settings.pareto(searched),
        answered.answered(material) if material.answer.findings else None,
        validity.validity(material),
        validity.reproduction(material),
    )
    return tuple(section for section in sections if section is not None)


def to_values(document: Document, answer: Answer) -> dict[str, Any]:
    """Convert the report to plain values: the answer, and every table with unrounded numbers."""
    return {
        "format": FORMAT,
        "study": document.title,
        "question": document.question,
        "facts": document.facts,
        "answer": as_values(answer),
        "tables": {table.id: _plain(table) for table in document.tables()},
    }


def _plain(table: Table) -> dict[str, Any]:
    from study.report.document import Spread, finite

    def value(cell: Any) -> Any:
        if isinstance(cell, Spread):
            mean, deviation = finite(cell.mean), finite(cell.deviation)
            return {"mean": mean, "deviation": deviation, "count": cell.count}
        return finite(cell) if isinstance(cell, float) else cell

    return {
        "caption": table.caption,
        "columns": [column.title for column in table.columns],
        "rows": [[value(cell) for cell in row] for row in table.rows],
        "note": table.note,
    }


def _key(plan: Plan, results: Mapping[str, Any], facts: list[str]) -> str:
    """Hash the input of the report, including the answer's."""
    labels = "\n".join(cell.label for cell in plan.cells)
    text = "\n".join([answer_key(plan, results, facts), plan.question, labels])
    return hashlib.sha256(text.encode()).hexdigest()[:20]
