"""What MLflow is told of a study: rows and committed results, as plain values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from study.answer.conclusion import kept
from study.ledger_file import set_aside, sqlite_path
from study.ledger_rows import Row
from study.pictures import heatmap_page
from study.plan import Plan, trial_label
from study.rungs import Rung
from study.shown import count_of, marked, typed
from study.study_folder import StudyFolder
from study.tracking import StudyInfo, Tracker, TrialView, default_uri
from study.tracking.database import damage
from study.tracking.values import Value
from trainables import faults, storage
from trainables.errors import UserError
from trainables.places import Place, local_state
from trainables.spec import Spec
from trainables.trial_folder import NotCommittedError, TrialFolder, read_json

SPEC_PARAMS = (
    "sampling",
    "alpha",
    "batch_size",
    "steps",
    "learning_rate",
    "temperature",
    "warmup",
    "schedule",
    "mask_false_negatives",
    "shuffle_pairs",
)
"""Fields of the spec that MLflow shows as parameters; the rest is in the artifact."""

REPORTS = ("report.html", "report.md", "report.csv", "answer.md", "answer.json")
"""Files of a study's report that its parent run keeps as artifacts."""

MOST_RANKS_BYTES = 20_000_000
"""Larger files of ranks stay in the trial folder alone."""

CLOSE_SECONDS = 60.0
"""How long the end of a study waits for MLflow."""


class View:
    """The MLflow side of one study; started only once there is something to tell."""

    def __init__(
        self,
        plan: Plan,
        root: Place,
        uri: str | None,
        marks: Sequence[str] = (),
        state: Path | None = None,
    ) -> None:
        """Keep what the view is of; nothing is imported or opened yet.

        Args:
            plan: Of the study.
            root: Where the trial folders lie.
            uri: Any MLflow URI; by default a file in the state folder.
            marks: What was changed after results existed.
            state: As for `places.local_state`.
        """
        self.root = root
        self.state = local_state(root, state)
        self.uri = uri or default_uri(self.state)
        self.marks = marks
        self.notes: list[str] = []
        self.place = hashlib.sha256(self.uri.rpartition("@")[2].encode()).hexdigest()[:12]
        self.learn(plan)
        self._folder = StudyFolder.of(root, plan.name, state)
        self._tracker: Tracker | None = None

    def learn(self, plan: Plan) -> None:
        """The plan has other trials now."""
        self.plan = plan
        self.labels = plan.labels
        self.params = {
            trial.digest: cell.params for cell in reversed(plan.cells) for trial in cell.trials
        }

    def told(self) -> dict[str, str]:
        """Digest to state of the trials that MLflow has; a damaged database of ours is set aside.

        A SQLite file can be filled again from trial folders, so nothing is lost with it.
        """
        file = sqlite_path(self.uri)
        if file is None:
            return self._folder.tracked(self.place)
        if why := damage(file):
            try:
                said = (
                    f"it was set aside as {set_aside(self.uri)} and is filled again from the trial "
                    "folders"
                )
            except UserError as error:
                said = str(error)
            self.notes.append(
                f"MLflow's database could not be read ({why.splitlines()[0]}); {said}"
            )
        if not file.exists():
            self._folder.forget_tracked()
        return self._folder.tracked(self.place)

    def completed(self, row: Row, result: dict[str, Any]) -> None:
        """A trial has a committed result."""
        folder = TrialFolder.of(self.root, row.digest).committed()
        metrics = dict(result["metrics"])
        metrics |= {f"validation/{name}": value for name, value in result["validation"].items()}
        trial = self._trial(row, "complete", "", metrics)
        self._open().record(
            replace(
                trial,
                tags={
                    **trial.tags,
                    "zero_shot": result["zero_shot"]["verdict"],
                    "layout_changed": "yes" if result.get("layout_changed") else "",
                },
                artifacts=dict(trial.artifacts) | _drawn(trial.name, metrics),
                files=_ranks(folder),
                **_course(folder, row.seed is not None),
            )
        )

    def failed(self, row: Row) -> None:
        """A trial ended without a result, as the row's reason says."""
        self._open().record(self._trial(row, "failed", row.reason, {}))

    def pruned(self, row: Row, rungs: Iterable[Rung]) -> None:
        """A trial was stopped early: what it had reached, under names of its own.

        `pruned/...` so that no chart or column mixes it with what complete trials have.
        """
        mine = sorted((r for r in rungs if r.trial == row.digest), key=lambda rung: rung.examples)
        history = [(rung.step, {"pruned/value": rung.value}) for rung in mine]
        found = {"pruned/examples": float(mine[-1].examples)} if mine else {}
        trial = self._trial(row, "pruned", row.reason, found)
        fidelity = {"fidelity": str(mine[-1].examples)} if mine else {}
        self._open().record(replace(trial, history=history, tags={**trial.tags, **fidelity}))

    def close(self, console: Console, counts: dict[str, int]) -> list[str]:
        """Wait a little for what is still on its way, and say what did not arrive.

        Returns:
            Digests of the trials that MLflow lacks.
        """
        if self._tracker is None:
            return []
        if counts or self._reports():
            numbers = {f"trials/{state}": float(n) for state, n in counts.items()}
            self._tracker.summarize(numbers | self._found(), self._reports())
        if missing := self._tracker.close(CLOSE_SECONDS):
            why = f" ({self._tracker.problem[:200]})" if self._tracker.problem else ""
            said = f"{why}; the study itself is whole. Fill the view with: python -m study track "
            console.print(
                marked(
                    f"MLflow lacks {count_of(len(missing), 'trial')}",
                    said + typed([self.plan.name]),
                )
            )
        return missing

    def _reports(self) -> dict[str, str]:
        """The answer and the report, as far as they have been written."""
        folder = self.root / "reports" / self.plan.name
        held = {name: folder / name for name in REPORTS if (folder / name).exists()}
        return {name: storage.read(path).decode() for name, path in held.items()}

    def _found(self) -> dict[str, float]:
        """Of a search: the best so far, and what each setting explains, as the report has them."""
        search = self.plan.search
        file = self.root / "reports" / self.plan.name / "report.json"
        if search is None or not file.exists():
            return {}
        with suppress(*_MISSHAPEN):
            return _figures(kept(file)["tables"], [one.metric for one in search.objectives])
        return {}

    def _trial(self, row: Row, state: str, reason: str, metrics: dict[str, float]) -> TrialView:
        spec = self.plan.specs[row.digest]
        label = self.labels[row.digest]
        shown = {name: getattr(spec, name) for name in SPEC_PARAMS}
        params: dict[str, Value] = {
            "cell": label,
            "encoder": spec.encoder.name,
            "test": spec.test.name,
        }
        params |= {
            key: value
            for key, value in self.params[row.digest].items()
            if isinstance(value, (str, float, int, bool)) and key not in ("seed", "steps")
        }
        params |= shown
        params["seed"] = row.seed
        params["alpha"] = {"X-X": 1.0, "X-Y": 0.0}.get(spec.sampling or "", spec.alpha)
        return TrialView(
            digest=row.digest,
            name=trial_label(label, row.seed),
            state=state,
            reason=reason,
            params=params,
            seed=row.seed,
            metrics=metrics,
            tags={"arm": label, "seed": "" if row.seed is None else str(row.seed)},
            artifacts={"spec.json": spec.model_dump_json(indent=1, exclude_none=True)},
            datasets=_datasets(spec),
        )

    def _open(self) -> Tracker:
        search = self.plan.search
        if self._tracker is None:
            self._tracker = Tracker(
                self.uri,
                StudyInfo(
                    name=self.plan.name,
                    space=self.plan.space,
                    tier=self.plan.tier,
                    question=self.plan.question,
                    params={"primary": self.plan.primary, "trials": len(self.plan.specs)},
                    tags={"frozen": self.plan.frozen, "marks": "; ".join(self.marks)},
                    artifacts=self.state / "mlartifacts",
                    searched=tuple(search.ranges) if search else (),
                    objectives=tuple(f"validation/{o.metric}" for o in search.objectives)
                    if search
                    else (),
                ),
                self._note,
            )
        return self._tracker

    def _note(self, trial: TrialView) -> None:
        """MLflow has all of a trial (called from the tracker's thread)."""
        self._folder.note_tracked(self.place, trial.digest, trial.state)
        faults.at("view.noted", digest=trial.digest)


def _datasets(spec: Spec) -> dict[str, tuple[str, str]]:
    """What a trial reads, by what it reads it for."""
    read = {"train": spec.train, "validation": spec.validation, "test": spec.test}
    read |= {f"test of {ref.name}": ref for ref in spec.also or ()}
    return {
        use: (f"{ref.name}:{ref.part}" if ref.part else ref.name, ref.digest)
        for use, ref in read.items()
        if ref is not None
    }


def _course(folder: Place, trained: bool) -> dict[str, Any]:
    """What a trial came by, and when: a view does without where the files say something else."""
    try:
        points = read_json(folder / "history.json")["points"] if trained else []
        history = [(p["step"], {k: v for k, v in p.items() if k != "step"}) for p in points]
        times = read_json(folder / "environment.json")
        began, ended = times["began"], times["began"] + times["seconds"]
        return {
            "history": history,
            "started_ms": round(1000 * began),
            "ended_ms": round(1000 * ended),
        }
    except _MISSHAPEN:
        return {}


def _figures(tables: Mapping[str, Any], objectives: Iterable[str]) -> dict[str, float]:
    """Of the tables of a search's report: the best so far, and what each setting explains."""
    rows = tables.get("Best so far against trials", {}).get("rows", ())
    best = [row[-1] for row in rows if row[-1] is not None]
    found = {"search/best": best[-1]} if best else {}
    for metric in objectives:
        for setting, share in tables.get(f"Importance for {metric}", {}).get("rows", ()):
            name = re.sub(r"[^A-Za-z0-9_. -]", "-", setting)
            found[f"importance/{metric}/{name}"] = share
    return found


_MISSHAPEN = (NotCommittedError, LookupError, TypeError, ValueError, AttributeError, OverflowError)
"""What comes of reading a file that is whole but was written by nobody here."""


def _drawn(title: str, metrics: Mapping[str, float]) -> dict[str, str]:
    page = heatmap_page(title, metrics)
    return {} if page is None else {"heatmap.html": page}


def _ranks(folder: Place) -> tuple[Path, ...]:
    """Ranks that lie on this machine and are small enough to be kept twice."""
    if not isinstance(folder, Path):
        return ()
    files = sorted(folder.glob("ranks-*.npz"))
    return tuple(file for file in files if file.stat().st_size <= MOST_RANKS_BYTES)
