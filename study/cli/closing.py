"""What `run` prints when it has run all that it could."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from study.analysis.conclusion import conclude
from study.analysis.results import by_cell
from study.cli.footnotes import remarks
from study.cli.pruned import stopped, stopped_lines
from study.cli.tables import tables
from study.console import count_of, decoded, marked, typed
from study.report.report import write_report
from study.search.history import history_of
from study.search.summary import outcome
from trainables.errors import redacted

if TYPE_CHECKING:
    from study.driver.driver import Driver


def tell_end(driver: Driver, root: str) -> int:
    """Show the table and what came of a study.

    Args:
        driver: That ran it.
        root: As it was typed, for the commands that are shown.

    Returns:
        The exit code: 0 where all is done, 1 where trials failed, 130 where some are left.
    """
    console, plan, record = driver.console, driver.plan, driver.record
    counts = driver.counts()
    early = stopped(plan, record, driver.results)
    for table in tables(plan, by_cell(plan, driver.results, early)):
        console.print(table)
    for line in conclude(plan, record, driver.root, driver.results):
        console.print(line)
    for line in stopped_lines(plan, early):
        console.print(line)
    for remark in remarks(plan, driver.results):
        console.print(remark)
    if driver.results:
        place = write_report(plan, record, driver.root, driver.results)
        console.print(f"Report: {place / 'report.html'}", soft_wrap=True)
    left = counts["planned"] + counts["running"]
    if plan.search is not None:
        observed = driver.observations()
        history = history_of(plan, observed.results, observed.ended, observed.reached)
        for line in outcome(plan, history, driver.results, driver.over):
            console.print(line)
    if left or (plan.search is not None and not driver.over):
        console.print(
            f"interrupted with {count_of(left, 'trial') if left else 'further trials'} left; "
            f"resume with\n  {resume_command()}",
            soft_wrap=True,
        )
        return 130
    if counts["failed"]:
        status = ["python", "-m", "study", "status", plan.name, "--root", root]
        console.print(
            marked(
                f"{count_of(counts['failed'], 'trial')} failed:",
                f" {typed(status)} says why; add --retry failed to run them again",
                "red",
            ),
            soft_wrap=True,
        )
        return 1
    return 0


def resume_command() -> str:
    """The command that was typed, to be typed again; secrets of URLs left out."""
    program = sys.argv[:1] if sys.argv[0].endswith("run.py") else ["-m", "study"]
    return typed(map(redacted, map(decoded, ["python", *program, *sys.argv[1:]])))
