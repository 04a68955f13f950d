"""`doctor`: is this machine, or every machine of a cluster, ready for studies?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from study.cli.space_arguments import SpaceArguments, tier_of
from study.cli.workspace import ROOT, Root, State, Workspace
from study.console import PlainConsole, marked
from study.cost.inputs_needed import Need, needs
from study.doctor.diagnosis import Diagnosis
from study.doctor.visit import visit
from study.planning.build import make_plan
from study.spaces.search_plan import search_options
from trainables.storage.paths import AnyPath

STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(
    space: Annotated[
        str | None, typer.Option(help="A space whose data and checkpoints are looked for.")
    ] = None,
    tier: Annotated[
        str | None, typer.Option(help="With --space: demo or full; full if unset.")
    ] = None,
    benchmark: Annotated[str | None, typer.Option(help="As for run.")] = None,
    encoder: Annotated[str | None, typer.Option(help="As for run.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="As for run.")] = None,
    assign: Annotated[list[str] | None, typer.Option("--set", help="As for run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Findings as one JSON object.")] = False,
    root: Root = ROOT,
    state: State = None,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster.")] = None,
) -> int:
    """Look for what would make a study fail or leave a door open; exit 1 where something would.

    Versions, storage, clocks, disk, GPU, token, ports, and with --space its data and checkpoints.
    With --address every machine of that cluster is asked.
    """
    tier_of(tier, {})
    folders: list[str] = []
    absent: list[Need] = []
    if space is not None:
        typed = SpaceArguments.read(space, tier, benchmark, encoder, assign, default="full")
        plan, places = make_plan(
            typed.space,
            space,
            typed.tier,
            typed.settings,
            data_dir=data_dir,
            missing={},
            optimize=search_options(typed.space, typed.tier, None, {}),
        )
        needed = needs(plan, places)
        folders = [need.place for need in needed if need.place not in (None, "embedded")]
        absent = [need for need in needed if need.place is None]
    home = Workspace.open(root, state)
    made = unmade(home.root)
    try:
        findings = visit(home.root, home.state, folders, absent, address)
    finally:
        tidy(made)
    show(findings, as_json)
    return 1 if any(finding.state == "problem" for finding in findings) else 0


def unmade(root: AnyPath) -> list[Path]:
    """Folders that do not exist yet on the way to a local root, the innermost first."""
    if not isinstance(root, Path):
        return []
    return [folder for folder in (root, *root.parents) if not folder.exists()]


def tidy(folders: list[Path]) -> None:
    """Remove those of these folders that are empty: looking leaves nothing."""
    for folder in folders:
        if os.path.isdir(folder) and not any(folder.iterdir()):
            folder.rmdir()


def show(findings: list[Diagnosis], as_json: bool) -> None:
    """A line for each finding, and its remedy below it; or all as JSON."""
    problems = sum(finding.state == "problem" for finding in findings)
    if as_json:
        content = {"problems": problems, "findings": [each.to_json() for each in findings]}
        typer.echo(json.dumps(content, indent=1))
        return
    console = PlainConsole()
    for each in findings:
        where = "" if each.where == "all" else f" {each.where}:"
        said = f" {each.check}:{where} {each.says}"
        console.print(marked(f"{each.state:7}", said, STYLES[each.state]), soft_wrap=True)
        if each.remedy:
            console.print(f"          {each.remedy}", soft_wrap=True)
    count = "1 problem" if problems == 1 else f"{problems} problems"
    console.print(marked(count, "", "red") if problems else marked("Ready.", "", "green"))
