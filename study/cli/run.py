"""`run`: plan a study, run its remaining trials, show the comparison."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from study.analysis.conclusion import conclude
from study.cli.arguments import (
    Address,
    DataDir,
    SpaceArguments,
    choose_device,
    refuse_layout,
)
from study.cli.messages import announce, tell_end
from study.cli.workspace import ROOT, Root, State, Storage, TrackingUri, Workspace
from study.console import PlainConsole, count_of, marked
from study.driver.weights import drop_all_but_best, lone_encoder
from study.launch.config import LaunchConfig
from study.planning.build import make_plan
from study.planning.update import PlanUpdate, update_plan
from study.report.report import write_report
from study.search import search as start
from study.spaces.optimize import SAMPLERS
from study.spaces.schema import space_names
from study.spaces.search_plan import search_options
from study.state.databases import refuse_network
from study.state.study_folder import StudyFolder
from study.tracking.observer import catch_up
from trainables.errors import UserError
from trainables.spec import Execution
from trainables.storage import atomic as storage

if TYPE_CHECKING:
    from study.driver.driver import Driver

FREE_BYTES = 200_000_000
"""Disk space that a study needs at its start for databases, results and Ray's own files."""

KEEP = ("best", "all", "none")

RETRIED = ("failed", "pruned")
"""States of trials that `--retry` may plan again."""


def run(
    space: Annotated[
        str | None, typer.Option(help="Name of a space, or a path ending in .yaml.")
    ] = None,
    tier: Annotated[
        str | None, typer.Option(help="demo or full; by default what benchmark and encoder ask.")
    ] = None,
    benchmark: Annotated[str | None, typer.Option(help="What is evaluated.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="embedded/<rung>, a checkpoint folder or a hub id.")
    ] = None,
    data_dir: DataDir = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, replaces the space's; `keys` lists all."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trials of each cell.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Trials at once.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each trial.")] = 1,
    device: Annotated[str, typer.Option(help="Where trials compute: cpu, cuda or auto.")] = "auto",
    ranks: Annotated[int, typer.Option(min=1, help="GPUs (or processes) of each trial.")] = 1,
    nodes: Annotated[
        int, typer.Option(min=1, help="Machines of a cluster that a trial's ranks are dealt to.")
    ] = 1,
    name: Annotated[str | None, typer.Option(help="Instead of the default name.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and its cost, write nothing.")
    ] = False,
    accelerator: Annotated[
        str | None,
        typer.Option(help="Such as L4: what --dry-run estimates for, or a cluster will start."),
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="How cells are chosen: " + ", ".join(SAMPLERS) + ".")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=0, help="Of a search in all, seeds included.")
    ] = None,
    hours: Annotated[
        float | None, typer.Option(min=0, help="That a search may take in all.")
    ] = None,
    accelerator_hours: Annotated[
        float | None, typer.Option(min=0, help="That its trials may take together.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(help="Value of the first objective that is enough.")
    ] = None,
    extend: Annotated[bool, typer.Option("--extend", help="Add to a plan that changed.")] = False,
    retry: Annotated[
        str | None,
        typer.Option(help="failed: run them again; pruned: complete what was stopped early."),
    ] = None,
    trial_timeout: Annotated[
        float | None, typer.Option(min=1, help="Seconds that one attempt at a trial may take.")
    ] = None,
    keep: Annotated[
        str,
        typer.Option(
            help="Fine-tuned encoders to keep: best (by validation; without it the first trial's), "
            "all or none."
        ),
    ] = "best",
    cache_gb: Annotated[
        float | None, typer.Option(min=0, help="Most that the shared cache may hold; 20 if unset.")
    ] = None,
    root: Root = ROOT,
    state: State = None,
    storage_url: Storage = None,
    tracking_uri: TrackingUri = None,
    address: Address = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Go on from a driver elsewhere that may yet live.")
    ] = False,
) -> int:
    """Plan a study, run what is left of it and show the comparison.

    The same command again resumes: nothing already known runs twice.
    """
    console = PlainConsole()
    if space is None:
        raise UserError(
            f"--space: name one of {', '.join(space_names())}, or the path of a .yaml file"
        )
    _refuse(retry, keep, None if dry_run or address else accelerator)
    typed = SpaceArguments.read(space, tier, benchmark, encoder, assign)
    refuse_layout(ranks, nodes, cluster=dry_run or address is not None)
    chosen_device = choose_device(device, address, ranks)
    execution = Execution(threads=threads, device=chosen_device, ranks=ranks, nodes=nodes)
    given = {"trials": trials, "hours": hours, "accelerator_hours": accelerator_hours}
    budget = {k: v for k, v in (given | {"target": target}).items() if v is not None}
    missing: dict[str, str] = {}
    planned, places = make_plan(
        typed.space,
        space,
        typed.tier,
        typed.settings,
        data_dir=data_dir,
        seeds=seeds,
        name=name,
        missing=missing if dry_run else None,
        optimize=search_options(typed.space, typed.tier, sampler, budget, seeds),
    )
    home = Workspace.open(root, state)
    folder = home.study(planned.name)
    before, note = (folder.plan(), None) if dry_run else folder.plan_or_aside(planned)
    if note:
        console.print(marked("note:", f" {note}"))
    update = update_plan(
        planned,
        before,
        folder.written(),
        places,
        home.root,
        execution,
        data_dir=data_dir,
        extend=extend,
        dry_run=dry_run,
        runnable=not missing,
    )
    announce(console, update.plan, missing)
    if chosen_device != "cpu" or device != "auto":
        console.print(f"Trials compute on {chosen_device} (--device {device}).")
    if dry_run:
        _tell_cost(console, update, places, execution, workers, accelerator)
        return 0
    _ensure_usable(console, home, folder, databases=not (storage_url and tracking_uri))
    if cache_gb is not None:
        home.cache.set_limit(round(cache_gb * 1e9))
    config = LaunchConfig(
        root=home.root,
        state=home.state,
        places=places,
        execution=execution,
        workers=workers if address else workers or execution.slots_here,
        address=address,
        timeout=trial_timeout,
        keep=keep,
        needs=_gpu_bytes(update, places, execution),
        accelerator=accelerator,
    )
    if address is None and "RAY_ADDRESS" in os.environ:
        console.print(marked("note:", " RAY_ADDRESS is not followed; --address auto follows it"))
    from study.driver.driver import Driver

    with folder.lease(take_over=take_over) as journal:
        plan = update.save(folder, journal, home.root)
        observers = home.observers(plan, journal.record, tracking_uri, storage_url)
        search = start.start(update.points, home.root) if update.points else None
        driver = Driver(plan, home.root, journal, observers, console, search=search)
        _drive(driver, config, retry)
        drop_all_but_best(driver)
    if hint := lone_encoder(driver, keep):
        console.print(hint)
    return tell_end(driver, root)


def _refuse(retry: str | None, keep: str, useless: str | None) -> None:
    """Refuse unknown values of --retry and --keep, and a `useless` --accelerator."""
    if retry not in (None, *RETRIED):
        raise UserError(f"--retry {retry}: choose {' or '.join(RETRIED)}")
    if keep not in KEEP:
        raise UserError(f"--keep {keep}: choose {', '.join(KEEP)}")
    if useless:
        raise UserError(
            f"--accelerator {useless}: it is for the estimate of --dry-run, and with --address "
            "says what GPUs a cluster will start; here they are found"
        )


def _tell_cost(
    console: Console,
    update: PlanUpdate,
    places: dict[str, str],
    execution: Execution,
    workers: int | None,
    accelerator: str | None,
) -> None:
    """Print the digests of all trials and the estimated cost of the plan."""
    from study.cost.forecast import describe, estimate

    for cell in update.plan.cells:
        console.print(f"  {cell.label}: {' '.join(trial.digest for trial in cell.trials)}")
    plan = update.with_expected_trials()
    for line in describe(estimate(plan, places, execution, workers, accelerator)):
        console.print(line)


def _ensure_usable(
    console: Console, home: Workspace, folder: StudyFolder, *, databases: bool
) -> None:
    """Refuse a root or state folder that cannot hold the study or its `databases`."""
    storage.ensure_writable(home.root, FREE_BYTES)
    storage.ensure_writable(folder.path, 0)
    storage.ensure_writable(folder.local, FREE_BYTES, "--state")
    if databases:
        refuse_network(home.state)
    if not isinstance(home.root, Path):
        console.print(f"Databases and locks lie in {home.state} (--state chooses).")


def _gpu_bytes(
    update: PlanUpdate, places: dict[str, str], execution: Execution
) -> dict[str, float]:
    """Estimate GPU bytes by `cost_key`, so that small trials share a GPU; empty on the CPU."""
    if execution.device != "cuda":
        return {}
    from study.cost.forecast import gpu_bytes

    return gpu_bytes(update.with_expected_trials(), places, execution)


def _drive(driver: Driver, config: LaunchConfig, retry: str | None) -> None:
    """Run the remaining trials, store answer and report, and close the observers."""
    from study.tracking.view import study_numbers

    if known := driver.reconcile():
        were = f"{count_of(known, 'trial')} {'was' if known == 1 else 'were'}"
        driver.console.print(f"{were} already known from committed folders.")
    if retry == "failed":
        driver.retry_failed()
    elif retry == "pruned":
        driver.complete_pruned()
    catch_up(driver.observers, driver.plan, driver.record, driver.results)
    if jobs := driver.jobs():
        driver.run(jobs, config)
    else:
        driver.console.print("Nothing to do: every planned trial has ended.")
    try:
        # MLflow shows the answer too
        conclude(driver.plan, driver.record, driver.root, driver.results)
        if driver.results:
            write_report(driver.plan, driver.record, driver.root, driver.results)
    finally:
        numbers = partial(study_numbers, driver.plan, driver.record, driver.results)
        for observer in driver.observers:
            observer.close(driver.console, numbers)
