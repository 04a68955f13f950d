"""The report in `reports/<study>/`: written again only when what it is made of changed."""

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
"""Of the report; raised by every change of what it shows, so that it is written again."""

MADE = "made.json"
"""Written last: what the files beside it were made of, and their checksums."""


def write_report(
    plan: Plan, record: Record, root: AnyPath, results: dict[str, dict[str, Any]]
) -> AnyPath:
    """Write `report.html`, `.md`, `.json` and `.csv`, unless they are there and say the same.

    Args:
        plan: Of the study.
        record: Of the study: what failed, and what was changed late.
        root: Of trial folders and reports.
        results: `result.json` by digest, of the trials that have one.

    Returns:
        The folder with the report.

    Raises:
        UserError: A committed file of ranks that cannot be read.
    """
    place = own(root / "reports" / plan.name)
    failures = {d: why for d, why in record.failures.items() if d not in results}
    said = [*record.marks, *record.late, *map(":".join, sorted(failures.items()))]
    stopped = record.pruned if plan.search is not None else {}
    said += [f"pruned {digest}" for digest in sorted(stopped)]
    made = {"format": FORMAT, "of": _key(plan, results, said)}
    if read_sealed(place / MADE) == made | {"files": _checksums(place)}:
        return place
    # what draws and infers is imported only where there is something to draw
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
    place.mkdir(parents=True, exist_ok=True)
    for name, content in pages.items():
        storage.write(place / name, content)
    storage.write_json(place / MADE, made | {"files": _checksums(place)})
    return place


def _checksums(place: AnyPath) -> dict[str, str]:
    """SHA-256 of the report's files, as far as they are there; the answer's among them."""
    files = ("answer.json", "answer.md", "report.html", "report.md", "report.csv", "report.json")
    return {name: storage.sha256(place / name) for name in files if (place / name).exists()}


def searched_of(material: Material, record: Record) -> Searched:
    """What the report of a search is made from."""
    from study.report.sections.searched import Searched, spending
    from study.search.budget import more, over, spent
    from study.search.summary import cells_of, outcomes_of, tried

    plan = material.plan
    assert plan.search is not None
    visits = outcomes_of(
        plan.search, record.proposals, material.results, record.failures, record.pruned
    )
    taken, proposed = spent(record.times), sum(v.phase == "search" for v in visits)
    cells = tried(cells_of(plan.search, visits))
    running = sum(v.state in ("planned", "running") for v in visits)
    why = "" if running else over(plan.search, proposed, cells, taken, 0)
    text = more(plan.search, cells)
    return Searched(
        plan.search,
        visits,
        f"It ended: {why}." if why else "",
        spending(plan.search, visits, taken),
        (text,) if text else (),
    )


def compose(material: Material, searched: Searched | None = None) -> Document:
    """The report's content, the answer first; of a search, what it found.

    Its sections show the test of no cell but confirmed winners (law 5).
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
        return Document(plan.name, plan.question, facts, _of_search(material, searched))
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
    there = tuple(section for section in sections if section is not None)
    return Document(plan.name, plan.question, facts, there)


def _of_search(material: Material, searched: Searched) -> tuple[Section, ...]:
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
    """The report as plain values: the answer, and every table with unrounded figures."""
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

    def value(one: Any) -> Any:
        if isinstance(one, Spread):
            mean, deviation = finite(one.mean), finite(one.deviation)
            return {"mean": mean, "deviation": deviation, "count": one.count}
        return finite(one) if isinstance(one, float) else one

    return {
        "caption": table.caption,
        "columns": [column.title for column in table.columns],
        "rows": [[value(one) for one in row] for row in table.rows],
        "note": table.note,
    }


def _key(plan: Plan, results: Mapping[str, Any], said: list[str]) -> str:
    """What the report is made from, the answer included."""
    labels = "\n".join(cell.label for cell in plan.cells)
    text = "\n".join([answer_key(plan, results, said), plan.question, labels])
    return hashlib.sha256(text.encode()).hexdigest()[:20]
