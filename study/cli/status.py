"""`status`: show the state of a study's trials and its results, as text or JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from study.analysis.caveats import tied
from study.analysis.results import best_cell, by_cell
from study.cli.messages import results_of, stopped
from study.cli.workspace import ROOT, Root, State, Storage, StudyName, Workspace
from study.console import PlainConsole, count_of, marked
from study.search.summary import best_found
from study.state.plan import Plan, label_of
from study.state.record import Record


def status(
    name: StudyName,
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
    plan, record, results = home.load(name)
    report = describe(plan, home, record, results)
    if as_json:
        trials = ",\n".join(map(json.dumps, report.pop("trials")))
        typer.echo(f'{json.dumps(report)[:-1]},\n"trials": [\n{trials}\n]}}')
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
    for line in results_of(plan, record, home.root, results):
        console.print(line)
    return 0


def describe(
    plan: Plan, home: Workspace, record: Record, results: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Describe a study for JSON: states from its journal, numbers from committed `results`."""
    driven = bool(record.started) and home.study(plan.name).is_driven()
    early = stopped(plan, record, results)
    ties = {tie.trial: asdict(tie) for tie in tied(plan, home.root, results)}
    trials: dict[str, dict[str, Any]] = {}
    for cell in plan.cells:
        for planned in cell.trials:
            digest = planned.digest
            current = record.state(digest, results, driven=driven)
            result = results.get(digest, {})
            rung = early[digest] if current.state == "pruned" else None
            trials.setdefault(
                digest,
                {
                    "digest": digest,
                    "state": current.state,
                    "reason": current.reason,
                    "fidelity": rung and {"examples": rung.examples, "value": rung.value},
                    "params": cell.params,
                    "seed": planned.seed,
                    "metrics": result.get("metrics", {}),
                    "zero_shot": result.get("zero_shot"),
                    "tied": ties.get(digest),
                    "layout_changed": result.get("layout_changed", False),
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
