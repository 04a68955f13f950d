"""`status`: where a study stands, for people and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from study.analysis.caveats import tied
from study.analysis.conclusion import conclude
from study.analysis.results import best_cell, by_cell
from study.cli.footnotes import remarks
from study.cli.pruned import stopped, stopped_lines, where
from study.cli.tables import tables
from study.cli.workspace import ROOT, Root, State, Storage, Workspace
from study.console import PlainConsole, count_of, marked
from study.search.summary import best_found
from study.state.committed import committed_results
from study.state.plan import Plan, label_of
from study.state.record import Record


def status(
    name: Annotated[str, typer.Argument(help="Name of a study.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
    root: Root = ROOT,
    state: State = None,
    storage_url: Storage = None,
) -> int:
    """Show which trials of a study are complete, running, planned or failed, and their numbers.

    States come from the study's journal; a `--storage` is not looked at.

    In the JSON, `planned` counts all trials of the plan; the other counts are by state.
    """
    home = Workspace.open(root, state)
    plan = home.plan(name)
    record = home.study(name).record()
    results = committed_results(home.root, plan.specs)
    report = describe(plan, home, record, results)
    if as_json:
        typer.echo(json.dumps(report, indent=1))
        return 0
    console = PlainConsole()
    counts = ", ".join(f"{report[s]} {s}" for s in ("complete", "failed", "pruned", "running"))
    console.print(
        marked(name, f": {count_of(report['planned'], 'trial')} planned; {counts}", "bold")
    )
    for trial in report["trials"]:
        if trial["state"] == "failed":
            label = label_of(trial["params"])
            console.print(f"  failed {trial['digest']} {label}: {trial['reason']}")
    early = stopped(plan, record, results)
    cells = by_cell(plan, results, early)
    for table in tables(plan, cells):
        console.print(table)
    for line in conclude(plan, record, home.root, results):
        console.print(line)
    for line in stopped_lines(plan, early):
        console.print(line)
    for remark in remarks(plan, results):
        console.print(remark)
    return 0


def describe(
    plan: Plan, home: Workspace, record: Record, results: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """The study as plain values: states by its journal, figures from committed folders."""
    driven = bool(record.started) and home.study(plan.name).is_driven()
    early = stopped(plan, record, results)
    ties = {one.trial: asdict(one) for one in tied(plan, home.root, results)}
    trials: dict[str, dict[str, Any]] = {}
    for cell in plan.cells:
        for planned in cell.trials:
            digest = planned.digest
            now = record.state(digest, results, driven=driven)
            trials.setdefault(
                digest,
                {
                    "digest": planned.digest,
                    "state": now.state,
                    "reason": now.reason,
                    "fidelity": where(early[digest]) if now.state == "pruned" else None,
                    "params": cell.params,
                    "seed": planned.seed,
                    "metrics": results.get(digest, {}).get("metrics", {}),
                    "zero_shot": results.get(digest, {}).get("zero_shot"),
                    "tied": ties.get(digest),
                    "layout_changed": results.get(digest, {}).get("layout_changed", False),
                },
            )
    states = [trial["state"] for trial in trials.values()]
    return {
        "study": plan.name,
        "marks": record.marks,
        "planned": len(states),
        **{state: states.count(state) for state in ("complete", "failed", "pruned", "running")},
        "best": (
            best_found(plan, results, early)
            if plan.search
            else best_cell(plan, by_cell(plan, results, early))
        ),
        "trials": list(trials.values()),
    }
