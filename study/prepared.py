"""A plan beside what its study's folder already holds: what may be run, and its writing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from study.data_check import check_data
from study.extension import declared_late, extended, mark
from study.plan import Plan
from study.record import Journal
from study.search import start
from study.search.points import Points
from study.search.search import refuse_impossible
from study.search.warm import transferred
from study.study_folder import StudyFolder
from trainables import faults
from trainables.errors import UserError
from trainables.places import Place, at_once
from trainables.spec import Execution
from trainables.trial_folder import TrialFolder


@dataclass(frozen=True)
class Prepared:
    """What a study is about to run.

    Attributes:
        plan: What was asked for, with what the study had before.
        before: The plan that was on disk, with the trials that its search asked for.
        written: Its bytes, by which `save` sees whether another command planned meanwhile.
        points: What makes specs of a search's points; None of a grid.
    """

    plan: Plan
    before: Plan | None
    written: bytes | None
    points: Points | None

    def foreseen(self) -> Plan:
        """The plan, with trials like those that a search will ask for."""
        return start.preview(self.plan, self.points) if self.points else self.plan

    def save(self, folder: StudyFolder, journal: Journal, root: Place) -> Plan:
        """The plan to run, written where it is new; for the one who holds the folder's lease.

        Raises:
            UserError: Another command planned this study in between.
        """
        if folder.written() != self.written:
            raise UserError(
                f"another command planned study {self.plan.name} while this one did; run it again"
            )
        # another driver may have proposed trials since the folder was read
        record, before = journal.record, self.before
        plan = self.plan.joined(record.proposals) if self.points else self.plan
        if before is None or before.differences(plan) or record.frozen != plan.frozen:
            _write(before, plan, folder, journal, root)
        return plan


def prepare(
    asked: Plan,
    before: Plan | None,
    written: bytes | None,
    places: dict[str, str],
    root: Place,
    execution: Execution,
    *,
    data_dir: Path | None = None,
    extend: bool = False,
    dry_run: bool = False,
    runnable: bool = True,
) -> Prepared:
    """Bring a plan together with the one on disk, and check what is new of it.

    Args:
        asked: The plan that the command line asks for.
        before: The plan on disk, with the trials that its search asked for.
        written: Its bytes.
        places: Digest to folder of data and checkpoints; what a search's specs name is added.
        root: Where trial folders lie, of other studies too.
        execution: Of every trial.
        data_dir: Folder of the source's own files.
        extend: Whether a plan that differs is added to.
        dry_run: No other study's results are read, and what is missing is passed over.
        runnable: Whether data and checkpoints are at hand, so that they can be checked.

    Raises:
        UserError: The study was planned differently, or its data cannot give what it asks.
    """
    plan = _joined(before, asked, extend=extend)
    fresh = before is None or extend
    if fresh and not dry_run:
        plan = _warmed(before, plan, root)
    points = None
    if plan.search is not None:
        points = start.points_of(
            plan.search, plan.primary, data_dir, places, execution, tolerant=dry_run
        )
    if fresh and runnable:
        check_data(plan, places, points.probes() if points else ())
        if points:
            refuse_impossible(points)
    return Prepared(plan, before, written, points)


def _joined(before: Plan | None, asked: Plan, *, extend: bool) -> Plan:
    """The plan that was asked for, as it may be run after the one before."""
    if before is None:
        return asked
    if changes := before.differences(asked):
        if extend:
            return extended(before, asked)
        shown = "\n  ".join(changes[:20])
        try:
            extended(before, asked)
        except UserError:
            way = "--extend cannot add this: cells are other experiments now; use --name to start"
        else:
            way = "use --extend to add what is new, or --name to start"
        raise UserError(
            f"study {asked.name} was planned differently:\n  {shown}\n{way} another study"
        )
    if before.search is not None and asked.search is not None:
        return before.model_copy(update={"search": before.search.with_budget(dict(asked.search))})
    return asked.model_copy(update={"space": before.space})


def _warmed(before: Plan | None, plan: Plan, root: Place) -> Plan:
    """The plan of a search with cells of other studies to try first, if it names others now."""
    search, had = plan.search, before.search if before else None
    if search is None or search.warm_start == (had.warm_start if had else ()):
        return plan
    first = transferred(search, root)
    return plan.model_copy(update={"search": search.model_copy(update={"transferred": first})})


def _write(
    before: Plan | None, plan: Plan, folder: StudyFolder, journal: Journal, root: Place
) -> None:
    """Write the plan, and mark it where results were known before it changed."""
    known = plan.specs | (before.specs if before else {})
    folders = [TrialFolder.of(root, digest) for digest in known]
    results = any(at_once(root, lambda trial: trial.is_committed, folders))
    # where the plan is on disk already, a driver was killed after it had noted the mark
    changed = before is None or before.differences(plan)
    said = mark(before, journal.record.frozen, plan, results) if changed else ""
    # the mark first: a plan that was changed must never be seen without it
    facts = {"mark": said, "late": declared_late(before, plan)} if said else {}
    journal.refuse_superseded()
    journal.note("planning", durable=True, **facts)
    folder.save_plan(plan)
    journal.note("planned", durable=True, trials=len(plan.specs), frozen=plan.frozen)
    faults.at("plan.noted")
