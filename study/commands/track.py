"""`track`: fill the MLflow view of a study from its committed folders."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from study.answer.conclusion import conclude
from study.commands.home import ROOT, Home, Root, State, Storage
from study.committed import committed_results
from study.shown import PlainConsole, count_of, marked


def track(
    name: Annotated[str, typer.Argument(help="Name of a study.")],
    tracking_uri: Annotated[
        str | None, typer.Option(help="Any MLflow URI.", envvar="STUDY_TRACKING_URI")
    ] = None,
    root: Root = ROOT,
    state: State = None,
    storage_url: Storage = None,
) -> int:
    """Tell MLflow of every ended trial of a study; what it has already is not told twice."""
    from study.ledger import Ledger
    from study.ledger_rows import Row
    from study.view import View

    console = PlainConsole()
    home = Home.open(root, state)
    plan = home.plan(name)
    ledger = Ledger(home.ledger_url(storage_url), plan.name)
    rows = {row.digest: row for row in ledger.rows() if row.digest in plan.specs}
    results = committed_results(home.root, plan.specs)
    folder = home.study(name)
    view = View(plan, home.root, tracking_uri, folder.marks(), home.state)
    view.told()
    for note in [*ledger.notes, *view.notes]:
        console.print(marked("note:", f" {note}"))
    failures, stopped = folder.failures(), folder.pruned()
    for cell in plan.cells:
        for trial in cell.trials:
            row = Row(0, trial.digest, "planned", "", trial.seed, cell.params)
            row = rows.get(trial.digest, row)
            if trial.digest in results:
                view.completed(row, results[trial.digest])
            elif trial.digest in stopped:
                stated = replace(row, state="pruned", reason=stopped[trial.digest].why)
                view.pruned(stated, folder.rungs())
            elif said := row.reason or failures.get(trial.digest):
                view.failed(replace(row, state="failed", reason=said))
    conclude(plan, folder, home.root, results)  # which the view shows too
    missing = view.close(console, {})
    there = count_of(len(results.keys() - missing), "committed trial")
    console.print(f"{there} of {name} told to MLflow.")
    return 130 if missing else 0
