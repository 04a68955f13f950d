"""`track`: fill the views of a study from its journal and committed folders."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from study.analysis.conclusion import conclude
from study.cli.workspace import ROOT, Root, State, Storage, Workspace
from study.console import PlainConsole, count_of
from study.state.committed import committed_results
from study.tracking.observer import catch_up


def track(
    name: Annotated[str, typer.Argument(help="Name of a study.")],
    tracking_uri: Annotated[
        str | None, typer.Option(help="Any MLflow URI.", envvar="STUDY_TRACKING_URI")
    ] = None,
    root: Root = ROOT,
    state: State = None,
    storage_url: Storage = None,
) -> int:
    """Tell MLflow and Optuna's storage of every ended trial of a study that they lack."""
    from study.tracking.view import study_numbers

    console = PlainConsole()
    home = Workspace.open(root, state)
    plan, record = home.plan(name), home.study(name).record()
    results = committed_results(home.root, plan.specs)
    observers = home.observers(plan, record, tracking_uri, storage_url)
    catch_up(observers, plan, record, results, again=True)
    conclude(plan, record, home.root, results)  # which MLflow shows too
    numbers = partial(study_numbers, plan, record, results)
    missing = set[str]().union(*(o.close(console, numbers, wait=True) for o in observers))
    there = count_of(len(results.keys() - missing), "committed trial")
    console.print(f"{there} of {name} told to MLflow.")
    return 130 if missing else 0
