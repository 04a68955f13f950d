"""`track`: fill the MLflow view of a study from its committed folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from study.answer.results import committed_results
from study.commands.console import console as open_console
from study.commands.run import Root
from study.commands.status import open_plan


def track(
    name: Annotated[str, typer.Argument(help="Name of a study.")],
    tracking_uri: Annotated[str | None, typer.Option(help="Any MLflow URI.")] = None,
    root: Root = Path("runs"),
    storage_url: Annotated[str | None, typer.Option("--storage", help="Any Optuna URL.")] = None,
) -> int:
    """Tell MLflow of every ended trial of a study; what it has already is not told twice."""
    from study.ledger import Ledger
    from study.view import View

    console = open_console()
    plan = open_plan(root, name)
    ledger = Ledger(storage_url or f"sqlite:///{root.resolve()}/ledger.db", plan.name)
    rows = {row.digest: row for row in ledger.rows() if row.digest in plan.specs}
    results = committed_results(root, rows)
    view = View(plan, root, tracking_uri)
    for digest, row in rows.items():
        if digest in results:
            view.completed(row, results[digest])
        elif row.state == "failed":
            view.failed(row, row.reason.partition(":")[0], row.reason)
    console.print(f"{len(results)} committed trials of {name} told to MLflow.")
    view.close(console, {})
    return 0
