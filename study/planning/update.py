"""Compare a study's new plan with the one on disk: check, merge, mark and write it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.planning.check_data import check_data
from study.planning.extend import declared_late, extended, mark
from study.search import search as start
from study.search.points import Points
from study.search.search import refuse_impossible
from study.search.warm_start import transferred
from study.state.plan import Plan
from study.state.record import Journal
from study.state.study_folder import StudyFolder
from trainables import faults
from trainables.errors import UserError
from trainables.spec import Execution
from trainables.storage.paths import AnyPath, map_parallel
from trainables.trial.trial_folder import TrialFolder


@dataclass(frozen=True)
class PlanUpdate:
    """New plan of a study, beside the one on disk.

    Attributes:
        plan: The new plan, including the cells and seeds that the study had before.
        before: The plan on disk with its search's proposals; None if it cannot be read.
        written: Bytes of `plan.json` when it was read, to notice that another command has planned.
        changed: Whether the plan differs from the one on disk, or is the first.
        points: Makes the specs of a search's points; None for a grid.
    """

    plan: Plan
    before: Plan | None
    written: bytes | None
    changed: bool
    points: Points | None

    def with_expected_trials(self) -> Plan:
        """Return the plan, with trials like those that a search will propose."""
        return start.preview(self.plan, self.points) if self.points else self.plan

    def save(self, folder: StudyFolder, journal: Journal, root: AnyPath) -> Plan:
        """Write the plan if it is new; the caller must hold the study folder's lease.

        Returns:
            The plan to run.

        Raises:
            UserError: Another command has planned this study meanwhile.
        """
        if folder.written() != self.written:
            raise UserError(
                f"another command planned study {self.plan.name} while this one did; run it again"
            )
        # another driver may have added proposals since the folder was read
        record = journal.record
        plan = self.plan.joined(record.proposals) if self.points else self.plan
        if not self.changed and record.frozen == plan.frozen:
            return plan
        facts: dict[str, Any] = {}
        # unchanged here means that a driver saved the plan, with its mark, and was then killed
        if self.changed and (text := self._mark(plan, record.frozen, root)):
            facts = {"mark": text, "late": declared_late(self.before, plan)}
        # the mark comes first: a changed plan must never be seen without it
        journal.refuse_superseded()
        journal.note("planning", durable=True, **facts)
        folder.save_plan(plan)
        journal.note("planned", durable=True, trials=len(plan.specs), frozen=plan.frozen)
        faults.at("plan.noted")
        return plan

    def _mark(self, plan: Plan, frozen: str | None, root: AnyPath) -> str:
        specs = plan.specs | (self.before.specs if self.before else {})
        folders = [TrialFolder.of(root, digest) for digest in specs]
        results = any(map_parallel(root, lambda trial: trial.is_committed, folders))
        return mark(self.before, frozen, plan, results)


def update_plan(
    requested: Plan,
    before: Plan | None,
    written: bytes | None,
    places: dict[str, str],
    root: AnyPath,
    execution: Execution,
    *,
    data_dir: Path | None = None,
    extend: bool = False,
    dry_run: bool = False,
    runnable: bool = True,
) -> PlanUpdate:
    """Compare a plan with the one on disk, and check the data of what is new.

    Args:
        requested: The plan that the command line asks for.
        before: The plan on disk with its search's proposals; None if it cannot be read.
        written: Bytes of `plan.json`; None if there is none.
        places: Digest to folder of data and checkpoints; entries for a search's specs are added.
        root: Root of the trial folders, shared with other studies.
        execution: Execution of every trial.
        data_dir: Folder with the source's own files.
        extend: Whether to extend a plan that differs, instead of refusing.
        dry_run: Whether to tolerate missing files and read no other study's results.
        runnable: Whether data and checkpoints are at hand, so that they can be checked.

    Raises:
        UserError: The study was planned differently, or its data cannot provide what it needs.
    """
    differences = before.differences(requested) if before else []
    plan = _resumed(before, requested, differences, extend=extend)
    fresh = before is None or extend
    if fresh and not dry_run:
        plan = _with_transferred(before, plan, root)
    points = None
    if plan.search is not None:
        points = start.points_of(
            plan.search, plan.primary, data_dir, places, execution, tolerant=dry_run
        )
    if fresh and runnable:
        check_data(plan, places, points.probes() if points else ())
        if points:
            refuse_impossible(points)
    changed = before is None or (bool(differences) and bool(before.differences(plan)))
    return PlanUpdate(plan, before, written, changed, points)


def _resumed(before: Plan | None, requested: Plan, differences: list[str], *, extend: bool) -> Plan:
    """Return the plan to go on with, given the one on disk.

    Raises:
        UserError: The plans differ and `extend` is not set, or the plan cannot be extended.
    """
    if before is None:
        return requested
    if differences:
        if extend:
            return extended(before, requested)
        changes = "\n  ".join(differences[:20])
        try:
            extended(before, requested)
        except UserError:
            way = "--extend cannot add this: cells are other experiments now; use --name to start"
        else:
            way = "use --extend to add what is new, or --name to start"
        raise UserError(
            f"study {requested.name} was planned differently:\n  {changes}\n{way} another study"
        )
    if before.search is not None and requested.search is not None:
        search = before.search.with_budget(dict(requested.search))
        return before.model_copy(update={"search": search})
    return requested.model_copy(update={"space": before.space})


def _with_transferred(before: Plan | None, plan: Plan, root: AnyPath) -> Plan:
    """Add the best cells of studies that the search newly warm-starts from."""
    search = plan.search
    known = before.search.warm_start if before and before.search else ()
    if search is None or search.warm_start == known:
        return plan
    first = transferred(search, root)
    return plan.model_copy(update={"search": search.model_copy(update={"transferred": first})})
