"""Write one study's runs to MLflow; every step is idempotent."""

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
"""Defaults of variables that MLflow reads on import; its own retries take minutes."""

STATUS = {"complete": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}
"""MLflow's status for each final state of a trial."""

UNFINISHED = ".mlflow-"
"""Prefix of folders in which a store is being created."""

MAX_PARAM, MAX_TAG, MAX_DIGEST = 6000, 8000, 36  # characters; MLflow refuses longer values


def default_uri(root: Path) -> str:
    """Return the URI of a root's default store, a SQLite file."""
    return sqlite_url(root.resolve() / "mlflow.db")


class MlflowStore:
    """One study's runs in an MLflow store; every method is idempotent."""

    def __init__(self, uri: str, study: StudyInfo) -> None:
        """Open or create the space's experiment and the study's parent run."""
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
        self._written = {tags.get("digest", "") for tags in mine}

    def write(self, trial: TrialView) -> None:
        """Bring the trial's run to exactly this content."""
        content = _hash([dict(self.study.tags), asdict(trial)])
        # searching costs more than creating a run, and only this driver adds runs to the study
        run = self._find("digest", trial.digest) if trial.digest in self._written else None
        if run is not None and run.data.tags.get("content") != content:
            # Logged points cannot be removed: a run with other content is replaced.
            self.client.delete_run(run.info.run_id)
            run = None
        if run is None:
            run = self._create(trial, content)
            self._written.add(trial.digest)
            faults.at("view.created", digest=trial.digest)
        elif run.info.status in STATUS.values():
            return
        self._fill(run, trial)

    def summarize(self, metrics: Mapping[str, float], artifacts: Mapping[str, str]) -> None:
        """Log each study-level metric that changed as a new point; replace the artifacts."""
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
        """Mark the study's run as finished; the next tracker reopens it."""
        self.client.set_terminated(self.parent.info.run_id, "FINISHED")

    def _experiment(self) -> str:
        name = self.study.space
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            location = self.artifacts or None
            return str(self.client.create_experiment(name, artifact_location=location))
        number = str(experiment.experiment_id)
        if self.in_file and experiment.artifact_location != self.artifacts:
            # the root was moved: old runs point to its old path, so all are written anew
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
                self.experiment_id, run_name=self.study.name, tags=_truncated(tags)
            )
        else:
            self.client.update_run(run.info.run_id, status="RUNNING")
        # MLflow's parameters are immutable: new values of an extended study become tags.
        logged = run.data.params
        params = _param_texts(self.study.params)
        new = {key: value for key, value in params.items() if key not in logged}
        now = {
            f"now.{key}": value for key, value in params.items() if logged.get(key, value) != value
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
            tags=_truncated(tags),
        )

    def _fill(self, run: Run, trial: TrialView) -> None:
        from mlflow.entities import Metric

        run_id, start = run.info.run_id, run.info.start_time
        # MLflow drops a repeated point only if its time is equal too: time follows from the step.
        metrics = [Metric(key, value, start + step, step) for key, value, step in points(trial)]
        params = {**trial.params, "seed": trial.seed}
        self._log(run_id, _param_texts(params), {}, metrics)
        if trial.datasets:
            self.client.log_inputs(run_id, _inputs(trial.datasets))
        faults.at("view.logged", digest=trial.digest)
        if not self._is_elsewhere(run):
            self._store_files(run, trial)
        self.client.set_terminated(run_id, STATUS[trial.state], end_time=trial.ended_ms)
        faults.at("view.ended", digest=trial.digest)

    def _is_elsewhere(self, run: Run) -> bool:
        """Return whether a run's artifacts belong to another root, which shares the experiment."""
        uri = str(run.info.artifact_uri)
        return bool(self.artifacts) and not uri.startswith(self.artifacts + "/")

    def _store_files(self, run: Run, trial: TrialView) -> None:
        run_id = run.info.run_id
        artifacts = dict(trial.artifacts)
        if pairs := without_pairs(trial.metrics)[1]:
            artifacts["pairs.json"] = json.dumps(pairs, indent=1, sort_keys=True)
        if (folder := _local_artifacts(run)) is not None:
            # the same result as MLflow's own calls, without a database query per file
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
            tags=[RunTag(key, value) for key, value in _truncated(tags).items()],
        )

    def _find(self, tag: str, value: str) -> Run | None:
        """Find this study's run with a tag, without the study's name in MLflow's query language."""
        runs = _all_runs(self.client, self.experiment_id, f"tags.{tag} = '{value}'")
        return next((run for run in runs if run.data.tags.get("study") == self.study.name), None)


def open_client(uri: str) -> MlflowClient:
    """Open a quiet client with short timeouts and no telemetry.

    Raises:
        ConnectionError: A PostgreSQL server cannot be reached.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # If set, it would override the parent of every run.
    os.environ.pop("MLFLOW_RUN_ID", None)
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow", "psycopg"):  # failures are raised instead
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if uri.startswith("postgresql"):
        _check_connection(uri)
    return MlflowClient(uri)


def _ensure_tables(file: Path) -> None:
    """Create MLflow's tables in a new file atomically, so that no partial one survives a kill."""
    if file.exists() and file.stat().st_size:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=file.parent) as folder:
        draft = Path(folder, file.name)
        ensure_there(draft)
        open_client(sqlite_url(draft)).search_experiments(max_results=1)
        if file.exists() and file.stat().st_size == 0:
            file.unlink()
        with suppress(FileExistsError):
            os.link(draft, file)


def _check_connection(uri: str) -> None:
    """Connect once, since MLflow would retry for minutes before it reports an unreachable server.

    Raises:
        ConnectionError: The server is unreachable or refuses this user.
    """
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import OperationalError

    try:
        create_engine(uri, poolclass=NullPool).connect().close()
    except OperationalError as error:
        raise ConnectionError(str(error.orig).partition("\n")[0]) from None


def studies(uri: str) -> list[StudyRuns]:
    """List the studies in a store, latest first."""
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
    """Return where artifacts go: beside a SQLite file, else to the study's local folder.

    None for a server, which has its own location.
    """
    if (file := sqlite_path(uri)) is not None:
        return (file.resolve().parent / "mlartifacts").as_uri()
    if study.artifacts is None or uri.startswith(("http:", "https:")):
        return None
    return study.artifacts.resolve().as_uri()


def _local_artifacts(run: Run) -> Path | None:
    """Return the folder of a run's artifacts if it is on this machine."""
    uri = str(run.info.artifact_uri)
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:///") else None


def _inputs(datasets: Mapping[str, tuple[str, str]]) -> list[DatasetInput]:
    """Convert data sets to MLflow's inputs, by name and hash; their paths are not disclosed."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            Dataset(name=name, digest=digest[:MAX_DIGEST], source_type="code", source="{}"),
            [InputTag("mlflow.data.context", read_for)],
        )
        for read_for, (name, digest) in datasets.items()
    ]


def _param_texts(params: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value)[:MAX_PARAM] for key, value in params.items() if value is not None}


def _truncated(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value[:MAX_TAG] for key, value in tags.items() if value}


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
