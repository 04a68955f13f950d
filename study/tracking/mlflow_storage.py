"""Runs of one study in an MLflow store: written so that every step may be repeated."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from study.state.databases import ensure_there, sqlite_path, sqlite_url
from study.tracking.values import (
    StudyInfo,
    StudyRuns,
    TrialView,
    metric_name,
    points,
    without_pairs,
)
from trainables import faults

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow reads these when imported; what a person has set stays. Its own retries take minutes."""

STATUS = {"complete": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}
"""What MLflow calls the states in which a trial can end."""

UNFINISHED = ".mlflow-"
"""How folders begin in which a store is made."""

MAX_PARAM, MAX_TAG, MAX_DIGEST = 6000, 8000, 36  # characters; MLflow refuses longer values


def default_uri(root: Path) -> str:
    """The store of a root: a SQLite file in it."""
    return sqlite_url(root.resolve() / "mlflow.db")


class MlflowStore:
    """One study's runs in an MLflow store; every method may be repeated."""

    def __init__(self, uri: str, study: StudyInfo) -> None:
        """Open the store, the space's experiment and the study's parent run."""
        file = sqlite_path(uri)
        if file is not None:
            _ensure_tables(file)
        self.in_file = file is not None
        self.artifacts = _artifacts(uri, study) or ""
        self.client = open_client(uri)
        self.study = study
        self.experiment_id = self._experiment()
        self.parent = self._open_parent()
        faults.at("view.parent")
        runs = _all_runs(self.client, self.experiment_id, "tags.kind = 'trial'")
        mine = (run.data.tags for run in runs if run.data.tags.get("study") == study.name)
        self._held = {tags.get("digest", "") for tags in mine}

    def write(self, trial: TrialView) -> None:
        """Bring the trial's run to exactly this content."""
        content = _hash([dict(self.study.tags), asdict(trial)])
        # a search costs more than a run does, and only this driver adds runs to the study
        run = self._find("digest", trial.digest) if trial.digest in self._held else None
        if run is not None and run.data.tags.get("content") != content:
            # Points cannot be taken back from a run: one that says something else is replaced.
            self.client.delete_run(run.info.run_id)
            run = None
        if run is None:
            run = self._create(trial, content)
            self._held.add(trial.digest)
            faults.at("view.created", digest=trial.digest)
        elif run.info.status in STATUS.values():
            return
        self._fill(run, trial)

    def summarize(self, metrics: Mapping[str, float], artifacts: Mapping[str, str]) -> None:
        """Add a point to each study-level metric that changed; artifacts are replaced."""
        run_id = self.parent.info.run_id
        for name, value in metrics.items():
            history = self.client.get_metric_history(run_id, metric_name(name))
            last = max(history, key=lambda point: point.step, default=None)
            if last is None or last.value != float(value):
                step = 0 if last is None else last.step + 1
                time_ms = self.parent.info.start_time + step
                self.client.log_metric(run_id, name, float(value), timestamp=time_ms, step=step)
        for name, text in ({} if self._is_elsewhere(self.parent) else artifacts).items():
            self.client.log_text(run_id, text, name)

    def finish(self) -> None:
        """The study ended; the next tracker reopens it."""
        self.client.set_terminated(self.parent.info.run_id, "FINISHED")

    def _experiment(self) -> str:
        name = self.study.space
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            place = self.artifacts or None
            return str(self.client.create_experiment(name, artifact_location=place))
        number = str(experiment.experiment_id)
        if self.in_file and experiment.artifact_location != self.artifacts:
            # the root was moved: runs point to where it was, and are filled again
            self.client.rename_experiment(number, f"{name} (moved, {number})")
            self.client.delete_experiment(number)
            return self._experiment()
        if experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(number)
        return number

    def _open_parent(self) -> Run:
        run = self._find("kind", "study")
        tags = {
            **self.study.tags,
            "kind": "study",
            "study": self.study.name,
            "space": self.study.space,
            "tier": self.study.tier,
            "mlflow.note.content": self.study.question,
        }
        if run is None:
            run = self.client.create_run(
                self.experiment_id, run_name=self.study.name, tags=_limited(tags)
            )
        else:
            self.client.update_run(run.info.run_id, status="RUNNING")
        # A parameter cannot be changed: what an extended study says now becomes a tag.
        known = run.data.params
        params = _texts(self.study.params)
        new = {key: value for key, value in params.items() if key not in known}
        now = {
            f"now.{key}": value for key, value in params.items() if known.get(key, value) != value
        }
        self._log(run.info.run_id, new, tags | now)
        return run

    def _create(self, trial: TrialView, content: str) -> Run:
        tags = {
            **self.study.tags,
            **trial.tags,
            "kind": "trial",
            "study": self.study.name,
            "space": self.study.space,
            "tier": self.study.tier,
            "digest": trial.digest,
            "state": trial.state,
            "reason": trial.reason,
            "content": content,
            "mlflow.parentRunId": self.parent.info.run_id,
        }
        return self.client.create_run(
            self.experiment_id,
            start_time=trial.started_ms,
            run_name=trial.name,
            tags=_limited(tags),
        )

    def _fill(self, run: Run, trial: TrialView) -> None:
        from mlflow.entities import Metric

        run_id, start = run.info.run_id, run.info.start_time
        # MLflow keeps a point once if its time is equal too: it follows from the step.
        metrics = [Metric(key, value, start + step, step) for key, value, step in points(trial)]
        params = {**trial.params, "seed": trial.seed}
        self._log(run_id, _texts(params), {}, metrics)
        if trial.datasets:
            self.client.log_inputs(run_id, _inputs(trial.datasets))
        faults.at("view.logged", digest=trial.digest)
        if not self._is_elsewhere(run):
            self._store_files(run, trial)
        self.client.set_terminated(run_id, STATUS[trial.state], end_time=trial.ended_ms)
        faults.at("view.ended", digest=trial.digest)

    def _is_elsewhere(self, run: Run) -> bool:
        """Whether a run's files would lie in another root, which shares database and experiment."""
        uri = str(run.info.artifact_uri)
        return bool(self.artifacts) and not uri.startswith(self.artifacts + "/")

    def _store_files(self, run: Run, trial: TrialView) -> None:
        run_id = run.info.run_id
        artifacts = dict(trial.artifacts)
        if pairs := without_pairs(trial.metrics)[1]:
            artifacts["pairs.json"] = json.dumps(pairs, indent=1, sort_keys=True)
        if (folder := _local(run)) is not None:
            # as MLflow does it itself, without asking its database where for every file
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in artifacts.items():
                (folder / name).write_text(text, encoding="utf-8")
            for file in trial.files:
                shutil.copyfile(file, folder / file.name)
        else:
            for name, text in artifacts.items():
                self.client.log_text(run_id, text, name)
            for file in trial.files:
                self.client.log_artifact(run_id, file)
        faults.at("view.stored", digest=trial.digest)

    def _log(
        self,
        run_id: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        metrics: list[Metric] | None = None,
    ) -> None:
        from mlflow.entities import Param, RunTag

        self.client.log_batch(
            run_id,
            metrics=metrics or [],
            params=[Param(metric_name(key), value) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in _limited(tags).items()],
        )

    def _find(self, tag: str, value: str) -> Run | None:
        """This study's run with a tag; names of studies stay out of MLflow's query language."""
        runs = _all_runs(self.client, self.experiment_id, f"tags.{tag} = '{value}'")
        return next((run for run in runs if run.data.tags.get("study") == self.study.name), None)


def open_client(uri: str) -> MlflowClient:
    """A client of the store, with MLflow quiet, patient for seconds only, and telling nobody."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Set, it would override the parent of every run.
    os.environ.pop("MLFLOW_RUN_ID", None)
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow", "psycopg"):  # what fails is raised, and said in one sentence
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if uri.startswith("postgresql"):
        _reach(uri)
    return MlflowClient(uri)


def _ensure_tables(file: Path) -> None:
    """Make MLflow's tables in a new file, in one step: who is killed meanwhile leaves none."""
    if file.exists() and file.stat().st_size:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=file.parent) as folder:
        made = Path(folder, file.name)
        ensure_there(made)
        open_client(sqlite_url(made)).search_experiments(max_results=1)
        if file.exists() and file.stat().st_size == 0:
            file.unlink()
        with suppress(FileExistsError):
            os.link(made, file)


def _reach(uri: str) -> None:
    """Connect to a server once: MLflow would try for minutes before it said that nobody answers.

    Raises:
        ConnectionError: Nobody does, or not to this user.
    """
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import OperationalError

    try:
        create_engine(uri, poolclass=NullPool).connect().close()
    except OperationalError as error:
        raise ConnectionError(str(error.orig).partition("\n")[0]) from None


def studies(uri: str) -> list[StudyRuns]:
    """The studies in a store, the latest first."""
    client = open_client(uri)
    listed = []
    for experiment in client.search_experiments():
        parents = _all_runs(client, experiment.experiment_id, "tags.kind = 'study'")
        trials = _all_runs(client, experiment.experiment_id, "tags.kind = 'trial'")
        for parent in parents:
            parent_id = parent.info.run_id
            runs = [t for t in trials if t.data.tags.get("mlflow.parentRunId") == parent_id]
            ids = tuple(run.info.run_id for run in runs)
            name = parent.data.tags["study"]
            listed.append(
                (parent.info.start_time, StudyRuns(name, experiment.experiment_id, parent_id, ids))
            )
    return [study for _, study in sorted(listed, key=lambda pair: -pair[0])]


def _all_runs(client: MlflowClient, experiment_id: str, query: str) -> list[Run]:
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], query, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _artifacts(uri: str, study: StudyInfo) -> str | None:
    """Beside a SQLite file, in a local folder for other databases; a server knows its own."""
    if (file := sqlite_path(uri)) is not None:
        return (file.resolve().parent / "mlartifacts").as_uri()
    if study.artifacts is None or uri.startswith(("http:", "https:")):
        return None
    return study.artifacts.resolve().as_uri()


def _local(run: Run) -> Path | None:
    """The folder of a run's artifacts, where that is one of this machine."""
    uri = str(run.info.artifact_uri)
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:///") else None


def _inputs(datasets: Mapping[str, tuple[str, str]]) -> list[DatasetInput]:
    """Data as MLflow lists them: by name and hash; nothing says where the files lie."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            Dataset(name=name, digest=digest[:MAX_DIGEST], source_type="code", source="{}"),
            [InputTag("mlflow.data.context", read_for)],
        )
        for read_for, (name, digest) in datasets.items()
    ]


def _texts(params: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value)[:MAX_PARAM] for key, value in params.items() if value is not None}


def _limited(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value[:MAX_TAG] for key, value in tags.items() if value}


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
