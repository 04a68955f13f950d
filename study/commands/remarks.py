"""What must be said below every table of a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape

from study.plan import Plan
from study.study_folder import StudyFolder


def remarks(
    plan: Plan, folder: StudyFolder, results: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Marks of changed plans (law 6), and trials whose memory layout was changed (law 1)."""
    for mark in folder.marks():
        yield f"[yellow]{escape(mark)}[/]"
    changed = [digest for digest, result in results.items() if result.get("layout_changed")]
    if changed:
        labels = {t.digest: cell.label for cell in plan.cells for t in cell.trials}
        names = sorted({labels[digest] for digest in changed})
        yield (
            f"[yellow]layout changed:[/] {len(changed)} trials ran with smaller micro-batches "
            f"after they were out of memory, in {escape(', '.join(names))}"
        )
