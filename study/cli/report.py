"""`report`: write one page with the answer of a study and all its evidence."""

from __future__ import annotations

from study.cli.workspace import ROOT, Root, State, StudyName, Workspace
from study.console import PlainConsole
from study.report.report import write_report


def report(name: StudyName, root: Root = ROOT, state: State = None) -> int:
    """Write the report of a study: HTML, Markdown, JSON, and a CSV of every number."""
    home = Workspace.open(root, state)
    plan, record, results = home.load(name)
    place = write_report(plan, record, home.root, results)
    for file in ("report.html", "report.md", "report.json", "report.csv"):
        PlainConsole().print(str(place / file), soft_wrap=True)
    return 0
