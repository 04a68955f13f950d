"""Whole studies without Ray, each in a forked process that a planted fault may kill.

Trials run one after the other in the driver's own process, so that every fault point of driver
and trial is passed in one process; the real launcher is tested in test_failures and `make chaos`.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from study.cli.app import main
from study.launch import launch as launcher
from study.launch.config import PRUNED, Job, Jobs, LaunchConfig, Listener
from study.search.pruning import Judge
from study.state.committed import committed_results
from study.state.study_folder import StudyFolder
from trainables import faults
from trainables.failures import TrialFailedError
from trainables.storage.cache import Cache
from trainables.trial.trial_folder import TrialFolder

SPACE = """
question: Does anything get lost?
fixed:
  sampling: hybrid
  languages: [qaa, qad]
  eval_languages: [qaa, qad]
  batch_size: 8
  reference_batch_size: 8
  steps: 3
search:
  alpha: [0, 0.5]
seeds: 1
hypotheses:
  - {name: h, metric: map/multi, better: {alpha: 0.5}, than: {alpha: 0}, margin: 0.01, why: test}
tiers:
  demo: {fixed: {learning_rate: 0.005}}
  full: {}
"""


def write_space(folder: Path, text: str = SPACE) -> Path:
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def launch_inline(jobs: Sequence[Job] | Jobs, listener: Listener, config: LaunchConfig) -> None:
    """What `study.launch.launch.launch` does, without Ray."""
    from trainables.finetune import finetune

    faults.at("ray.starting")
    faults.at("ray.started")
    judge = None if config.pruning is None else launcher.judge_of(config, listener)
    for job in jobs:
        listener.started(job.digest)
        listener.running(job.digest)
        folder = TrialFolder.of(config.root, job.digest)
        pruning = None if job.whole else config.pruning
        events = finetune(
            job.spec,
            folder,
            places=config.places,
            execution=config.execution,
            keep_weights=config.keeps(job),
            cache=Cache(config.state / "cache"),
            rungs=pruning.fidelity.rungs_of(job.spec) if pruning else (),
        )
        try:
            why = run_inline(job.digest, events, judge, config)
        except TrialFailedError as failure:
            listener.finished(job.digest, failure.reason, str(failure))
        else:
            listener.finished(job.digest, PRUNED if why else "", why)


def run_inline(
    digest: str, events: Iterator[Any], judge: Judge | None, config: LaunchConfig
) -> str:
    """Take a trial to its end, or to the rung where it is stopped; why it was, or empty."""
    for event in events:
        if judge is not None and event.rung is not None:
            assert config.pruning is not None
            value = event.rung.metrics.get(config.pruning.metric)
            decided = judge.decide(digest, event.rung.examples, event.rung.step, value)
            if decided is not None and decided.stop:
                events.close()  # type: ignore[attr-defined]
                return decided.why
    return ""


def forked(function: Callable[[], int], environment: Mapping[str, str]) -> int:
    """Exit code of `function` in a process of its own; -9 where it was killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 99
    try:
        os.environ.update(environment)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        code = function()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def study(
    root: Path | str, space: Path, *arguments: str, fault: str = "", output: Path | None = None
) -> int:
    """Run a study in a process of its own; its exit code."""

    def run() -> int:
        launcher.launch = launch_inline
        if output is not None:
            sys.stdout = output.open("w", encoding="utf-8")
        try:
            words = ["run", "--space", str(space), "--root", str(root), "--name", "s", *arguments]
            return main(words)
        finally:
            sys.stdout.flush()

    return forked(run, {faults.VARIABLE: fault})


def states(root: Path, name: str = "s") -> dict[str, str]:
    """Digest to state of every planned trial, by journal and folders."""
    folder = StudyFolder.of(root, name)
    plan, record = folder.plan(), folder.record()
    assert plan is not None
    results = committed_results(root, plan.specs)
    return {digest: record.state(digest, results).state for digest in plan.specs}


def optuna_rows(root: Path, name: str = "s") -> list[tuple[str, str]]:
    """(digest, state) of every row of the study in Optuna's storage, as SQLite has them."""
    with sqlite3.connect(root / "optuna.db") as connection:
        return connection.execute(
            """SELECT json_extract(value_json, '$'), state FROM trials
               JOIN trial_user_attributes USING (trial_id) JOIN studies USING (study_id)
               WHERE key = 'digest' AND study_name = ? ORDER BY trial_id""",
            (name,),
        ).fetchall()


def mlflow_trials(root: Path) -> dict[str, tuple[str, int]]:
    """Digest to status of the one run of each trial, and how many points it has."""
    with sqlite3.connect(root / "mlflow.db") as connection:
        runs = connection.execute(
            """SELECT run_uuid, tags.value, status FROM runs JOIN tags USING (run_uuid)
               WHERE tags.key = 'digest' AND lifecycle_stage = 'active'"""
        ).fetchall()
        repeated = Counter(connection.execute("SELECT run_uuid, key, step FROM metrics").fetchall())
    assert set(repeated.values()) <= {1}, "a (metric, step) was written twice"
    digests = [digest for _, digest, _ in runs]
    assert len(digests) == len(set(digests)), "a trial has two runs"
    return {
        digest: (status, sum(1 for key in repeated if key[0] == run))
        for run, digest, status in runs
    }


def results(root: Path) -> dict[str, bytes]:
    return {p.parents[2].name: p.read_bytes() for p in root.glob("trials/*/*/*/result.json")}


def assert_whole(root: Path, expected: Mapping[str, bytes], name: str = "s") -> None:
    """Every trial complete exactly once, everywhere, and nothing else anywhere."""
    assert StudyFolder.of(root, name).record().marks == []
    assert states(root, name) == dict.fromkeys(expected, "complete")
    assert dict(optuna_rows(root, name)) == dict.fromkeys(expected, "COMPLETE")
    assert results(root) == dict(expected)
    for folder in root.glob("trials/*"):
        assert (folder / "manifest.json").exists()
        assert TrialFolder(folder).spec().digest == folder.name
        assert len(list(folder.glob("attempts/*"))) == 1, f"{folder} keeps a second attempt"
        left = {path.name for path in folder.iterdir()} - {"damaged"}
        assert left == {"attempts", "manifest.json", "spec.json"}
    runs = mlflow_trials(root)
    assert {digest: status for digest, (status, _) in runs.items()} == dict.fromkeys(
        expected, "FINISHED"
    )


@cache
def warm() -> None:
    """Run a study in this process once: what it imports and loads, forked ones find there."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        space = write_space(Path(folder))
        before, launcher.launch = launcher.launch, launch_inline
        try:
            words = ["--space", str(space), "--root", str(Path(folder) / "root"), "--name", "s"]
            assert main(["run", *words]) == 0
        finally:
            launcher.launch = before
