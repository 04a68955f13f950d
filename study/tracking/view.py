"""What views of a study are told: its trials as plain values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from study.analysis.conclusion import kept
from study.console import count_of, marked, typed
from study.state.databases import OPTUNA_FILE, sqlite_url
from study.state.plan import Plan, trial_label
from study.state.record import Record, TrialState
from study.state.rungs import Rung
from study.state.study_folder import StudyFolder
from study.tracking import (
    Delivered,
    MlflowStore,
    Store,
    StudyInfo,
    Tracker,
    TrialView,
    default_uri,
)
from study.tracking.heatmap_page import heatmap_page
from study.tracking.values import Value
from trainables import faults
from trainables.evaluation.metric_names import lower_is_better
from trainables.spec import Spec
from trainables.storage import atomic as storage
from trainables.storage.paths import AnyPath
from trainables.trial.trial_folder import NotCommittedError, TrialFolder, read_json

ENDED = ("complete", "failed", "pruned")

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

CLOSE_SECONDS = 10.0
"""How long the end of a study waits for a view in which nothing more arrives."""


@dataclass
class Feed:
    """One view of a study: what it is called, what fills it and what it has been told before."""

    name: str
    delivered: Delivered
    connect: Callable[[], Store]
    tracker: Tracker | None = None

    def record(self, trial: TrialView) -> None:
        """Tell it of a trial; the store is opened with the first one."""
        self.open().record(trial)

    def open(self) -> Tracker:
        """What fills it."""
        if self.tracker is None:
            self.tracker = Tracker(self.connect, self._note)
        return self.tracker

    def _note(self, trial: TrialView) -> None:
        """The store has all of a trial (called from the tracker's thread)."""
        if trial.state != "running":
            self.delivered.add(trial.digest, trial.state)
        faults.at("view.noted", digest=trial.digest)


class View:
    """What is shown of a study elsewhere: in MLflow, and in an Optuna storage.

    A view is started only once there is something to tell, and nothing reads one.
    """

    def __init__(
        self,
        plan: Plan,
        folder: StudyFolder,
        root: AnyPath,
        state: Path,
        *,
        tracking_uri: str | None = None,
        storage_url: str | None = None,
        marks: Sequence[str] = (),
    ) -> None:
        """Keep what the view is of; nothing is imported or opened yet.

        Args:
            plan: Of the study.
            folder: Of the study.
            root: Where the trial folders lie.
            state: The local folder of both databases, unless other ones are named.
            tracking_uri: Any MLflow URI.
            storage_url: Any Optuna URL.
            marks: What was changed after results existed.
        """
        self.root, self.state, self.marks = root, state, marks
        self.learn(plan)
        self._folder = folder
        delivered = folder.local / "tracked.jsonl"
        uri = tracking_uri or default_uri(state)
        url = storage_url or sqlite_url(state / OPTUNA_FILE)
        self._mlflow = Feed("MLflow", Delivered(delivered, uri), partial(self._mlflow_store, uri))
        connect = partial(self._optuna_store, url)
        self._optuna = Feed("Optuna's storage", Delivered(delivered, url), connect)

    def learn(self, plan: Plan) -> None:
        """The plan has other trials now."""
        self.plan = plan
        self.labels = plan.labels
        self._trials = {
            trial.digest: (trial, cell) for cell in reversed(plan.cells) for trial in cell.trials
        }

    def tell_all(
        self, record: Record, results: Mapping[str, dict[str, Any]], *, again: bool = False
    ) -> None:
        """Tell of every trial that has ended, what a view has not been told.

        Args:
            record: Of the study.
            results: Committed ones, by digest.
            again: Whether a view is told of what it has, too.
        """
        for feed, shown in ((self._mlflow, self._run), (self._optuna, self._row)):
            before = {} if again else feed.delivered.read()
            for digest in self.plan.specs:
                state = record.state(digest, results)
                if state.state in ENDED and before.get(digest) != state.state:
                    feed.record(shown(digest, state, record, results.get(digest)))

    def name(self, digest: str) -> str:
        """How a person recognises a trial."""
        return trial_label(self.labels[digest], self._trials[digest][0].seed)

    def running(self, digest: str) -> None:
        """A trial was started."""
        self._optuna.record(self._shown(digest, TrialState("running"), {}))

    def ended(
        self, digest: str, state: TrialState, record: Record, result: dict[str, Any] | None
    ) -> None:
        """A trial is complete, failed or pruned."""
        self._mlflow.record(self._run(digest, state, record, result))
        self._optuna.record(self._row(digest, state, record, result))

    def _row(
        self, digest: str, state: TrialState, record: Record, result: dict[str, Any] | None
    ) -> TrialView:
        """What Optuna's storage shows of a trial; no file is read for it."""
        cell, validation = self._trials[digest][1], result["validation"] if result else {}
        known = validation if cell.proposal is None else {**validation, **cell.proposal.known}
        values = tuple(known.get(metric) for metric, _ in self._directions) if result else ()
        mine = record.rungs if state.state == "pruned" else ()
        reached = {rung.examples: rung.value for rung in mine if rung.trial == digest}
        return replace(self._shown(digest, state, {}), values=values, reached=reached)

    def _run(
        self, digest: str, state: TrialState, record: Record, result: dict[str, Any] | None
    ) -> TrialView:
        """What MLflow shows of a trial."""
        if result is not None:
            return self._complete(digest, result)
        if state.state == "pruned":
            return self._pruned(digest, state, record.rungs)
        return self._shown(digest, state, {})

    def _complete(self, digest: str, result: dict[str, Any]) -> TrialView:
        """A trial that has a committed result."""
        folder = TrialFolder.of(self.root, digest).committed()
        seed = self._trials[digest][0].seed
        metrics = dict(result["metrics"])
        metrics |= {f"validation/{name}": value for name, value in result["validation"].items()}
        trial = self._shown(digest, TrialState("complete"), metrics)
        return replace(
            trial,
            tags={
                **trial.tags,
                "zero_shot": result["zero_shot"]["verdict"],
                "layout_changed": "yes" if result.get("layout_changed") else "",
            },
            artifacts=dict(trial.artifacts) | _drawn(trial.name, metrics),
            files=_ranks(folder),
            **_course(folder, seed is not None),
        )

    @property
    def _directions(self) -> list[tuple[str, str]]:
        """The study's objectives, and what of each is better."""
        if self.plan.search is not None:
            return [(o.metric, o.direction) for o in self.plan.search.objectives]
        less = lower_is_better(self.plan.primary)
        return [(self.plan.primary, "minimize" if less else "maximize")]

    def _pruned(self, digest: str, state: TrialState, rungs: Iterable[Rung]) -> TrialView:
        """A trial that was stopped early: what it had reached, under names of its own.

        `pruned/...` so that no chart or column mixes it with what complete trials have.
        """
        mine = sorted((r for r in rungs if r.trial == digest), key=lambda rung: rung.examples)
        history = [(rung.step, {"pruned/value": rung.value}) for rung in mine]
        furthest = {"pruned/examples": float(mine[-1].examples)} if mine else {}
        trial = self._shown(digest, state, furthest)
        fidelity = {"fidelity": str(mine[-1].examples)} if mine else {}
        return replace(trial, history=history, tags={**trial.tags, **fidelity})

    def close(self, console: Console, counts: dict[str, int], *, wait: bool = False) -> set[str]:
        """Wait a little for what is still on its way, and say what did not arrive.

        Args:
            console: Where a person looks.
            counts: Trials by state.
            wait: Whether to wait for as long as it takes.

        Returns:
            Digests of the trials that a view lacks.
        """
        lacked: set[str] = set()
        if (tracker := self._mlflow.tracker) is not None and (counts or self._reports()):
            numbers = {f"trials/{state}": float(n) for state, n in counts.items()}
            tracker.summarize(numbers | self._found(), self._reports())
        for feed in (self._mlflow, self._optuna):
            if feed.tracker is None:
                continue
            if missing := feed.tracker.close(None if wait else CLOSE_SECONDS):
                why = f" ({feed.tracker.problem[:200]})" if feed.tracker.problem else ""
                said = f"{why}; the study itself is whole. Fill it with: python -m study track "
                console.print(
                    marked(
                        f"{feed.name} lacks {count_of(len(missing), 'trial')}",
                        said + typed([self.plan.name, "--root", str(self.root)]),
                    )
                )
                lacked.update(missing)
        return lacked

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

    def _shown(self, digest: str, state: TrialState, metrics: dict[str, float]) -> TrialView:
        spec, label = self.plan.specs[digest], self.labels[digest]
        planned, cell = self._trials[digest]
        plain = {k: v for k, v in cell.params.items() if isinstance(v, (str, float, int, bool))}
        params: dict[str, Value] = {
            "cell": label,
            "encoder": spec.encoder.name,
            "test": spec.test.name,
        }
        params |= {key: value for key, value in plain.items() if key not in ("seed", "steps")}
        params |= {name: getattr(spec, name) for name in SPEC_PARAMS}
        params["seed"] = planned.seed
        params["alpha"] = {"X-X": 1.0, "X-Y": 0.0}.get(spec.sampling or "", spec.alpha)
        return TrialView(
            digest=digest,
            name=self.name(digest),
            state=state.state,
            reason=state.reason,
            params=params,
            cell=cell.params,
            seed=planned.seed,
            metrics=metrics,
            tags={"arm": label, "seed": "" if planned.seed is None else str(planned.seed)},
            artifacts={"spec.json": spec.model_dump_json(indent=1, exclude_none=True)},
            datasets=_datasets(spec),
        )

    def _info(self) -> StudyInfo:
        search = self.plan.search
        return StudyInfo(
            name=self.plan.name,
            space=self.plan.space,
            tier=self.plan.tier,
            question=self.plan.question,
            params={"primary": self.plan.primary, "trials": len(self.plan.specs)},
            tags={"frozen": self.plan.frozen, "marks": "; ".join(self.marks)},
            artifacts=self.state / "mlartifacts",
            searched=tuple(search.ranges) if search else (),
            objectives=tuple(f"validation/{o.metric}" for o in search.objectives) if search else (),
            directions=tuple(direction for _, direction in self._directions),
        )

    def _mlflow_store(self, uri: str) -> Store:
        return MlflowStore(uri, self._info())

    def _optuna_store(self, url: str) -> Store:
        from study.tracking.optuna_storage import OptunaStore

        return OptunaStore(url, self._info(), self._folder.identity())


def _datasets(spec: Spec) -> dict[str, tuple[str, str]]:
    """What a trial reads, by what it reads it for."""
    read = {"train": spec.train, "validation": spec.validation, "test": spec.test}
    read |= {f"test of {ref.name}": ref for ref in spec.also or ()}
    return {
        use: (f"{ref.name}:{ref.part}" if ref.part else ref.name, ref.digest)
        for use, ref in read.items()
        if ref is not None
    }


def _course(folder: AnyPath, trained: bool) -> dict[str, Any]:
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
    rows = tables.get("course/trials", {}).get("rows", ())
    best = [row[-1] for row in rows if row[-1] is not None]
    figures = {"search/best": best[-1]} if best else {}
    for metric in objectives:
        for setting, share in tables.get(f"importance/{metric}", {}).get("rows", ()):
            name = re.sub(r"[^A-Za-z0-9_. -]", "-", setting)
            figures[f"importance/{metric}/{name}"] = share
    return figures


_MISSHAPEN = (NotCommittedError, LookupError, TypeError, ValueError, AttributeError, OverflowError)
"""What comes of reading a file that is whole but was written by nobody here."""


def _drawn(title: str, metrics: Mapping[str, float]) -> dict[str, str]:
    page = heatmap_page(title, metrics)
    return {} if page is None else {"heatmap.html": page}


def _ranks(folder: AnyPath) -> tuple[Path, ...]:
    """Ranks that lie on this machine and are small enough to be kept twice."""
    if not isinstance(folder, Path):
        return ()
    files = sorted(folder.glob("ranks-*.npz"))
    return tuple(file for file in files if file.stat().st_size <= MOST_RANKS_BYTES)
