"""`run`: plan a study, run what is left of it, show the comparison."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from study import ledger_file
from study.answer.conclusion import conclude
from study.answer.results import by_cell
from study.answer.table import tables
from study.commands.announce import announce
from study.commands.console import console as open_console
from study.commands.devices import choose_device
from study.commands.home import ROOT, Home, Root, State
from study.commands.remarks import remarks
from study.commands.stopped import stopped, stopped_lines
from study.data_check import check_data
from study.extension import declared_late, extended, mark
from study.launch.orders import Orders
from study.plan import Plan
from study.planning import make_plan
from study.report.written import write_report
from study.search import start
from study.search.outcome import outcome
from study.search.points import Points
from study.search.search import refuse_impossible
from study.search.seen import history_of
from study.search.wanted import wanted
from study.search.warm import transferred
from study.spaces.optimize import SAMPLERS
from study.spaces.schema import Tier, load_space, parse_assignments
from study.study_folder import StudyFolder
from study.weights import drop_all_but_best
from trainables import faults, storage
from trainables.data import catalog
from trainables.encoders import catalog as encoders
from trainables.errors import UserError, redacted
from trainables.places import Place, at_once
from trainables.spec import Execution
from trainables.trial_folder import TrialFolder

if TYPE_CHECKING:
    from study.driver import Driver

FREE_BYTES = 200_000_000
"""Room a study needs at its start: databases, results and Ray's own files."""

KEEP = ("best", "all", "none")

RETRIED = ("failed", "pruned")
"""States of trials that `--retry` plans again."""

Storage = Annotated[
    str | None, typer.Option("--storage", help="Any Optuna URL.", envvar="STUDY_STORAGE")
]


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
    device: Annotated[str, typer.Option(help="Where trials compute: cpu, cuda or auto.")] = "auto",
    ranks: Annotated[int, typer.Option(min=1, help="GPUs (or processes) of each trial.")] = 1,
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
        str, typer.Option(help="Fine-tuned encoders to keep: best, all or none.")
    ] = "best",
    cache_gb: Annotated[
        float | None, typer.Option(min=0, help="Most that the shared cache may hold; 20 if unset.")
    ] = None,
    root: Root = ROOT,
    state: State = None,
    storage_url: Storage = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="Any MLflow URI.", envvar="STUDY_TRACKING_URI")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster.")] = None,
) -> int:
    """Plan a study, run what is left of it and show the comparison.

    The same command again resumes: nothing already known runs twice.
    """
    console = open_console()
    overrides: dict[str, Any] = parse_assignments(assign or [])
    overrides |= {k: v for k, v in (("benchmark", benchmark), ("encoder", encoder)) if v}
    chosen = _tier(tier, overrides)
    if retry not in (None, *RETRIED):
        raise UserError(f"--retry {retry}: choose {' or '.join(RETRIED)}")
    if keep not in KEEP:
        raise UserError(f"--keep {keep}: choose {', '.join(KEEP)}")
    if accelerator and not dry_run and not address:
        raise UserError(
            f"--accelerator {accelerator}: it is for the estimate of --dry-run, and with --address "
            "says what GPUs a cluster will start; here they are found"
        )
    used = choose_device(device, address, ranks)
    missing: dict[str, str] = {}
    given = {"trials": trials, "hours": hours, "accelerator_hours": accelerator_hours}
    budget = {k: v for k, v in (given | {"target": target}).items() if v is not None}
    question = load_space(space)
    optimize = wanted(question, chosen, sampler, budget, seeds)
    plan, places = make_plan(
        question,
        space,
        chosen,
        overrides,
        data_dir=data_dir,
        seeds=seeds,
        name=name,
        missing=missing if dry_run else None,
        optimize=optimize,
    )
    home = Home.open(root, state)
    folder = home.study(plan.name)
    before, note = (folder.plan(), "") if dry_run else folder.plan_or_aside(plan)
    if note:
        console.print(f"[yellow]note:[/] {escape(note)}")
    known = folder.written()
    if before is not None and (changes := before.differences(plan)):
        if not extend:
            shown = "\n  ".join(changes[:20])
            raise UserError(
                f"study {plan.name} was planned differently:\n  {shown}\n"
                "use --extend to add what is new, or --name to start another study"
            )
        plan = extended(before, plan)
    elif before is not None and before.search is not None and plan.search is not None:
        plan = before.model_copy(update={"search": before.search.with_budget(dict(plan.search))})
    if not dry_run and (before is None or extend):
        plan = _warmed(before, plan, home.root)
    execution = Execution(threads=threads, device=used, ranks=ranks)
    points = None
    if plan.search is not None:
        points = start.points_of(
            plan.search, plan.primary, data_dir, places, execution, tolerant=dry_run
        )
    if (before is None or extend) and not missing:
        check_data(plan, places, points.probes() if points else ())
        if points:
            refuse_impossible(points)
    announce(console, plan, missing)
    if used != "cpu" or device != "auto":
        console.print(f"Trials compute on {used} (--device {device}).")
    if dry_run:
        for cell in plan.cells:
            console.print(f"  {cell.label}: {' '.join(trial.digest for trial in cell.trials)}")
        from study.cost.show import forecast

        foreseen = start.preview(plan, points) if points else plan
        for line in forecast(foreseen, places, execution, workers, accelerator):
            console.print(escape(line))
        return 0
    storage.ensure_writable(home.root, FREE_BYTES)
    storage.ensure_writable(folder.path, 0)
    storage.ensure_writable(folder.local, FREE_BYTES, "--state")
    if not (storage_url and tracking_uri):
        ledger_file.refuse_network(home.state)
    if not isinstance(home.root, Path):
        console.print(f"Databases and locks lie in {home.state} (--state chooses).")
    if cache_gb is not None:
        home.cache.set_limit(round(cache_gb * 1e9))
    orders = Orders(
        root=home.root,
        state=home.state,
        places=places,
        execution=execution,
        workers=workers if address else workers or execution.slots_here,
        address=address,
        timeout=trial_timeout,
        keep=keep,
        needs=gpu_needs(plan, points, places, execution),
        accelerator=accelerator,
    )
    with folder.lease():
        if folder.written() != known:
            raise UserError(
                f"another command planned study {plan.name} while this one did; run it again"
            )
        if points:
            plan = plan.joined(folder.asked())  # another driver may have asked since it was read
        if before is None or before.differences(plan) or folder.frozen() != plan.frozen:
            _save_plan(before, plan, folder, home.root)
        driver = _drive(console, plan, folder, orders, points, storage_url, tracking_uri, retry)
        drop_all_but_best(driver)
    return _outcome(console, driver.plan, folder, root, driver)


def _warmed(before: Plan | None, plan: Plan, root: Place) -> Plan:
    """The plan of a search with cells of other studies to try first, if it names others now."""
    search, had = plan.search, before.search if before else None
    if search is None or search.warm_start == (had.warm_start if had else ()):
        return plan
    first = transferred(search, root)
    return plan.model_copy(update={"search": search.model_copy(update={"transferred": first})})


def _save_plan(before: Plan | None, plan: Plan, folder: StudyFolder, root: Place) -> None:
    """Write the plan, and mark it where results were known before it changed."""
    known = plan.specs | (before.specs if before else {})
    folders = [TrialFolder.of(root, digest) for digest in known]
    results = any(at_once(root, lambda trial: trial.is_committed, folders))
    # where the plan is on disk already, a driver was killed after it had noted the mark
    changed = before is None or before.differences(plan)
    said = mark(before, folder.frozen(), plan, results) if changed else ""
    # the mark first: a plan that was changed must never be seen without it
    facts = {"mark": said, "late": declared_late(before, plan)} if said else {}
    folder.note("planning", **facts)
    folder.save_plan(plan)
    folder.note("planned", trials=len(plan.specs), frozen=plan.frozen)
    faults.at("plan.noted")


def _drive(
    console: Console,
    plan: Plan,
    folder: StudyFolder,
    orders: Orders,
    points: Points | None,
    storage_url: str | None,
    tracking_uri: str | None,
    retry: str | None,
) -> Driver:
    """Run what is left; the driver knows what became of it."""
    from study.driver import Driver
    from study.ledger import Ledger
    from study.view import View

    owner = folder.identity() if storage_url else None
    url = storage_url or f"sqlite:///{orders.state}/ledger.db"
    ledger = Ledger(url, plan.name, owner)
    view = View(plan, orders.root, tracking_uri, folder.marks(), orders.state)
    search = start.start(points, orders.root) if points else None
    driver = Driver(plan, orders.root, ledger, folder, view, console, search=search)
    if retry == "pruned":
        folder.exempt_all(folder.pruned())
    if found := driver.reconcile():
        console.print(f"{found} trials were already known from committed folders.")
    if retry == "failed":
        driver.retry_failed()
    driver.tell_view()
    jobs = driver.jobs()
    if not jobs:
        console.print("Nothing to do: every planned trial has ended.")
    else:
        driver.run(jobs, orders)
    try:
        # which the view shows too
        conclude(driver.plan, folder, orders.root, driver.results)
        if driver.results:
            write_report(driver.plan, folder, orders.root, driver.results)
    finally:
        view.close(console, driver.counts())
    return driver


def gpu_needs(
    plan: Plan, points: Points | None, places: dict[str, str], execution: Execution
) -> dict[str, float]:
    """Bytes of a GPU that trials need, so that small ones have one together; none on the CPU."""
    if execution.device != "cuda":
        return {}
    from study.cost.shares import gpu_bytes

    return gpu_bytes(start.preview(plan, points) if points else plan, places, execution)


def _tier(tier: str | None, overrides: dict[str, Any]) -> Tier:
    """The tier asked for, or the one that benchmark and encoder belong to."""
    if tier in ("demo", "full"):
        return "full" if tier == "full" else "demo"
    if tier is not None:
        raise UserError(f"--tier {tier}: choose demo or full")
    real = not catalog.is_embedded(overrides.get("benchmark", "synthetic"))
    real |= not encoders.is_embedded(overrides.get("encoder", "embedded/small"))
    return "full" if real else "demo"


def _outcome(console: Console, plan: Plan, folder: StudyFolder, root: str, driver: Driver) -> int:
    """Show the table and say with which exit code the study ends."""
    counts = driver.counts()
    early = stopped(plan, folder, driver.results)
    cells = by_cell(plan, driver.results, early)
    for table in tables(plan, cells):
        console.print(table)
    for line in conclude(plan, folder, driver.root, driver.results):
        console.print(escape(line))
    for line in [*map(escape, stopped_lines(plan, early)), *remarks(plan, driver.results)]:
        console.print(line)
    if driver.results:
        place = write_report(plan, folder, driver.root, driver.results)
        console.print(f"Report: {place / 'report.html'}", soft_wrap=True)
    left = counts["planned"] + counts["running"]
    if plan.search is not None:
        seen = driver.seen()
        history = history_of(plan, seen.results, seen.ended, seen.reached)
        for line in outcome(plan, history, driver.results, driver.over):
            console.print(escape(line))
    if left or (plan.search is not None and not driver.over):
        console.print(
            f"interrupted with {left or 'further'} trials left; resume with\n  {resume_command()}"
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
    """The command that was typed, to be typed again; secrets of URLs left out."""
    words = ["python", *([] if sys.argv[0].endswith("run.py") else ["-m"]), *sys.argv]
    return shlex.join(map(redacted, words))
