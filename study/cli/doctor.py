"""`doctor`: is this machine, or every machine of a cluster, ready for studies?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from study.cli.arguments import Address, SpaceArguments, tier_of
from study.cli.workspace import ROOT, Root, State, Workspace
from study.console import PlainConsole, count_of, marked
from study.cost.inputs_needed import Need, needs
from study.doctor.checks import diagnose
from study.planning.build import make_plan
from study.spaces.search_plan import search_options

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
    address: Address = None,
) -> int:
    """Look for what would make a study fail or leave a door open; exit 1 where something would.

    Versions, storage, clocks, disk, GPU, token, ports, and with --space its data and checkpoints.
    With --address every machine of that cluster is asked.
    """
    tier_of(tier, {})
    needed: tuple[Need, ...] = ()
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
    home = Workspace.open(root, state)
    findings = diagnose(home.root, home.state, needed, address)
    problems = sum(finding.state == "problem" for finding in findings)
    if as_json:
        content = {"problems": problems, "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(content, indent=1))
        return 1 if problems else 0
    console = PlainConsole()
    for each in findings:
        where = "" if each.where == "all" else f" {each.where}:"
        line = f" {each.check}:{where} {each.says}"
        console.print(marked(f"{each.state:7}", line, STYLES[each.state]), soft_wrap=True)
        if each.remedy:
            console.print(f"          {each.remedy}", soft_wrap=True)
    if problems:
        console.print(marked(count_of(problems, "problem"), "", "red"))
        return 1
    console.print(marked("Ready.", "", "green"))
    return 0
