"""`track`: fill MLflow and Optuna's storage from a study's journal and committed folders."""

from __future__ import annotations

from functools import partial

from study.analysis.conclusion import conclude
from study.cli.workspace import ROOT, Root, State, Storage, StudyName, TrackingUri, Workspace
from study.console import PlainConsole, count_of
from study.tracking.observer import catch_up


def track(
    name: StudyName,
    tracking_uri: TrackingUri = None,
    root: Root = ROOT,
    state: State = None,
    storage_url: Storage = None,
) -> int:
    """Tell MLflow and Optuna's storage of every ended trial of a study that they lack."""
    from study.tracking.view import study_numbers

    console = PlainConsole()
    home = Workspace.open(root, state)
    plan, record, results = home.load(name)
    observers = home.observers(plan, record, tracking_uri, storage_url)
    catch_up(observers, plan, record, results, again=True)
    conclude(plan, record, home.root, results)  # MLflow shows the answer too
    numbers = partial(study_numbers, plan, record, results)
    missing = set[str]().union(*(o.close(console, numbers, wait=True) for o in observers))
    there = count_of(len(results.keys() - missing), "committed trial")
    console.print(f"{there} of {name} told to MLflow.")
    return 130 if missing else 0
