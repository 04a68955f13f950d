"""`run`: plan a study, run what is left of it, show the comparison."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from study.answer.results import by_cell, committed_results
from study.answer.table import comparison
from study.commands.console import console as open_console
from study.plan import Plan, check_data, make_plan
from study.spaces.schema import Tier, load_space, parse_assignments
from study.study_folder import StudyFolder
from trainables import storage
from trainables.data import catalog
from trainables.encoders import catalog as encoders
from trainables.errors import UserError
from trainables.spec import Execution

FREE_BYTES = 200_000_000
"""Room a study needs at its start: databases, results and Ray's own files."""

Root = Annotated[Path, typer.Option(help="Where everything lies.", envvar="STUDY_ROOT")]


def run(
    space: Annotated[str, typer.Option(help="Name of a space, or a path ending in .yaml.")],
    tier: Annotated[
        str | None, typer.Option(help="demo or full; by default what benchmark and encoder ask.")
    ] = None,
    benchmark: Annotated[str | None, typer.Option(help="What is evaluated.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="embedded/<rung>, a checkpoint folder or a hub id.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the source's files.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, replaces the space's.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trials of each cell.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Trials at once.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each trial.")] = 1,
    name: Annotated[str | None, typer.Option(help="Instead of the default name.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, write nothing.")
    ] = False,
    extend: Annotated[bool, typer.Option("--extend", help="Add to a plan that changed.")] = False,
    retry: Annotated[str | None, typer.Option(help="failed: run failed trials again.")] = None,
    root: Root = Path("runs"),
    storage_url: Annotated[str | None, typer.Option("--storage", help="Any Optuna URL.")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="Any MLflow URI.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster.")] = None,
) -> int:
    """Plan a study, run what is left of it and show the comparison.

    The same command again resumes: nothing already known runs twice.
    """
    console = open_console()
    overrides: dict[str, Any] = parse_assignments(assign or [])
    overrides |= {k: v for k, v in (("benchmark", benchmark), ("encoder", encoder)) if v}
    chosen = _tier(tier, overrides)
    if retry not in (None, "failed"):
        raise UserError(f"--retry {retry}: the only choice is failed")
    plan, places = make_plan(
        load_space(space), space, chosen, overrides, data_dir=data_dir, seeds=seeds, name=name
    )
    folder = StudyFolder.of(root, plan.name)
    before = folder.plan()
    if before is not None and (changes := before.differences(plan)) and not extend:
        shown = "\n  ".join(changes[:20])
        raise UserError(
            f"study {plan.name} was planned differently:\n  {shown}\n"
            "use --extend to add what is new, or --name to start another study"
        )
    if before is None or extend:
        check_data(plan, places)
    _announce(console, plan, dry_run)
    if dry_run:
        return 0
    storage.ensure_writable(root, FREE_BYTES)
    storage.ensure_writable(folder.path, 0)
    workers = workers or max(1, (os.cpu_count() or 1) // threads)
    execution = Execution(threads=threads)
    with folder.lease():
        if before is None or before.differences(plan):
            folder.save_plan(plan)
            folder.note("planned", trials=len(plan.specs), frozen=plan.frozen)
        counts = _drive(
            console,
            plan,
            folder,
            root,
            storage_url,
            tracking_uri,
            places,
            execution,
            workers,
            address,
            retry,
        )
    return _outcome(console, plan, root, counts)


def _drive(
    console: Console,
    plan: Plan,
    folder: StudyFolder,
    root: Path,
    storage_url: str | None,
    tracking_uri: str | None,
    places: dict[str, str],
    execution: Execution,
    workers: int,
    address: str | None,
    retry: str | None,
) -> dict[str, int]:
    """Run what is left; trials by state."""
    from study.driver import Driver
    from study.ledger import Ledger
    from study.view import View

    ledger = Ledger(storage_url or f"sqlite:///{root.resolve()}/ledger.db", plan.name)
    view = View(plan, root, tracking_uri)
    driver = Driver(plan, root.resolve(), ledger, folder, view, console)
    if retry == "failed":
        ledger.retry([row for row in ledger.rows() if row.state == "failed"])
    found, _ = driver.reconcile()
    if found:
        console.print(f"{found} trials were already known from committed folders.")
    jobs = driver.jobs()
    if not jobs:
        console.print("Nothing to do: every planned trial has ended.")
    else:
        driver.run(jobs, places=places, execution=execution, workers=workers, address=address)
    view.close(console, driver.counts())
    return driver.counts()


def _tier(tier: str | None, overrides: dict[str, Any]) -> Tier:
    """The tier asked for, or the one that benchmark and encoder belong to."""
    if tier in ("demo", "full"):
        return "full" if tier == "full" else "demo"
    if tier is not None:
        raise UserError(f"--tier {tier}: choose demo or full")
    real = not catalog.is_embedded(overrides.get("benchmark", "synthetic"))
    real |= not encoders.is_embedded(overrides.get("encoder", "embedded/small"))
    return "full" if real else "demo"


def _announce(console: Console, plan: Plan, dry_run: bool) -> None:
    """Say what is going to be compared, on what, and what that can show."""
    console.print(f"[bold]{plan.name}[/]: {plan.question}")
    specs = list(plan.specs.values())
    test = specs[0].test
    console.print(
        f"{len(plan.cells)} cells, {len(specs)} trials; tested on {test.name}"
        + (f" ({test.part})" if test.part else "")
        + f" with {specs[0].encoder.name}."
    )
    if catalog.is_embedded(test.name):
        console.print("The embedded world is a toy: no evidence about human languages.")
    sources = {spec.train.name for spec in specs if spec.train is not None}
    if test.name in sources and not catalog.is_embedded(test.name):
        console.print(
            f"[yellow]Not zero-shot:[/] training and test are different articles of {test.name}."
        )
    if dry_run:
        for cell in plan.cells:
            console.print(f"  {cell.label}: {' '.join(trial.digest for trial in cell.trials)}")


def _outcome(console: Console, plan: Plan, root: Path, counts: dict[str, int]) -> int:
    """Show the table and say with which exit code the study ends."""
    console.print(comparison(plan, by_cell(plan, committed_results(root, plan.specs))))
    if counts["planned"] or counts["running"]:
        console.print(
            f"interrupted with {counts['planned'] + counts['running']} trials left; resume with\n"
            f"  {resume_command()}"
        )
        return 130
    if counts["failed"]:
        console.print(
            f"[red]{counts['failed']} trials failed[/]: "
            f"python -m study status {plan.name} --root {root} says why; "
            "add --retry failed to run them again"
        )
        return 1
    return 0


def resume_command() -> str:
    """The command that was typed, to be typed again."""
    return shlex.join(["python", *([] if sys.argv[0].endswith("run.py") else ["-m"]), *sys.argv])
