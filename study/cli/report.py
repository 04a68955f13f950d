"""`report`: one page with the answer of a study and everything behind it."""

from __future__ import annotations

from typing import Annotated

import typer

from study.cli.workspace import ROOT, Root, State, Workspace
from study.console import PlainConsole
from study.report.report import write_report
from study.state.committed import committed_results


def report(
    name: Annotated[str, typer.Argument(help="Name of a study.")],
    root: Root = ROOT,
    state: State = None,
) -> int:
    """Write the report of a study: HTML, Markdown, JSON, and a CSV of every number."""
    home = Workspace.open(root, state)
    plan = home.plan(name)
    results = committed_results(home.root, plan.specs)
    place = write_report(plan, home.study(name).record(), home.root, results)
    for file in ("report.html", "report.md", "report.json", "report.csv"):
        PlainConsole().print(str(place / file), soft_wrap=True)
    return 0
