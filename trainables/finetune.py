"""One trial from top to bottom: open, train, evaluate, commit."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

import torch

from trainables import faults, storage
from trainables.cache import Cache
from trainables.checkpoint import Clock, latest_checkpoint, save_checkpoint
from trainables.data import catalog
from trainables.data.contamination import Contamination, contamination
from trainables.data.corpus import Benchmark, TrainingSet
from trainables.data.picture_catalog import open_picture_benchmark
from trainables.data.picture_contamination import picture_contamination
from trainables.data.picture_training import open_rows
from trainables.data.pictures import PictureBenchmark
from trainables.data.pretraining import with_pretraining
from trainables.encoders.catalog import open_encoder
from trainables.encoders.text import TextEncoder
from trainables.encoders.vocabulary import restore_vocabulary
from trainables.evaluation.evaluate import Evaluation, evaluate
from trainables.evaluation.pictures import PictureStore
from trainables.failures import TrialFailedError, describe
from trainables.leader import leading
from trainables.memory import forget_peak
from trainables.outcome import write_environment, write_result
from trainables.places import drafting, files_under
from trainables.rungs import Reached, Rungs, steps_of
from trainables.spec import DataRef, Execution, Spec
from trainables.trainer import Trainer
from trainables.trial_folder import Attempt, NotCommittedError, TrialFolder

SMALLER_LAYOUT = {"cpu": 512, "cuda": 8192}
"""Padded tokens held at once after the whole batch ran out of memory."""

UNCOMMITTED_FILES = frozenset({"stacks.txt", "failure.json"})
"""Files of an attempt that are no part of its result."""

Judged = Benchmark | PictureBenchmark

LOOK_SECONDS = 1.0
"""How often training looks whether another attempt was faster: in a store that is a request."""

LAST_SAVE_SECONDS = 5.0
"""Training that took longer since the last save is saved before the evaluation."""


@dataclass(frozen=True)
class Event:
    """Where a trial stands.

    Attributes:
        kind: `claimed` before anything is loaded, `started` once everything is, `stepped` after an
            optimizer step, `rung` at a rung that this or an earlier attempt reached, `evaluating`
            before the benchmarks are read, `committed` at the end.
        step: Optimizer steps taken.
        steps: Optimizer steps to take.
        loss: Of the last step; None before the first.
        attempt: The number of the attempt, with `claimed`.
        rung: What the validation benchmark says there, with `rung`.
    """

    kind: Literal["claimed", "started", "stepped", "rung", "evaluating", "committed"]
    step: int
    steps: int
    loss: float | None = None
    attempt: int | None = None
    rung: Reached | None = None


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
) -> Iterator[Event]:
    """Run one trial, from its last checkpoint if it has one, and commit its result.

    Closing the iterator saves a checkpoint; iterating a committed trial does nothing. Out of
    memory, the trial starts once more with smaller micro-batches of the same batches, and its
    result says so. Why an attempt failed stands in its `failure.json` too.

    Args:
        spec: What the trial is.
        folder: Where it leaves everything.
        places: Digest to folder, for data and checkpoints that lie in files.
        execution: What is not identity: threads, device, memory layout.
        holder: Who runs it, written into the claim.
        keep_weights: Leave the fine-tuned encoder in the folder.
        cache: What trials on this machine share; None keeps it in memory.
        rungs: Numbers of examples after which to look at the validation benchmark on the way; the
            result is the same with and without.

    Raises:
        TrialFailedError: The trial cannot have a result; it says why.
    """
    looks = steps_of(rungs, spec.batch_size or 1, spec.steps if spec.validation else 0)
    run = Run(spec, folder, places, execution, dict(holder or {}), keep_weights, cache, looks)
    while True:
        used = layout(folder, execution)
        try:
            yield from run.attempt(used)
            return
        except TrialFailedError as failure:
            if failure.reason != "out of memory" or used != execution:
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def layout(folder: TrialFolder, planned: Execution) -> Execution:
    """The planned execution, in a smaller layout after an attempt ran out of memory.

    Micro-batches are smaller, and on a GPU layers are computed again instead of kept.
    """
    failures = [attempt.failure() or {} for attempt in folder.attempts()]
    if not any(failure.get("reason") == "out of memory" for failure in failures):
        return planned
    smaller = (planned.micro_batch_tokens or 4 * SMALLER_LAYOUT[planned.device]) // 4
    again = planned.recompute_layers or planned.device == "cuda"
    return replace(planned, micro_batch_tokens=max(1, smaller), recompute_layers=again)


@dataclass(frozen=True)
class Run:
    """The attempts at one trial by one process."""

    spec: Spec
    folder: TrialFolder
    places: Mapping[str, str]
    planned: Execution
    holder: Mapping[str, Any]
    keep_weights: bool
    cache: Cache | None
    looks: Mapping[int, int]

    def attempt(self, execution: Execution) -> Iterator[Event]:
        """Claim an attempt and bring it to a commit, unless another attempt is faster."""
        steps = self.spec.steps
        if not self.folder.is_committed:
            attempt = self.folder.claim(self.spec, {**self.holder, "places": dict(self.places)})
            yield Event("claimed", 0, steps, attempt=attempt.number)
            try:
                yield from self._work(attempt, execution)
            except Exception as error:
                # Another study's attempt may have been committed, and tidied up after
                if not self.folder.is_committed:
                    facts = describe(error)
                    with suppress(OSError):
                        attempt.fail(facts)
                    raise TrialFailedError(facts["reason"], facts["detail"]) from error
        with suppress(NotCommittedError):
            self.folder.forget_unfinished()
        yield Event("committed", steps, steps)

    def _work(self, attempt: Attempt, execution: Execution) -> Iterator[Event]:
        """Open, train, evaluate and commit."""
        spec, began = self.spec, time.time()
        forget_peak()
        found = (
            None
            if spec.steps == 0
            else latest_checkpoint(self.folder, lambda e: fits(e, execution))
        )
        if found is not None:
            execution = Execution(**found["execution"])
        everyone = leading(spec, execution, self.places, self.cache)
        with execution_settings(execution), everyone as leader:
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
            if data.train is not None:
                trainer = Trainer(spec, encoder, data.train, execution, self.cache)
                if found is not None:
                    trainer.load_state(found)
                leader.join(trainer)
                yield from train(trainer, attempt, data.validation, self.looks)
                leader.end(trainer)
                training = trainer.summary()
                restore_vocabulary(encoder)
            else:
                yield Event("evaluating", 0, 0)
            if self.folder.is_committed:
                return
            results = {"test": self._judge(data.test, spec.test, encoder)}
            if data.validation is not None and spec.validation is not None:
                results["validation"] = self._judge(data.validation, spec.validation, encoder)
            for (benchmark, _), ref in zip(data.also, spec.also or (), strict=True):
                results[benchmark.name] = self._judge(benchmark, ref, encoder)
        weights = save_weights(attempt, encoder) if self.keep_weights and spec.steps else []
        write_result(
            attempt,
            spec,
            execution,
            results,
            training,
            zero_shot(spec, data),
            layout_changed=execution.micro_batch_tokens != self.planned.micro_batch_tokens,
        )
        resumed_at = 0 if found is None else int(found["step"])
        write_environment(attempt, execution, began, results, resumed_at)
        here = {path.name for path in attempt.path.iterdir() if path.is_file()}
        attempt.commit(sorted(here - UNCOMMITTED_FILES), weights)
        faults.at("committed", digest=self.folder.digest, attempt=attempt.number)

    def _judge(self, benchmark: Judged, ref: DataRef, encoder: TextEncoder) -> Evaluation:
        """Evaluate; what is computed of pictures alone is kept for other trials."""
        store = None if self.cache is None else PictureStore(self.cache, ref.digest)
        return evaluate(benchmark, encoder, pictures=store)


def fits(saved: Execution, wanted: Execution) -> bool:
    """Whether training saved under one execution goes on in another, keeping its own."""

    def kept(execution: Execution) -> tuple[object, ...]:
        layout = execution.micro_batch_tokens, execution.recompute_layers, execution.ranks
        return execution.device, *layout

    return kept(saved) == kept(wanted)


@dataclass(frozen=True)
class Data:
    """What a trial reads, and what its training was found to share with each benchmark."""

    train: TrainingSet | None
    test: Judged
    validation: Judged | None
    overlap: Contamination | None
    also: tuple[tuple[Judged, Contamination | None], ...]


@lru_cache(maxsize=2)
def open_data(
    train: DataRef | None,
    test: DataRef,
    validation: DataRef | None,
    places: tuple[tuple[str, str], ...],
    *,
    also: tuple[DataRef, ...],
    aligned: bool,
    negatives: bool,
) -> Data:
    """Load and check data once for all trials that an actor runs on them."""
    where = dict(places)
    benchmark = open_judged(test, where)
    training = None
    if train is not None:
        training = open_rows(train, where, aligned=aligned, negatives=negatives)

    def shared(judged: Judged) -> Contamination | None:
        if training is None:
            return None
        if isinstance(judged, PictureBenchmark):
            return picture_contamination(training, judged)
        return contamination(training, judged)

    further = [open_judged(ref, where) for ref in also]
    return Data(
        train=training,
        test=benchmark,
        validation=None if validation is None else open_judged(validation, where),
        overlap=shared(benchmark),
        also=tuple((each, shared(each)) for each in further),
    )


def open_judged(ref: DataRef, places: Mapping[str, str]) -> Judged:
    """The benchmark that `ref` names, with its pictures where it has any."""
    if catalog.has_pictures(ref.name):
        return open_picture_benchmark(ref, places)
    return catalog.open_benchmark(ref, places)


def zero_shot(spec: Spec, data: Data) -> dict[str, Any]:
    """What may be claimed (law 8): of the trial's own training and the encoder's before it.

    On the test benchmark, and under `also` on each further one.
    """

    def claim(name: str, overlap: Contamination | None) -> dict[str, Any]:
        same = spec.train is not None and spec.train.name == name
        found = with_pretraining(overlap, spec.encoder.name, name)
        return found.to_json() | {"same_source": same and not catalog.is_embedded(name)}

    further = {each.name: claim(each.name, overlap) for each, overlap in data.also}
    return claim(spec.test.name, data.overlap) | ({"also": further} if further else {})


def train(
    trainer: Trainer,
    attempt: Attempt,
    validation: Judged | None,
    looks: Mapping[int, int] = MappingProxyType({}),
) -> Iterator[Event]:
    """Take all steps that are left, saving now and then, and when closed.

    Args:
        trainer: What moves.
        attempt: Where it is saved.
        validation: What is looked at on the way.
        looks: Step to rung, as `steps_of` gives them.
    """
    steps, clock, saved, looked = trainer.steps, Clock(), trainer.step, 0.0
    rungs = Rungs(looks, attempt)
    facts: dict[str, str | int] = {"digest": attempt.trial.digest, "attempt": attempt.number}

    def overtaken() -> bool:
        nonlocal looked
        if time.monotonic() - looked < LOOK_SECONDS:
            return False
        looked = time.monotonic()
        return attempt.trial.is_committed

    def save() -> None:
        nonlocal saved
        if saved != trainer.step and attempt.is_live:
            # a disk too full for a checkpoint may still have room for the result
            with suppress(storage.NoRoomError):
                clock.saved(save_checkpoint(attempt, trainer.state()))
                saved = trainer.step

    def look() -> None:
        if validation is not None and trainer.selection.due(trainer.step):
            trainer.check_finite()
            metrics = evaluate(validation, trainer.encoder).metrics
            trainer.selection.note(trainer.step, metrics, trainer.encoder)

    def judge() -> Evaluation:
        assert validation is not None
        trainer.check_finite()
        return evaluate(validation, trainer.encoder)

    yield Event("started", trainer.step, steps)
    try:
        look()  # what was saved may not have been evaluated yet
        rungs.look(trainer.step, judge)
        for reached in rungs.behind(trainer.step):
            yield Event("rung", reached.step, steps, rung=reached)
        while trainer.step < steps and not trainer.selection.stopped and not overtaken():
            loss = trainer.take_step()
            planted = faults.at("step", step=trainer.step, **facts)
            if planted == "nan":
                trainer.poison()
            if clock.due() or planted == "save":
                save()
            look()
            yield Event("stepped", trainer.step, steps, loss)
            if (at := rungs.look(trainer.step, judge)) is not None:
                yield Event("rung", trainer.step, steps, rung=at)
        trainer.check_finite()
        if clock.elapsed() > LAST_SAVE_SECONDS:
            save()
        trainer.selection.restore(trainer.encoder)
        attempt.write_json("history.json", {"points": trainer.curve()})
        faults.at("history.written", **facts)
        yield Event("evaluating", trainer.step, steps)
    except GeneratorExit:
        save()
        raise


def save_weights(attempt: Attempt, encoder: TextEncoder) -> list[str]:
    """Write the fine-tuned encoder as a checkpoint folder; the names of its files.

    Returns nothing where the disk has no room for it: the result is worth more.
    """
    size = sum(tensor.nbytes for tensor in encoder.state_dict().values())
    try:
        storage.ensure_room(attempt.path, size)
    except storage.NoRoomError:
        return []
    with drafting(attempt.path / "encoder") as folder:
        encoder.save(folder)
    faults.at("weights.written", digest=attempt.trial.digest, attempt=attempt.number)
    return [f"encoder/{name}" for name in files_under(attempt.path / "encoder")]


@contextmanager
def execution_settings(execution: Execution) -> Iterator[None]:
    """Set threads and determinism for one trial, and put both back after it."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(execution.threads)
    if execution.device == "cuda":
        # cuBLAS is deterministic only with a workspace of fixed size
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # As use_deterministic_algorithms(True), which would import the compiler: two seconds
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.set_num_threads(threads)
