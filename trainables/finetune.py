"""One trial from top to bottom: open, train, evaluate, commit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from trainables import faults
from trainables.data.benchmark import Benchmark
from trainables.distributed.rank0 import Machines, leading
from trainables.encoders.registry import open_encoder
from trainables.encoders.text import TextEncoder
from trainables.encoders.vocabulary import restore_vocabulary
from trainables.evaluation.evaluate import Evaluation, evaluate
from trainables.evaluation.picture_store import PictureStore
from trainables.failures import TrialFailedError, describe
from trainables.spec import DataRef, Execution, Spec, execution_settings
from trainables.storage import atomic as storage
from trainables.storage.cache import Cache
from trainables.storage.paths import files_under, staging_folder
from trainables.training.trainer import Trainer
from trainables.trial.checkpoint import latest_checkpoint
from trainables.trial.intermediate import milestones
from trainables.trial.loop import Event, train
from trainables.trial.memory_layout import layout
from trainables.trial.outcome import forget_peak, write_environment, write_result
from trainables.trial.trial_data import open_data, zero_shot
from trainables.trial.trial_folder import Attempt, NotCommittedError, TrialFolder

UNCOMMITTED_FILES = frozenset({"stacks.txt", "failure.json"})
"""Files of an attempt that are not part of its result."""


def finetune(
    spec: Spec,
    folder: TrialFolder,
    *,
    places: Mapping[str, str],
    execution: Execution = Execution(),  # noqa: B008 - frozen
    holder: Mapping[str, Any] | None = None,
    keep_weights: bool = False,
    cache: Cache | None = None,
    rungs: Iterable[int] = (),
    machines: Machines | None = None,
) -> Iterator[Event]:
    """Run one trial, from its last checkpoint if it has one, and commit its result.

    Closing the iterator saves a checkpoint; a committed trial is not run again. After running out
    of memory, the trial starts once more with smaller micro-batches of the same batches, and its
    result says so. The reason for a failed attempt is also in its `failure.json`.

    Args:
        spec: Complete description of the trial.
        folder: Trial folder, which receives all output.
        places: Local folders of data and checkpoints, by digest.
        execution: Settings without influence on identity: threads, device, memory layout.
        holder: Who runs the trial, written into the claim.
        keep_weights: Keep the fine-tuned encoder in the folder.
        cache: Cache shared by trials on this machine; None caches in memory.
        rungs: Numbers of examples after which to evaluate the validation benchmark; they do not
            change the result.
        machines: Machines beside this one, for several nodes; None runs all process ranks here.

    Raises:
        TrialFailedError: The trial cannot have a result; the message says why.
    """
    looks = milestones(rungs, spec.batch_size or 1, spec.steps if spec.validation else 0)
    run = Run(
        spec, folder, places, execution, dict(holder or {}), keep_weights, cache, looks, machines
    )
    while True:
        used = layout(folder, execution, spec.encoder, places)
        try:
            yield from run.attempt(used)
            return
        except TrialFailedError as failure:
            if failure.reason != "out of memory" or used != execution:
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@dataclass(frozen=True)
class Run:
    """Attempts of one process at one trial."""

    spec: Spec
    folder: TrialFolder
    places: Mapping[str, str]
    planned: Execution
    holder: Mapping[str, Any]
    keep_weights: bool
    cache: Cache | None
    looks: Mapping[int, int]
    machines: Machines | None

    def attempt(self, execution: Execution) -> Iterator[Event]:
        """Claim an attempt and commit it, unless another attempt commits first."""
        steps = self.spec.steps
        if not self.folder.is_committed:
            attempt = self.folder.claim(self.spec, {**self.holder, "places": dict(self.places)})
            yield Event("claimed", 0, steps, attempt=attempt.number)
            try:
                yield from self._work(attempt, execution)
            except Exception as error:
                # Another study's attempt may have committed and removed this one
                if not self.folder.is_committed:
                    facts = describe(error)
                    with suppress(OSError):
                        attempt.fail(facts)
                    raise TrialFailedError(facts["reason"], facts["detail"]) from error
        with suppress(NotCommittedError):
            self.folder.forget_unfinished()
        yield Event("committed", steps, steps)

    def _work(self, attempt: Attempt, execution: Execution) -> Iterator[Event]:
        spec, began, started = self.spec, time.time(), time.monotonic()
        forget_peak()
        checkpoint = None if spec.steps == 0 else latest_checkpoint(self.folder, execution.resumes)
        if checkpoint is not None:
            execution = replace(Execution(**checkpoint["execution"]), nodes=execution.nodes)
        all_ranks = leading(spec, execution, self.places, self.cache, self.machines)
        with execution_settings(execution), all_ranks as leader:
            data = open_data(
                spec.train,
                spec.test,
                spec.validation,
                tuple(sorted(self.places.items())),
                also=spec.also or (),
                aligned=spec.rows is None,
                negatives=spec.negatives is not None,
            )
            encoder = open_encoder(spec.encoder, spec.test.name, self.places, execution)
            training: dict[str, Any] = {}
            earlier: list[dict[str, str]] = []
            if data.train is not None:
                trainer = Trainer(spec, encoder, data.train, execution, self.cache)
                if checkpoint is not None:
                    trainer.load_state(checkpoint)
                leader.join(trainer)
                yield from train(trainer, attempt, data.validation, self.looks)
                leader.end(trainer)
                training, earlier = trainer.summary(), trainer.earlier_versions
                restore_vocabulary(encoder)
            else:
                yield Event("evaluating", 0, 0)
            if self.folder.is_committed:
                return
            results = {"test": self._evaluate(data.test, spec.test, encoder)}
            if data.validation is not None and spec.validation is not None:
                results["validation"] = self._evaluate(data.validation, spec.validation, encoder)
            for (benchmark, _), ref in zip(data.also, spec.also or (), strict=True):
                results[benchmark.name] = self._evaluate(benchmark, ref, encoder)
        weights = save_weights(attempt, encoder) if self.keep_weights and spec.steps else []
        write_result(
            attempt,
            spec,
            execution,
            results,
            training,
            zero_shot(spec, data),
            earlier=earlier,
            layout_changed=execution.micro_batch_tokens != self.planned.micro_batch_tokens,
        )
        resumed_at = 0 if checkpoint is None else int(checkpoint["step"])
        seconds = time.monotonic() - started
        write_environment(attempt, execution, began, seconds, results, resumed_at)
        here = {path.name for path in attempt.path.iterdir() if path.is_file()}
        attempt.commit(sorted(here - UNCOMMITTED_FILES), weights)
        faults.at("committed", digest=self.folder.digest, attempt=attempt.number)

    def _evaluate(self, benchmark: Benchmark, ref: DataRef, encoder: TextEncoder) -> Evaluation:
        """Evaluate a benchmark, caching for other trials what depends on its pictures alone."""
        store = None if self.cache is None else PictureStore(self.cache, ref.digest)
        return evaluate(benchmark, encoder, pictures=store)


def save_weights(attempt: Attempt, encoder: TextEncoder) -> list[str]:
    """Save the fine-tuned encoder as a checkpoint folder and return its relative file paths.

    Returns an empty list if the disk has no room for it: the result matters more.
    """
    size = sum(tensor.nbytes for tensor in encoder.state_dict().values())
    try:
        storage.ensure_room(attempt.path, size)
    except storage.NoRoomError:
        return []
    with staging_folder(attempt.path / "encoder") as folder:
        encoder.save(folder)
        for name in files_under(folder):
            # safetensors makes files private to their owner, whatever the umask
            (folder / name).chmod(folder.stat().st_mode & 0o666)
    faults.at("weights.written", digest=attempt.trial.digest, attempt=attempt.number)
    return [f"encoder/{name}" for name in files_under(attempt.path / "encoder")]
