"""One trial from top to bottom: open, train, evaluate, commit."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from trainables import contrastive
from trainables.batching import Batches, Indices
from trainables.checkpoint import Clock, latest_checkpoint, save_checkpoint
from trainables.data import catalog
from trainables.data.contamination import contamination
from trainables.data.corpus import Benchmark, TrainingSet
from trainables.encoders.catalog import open_encoder
from trainables.encoders.text import TextEncoder
from trainables.evaluation.evaluate import Evaluation, evaluate
from trainables.evaluation.ranks import save_ranks
from trainables.spec import DataRef, Execution, Spec
from trainables.trial_folder import Attempt, TrialFolder

HISTORY_POINTS = 50
"""Points of the loss curve kept in a trial's history."""


@dataclass(frozen=True)
class Event:
    """Where a trial stands.

    Attributes:
        kind: `started` once everything is loaded, `stepped` after an optimizer step, `evaluating`
            before the benchmarks are read, `committed` at the end.
        step: Optimizer steps taken.
        steps: Optimizer steps to take.
        loss: Of the last step; None before the first.
    """

    kind: Literal["started", "stepped", "evaluating", "committed"]
    step: int
    steps: int
    loss: float | None = None


class TrialFailedError(Exception):
    """The trial cannot have a result; `reason` is one word for the ledger."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep the reason (`nan`, …) and what a person should know."""
        super().__init__(detail)
        self.reason = reason


def finetune(
    spec: Spec,
    folder: TrialFolder,
    *,
    places: Mapping[str, str],
    execution: Execution = Execution(),  # noqa: B008 - frozen
    holder: Mapping[str, Any] | None = None,
) -> Iterator[Event]:
    """Run one trial, from its last checkpoint if it has one, and commit its result.

    Closing the iterator saves a checkpoint; iterating a committed trial does nothing.

    Args:
        spec: What the trial is.
        folder: Where it leaves everything.
        places: Digest to folder, for data and checkpoints that lie in files.
        execution: What is not identity: threads, device, memory layout.
        holder: Who runs it, written into the claim.

    Raises:
        TrialFailedError: The loss is not finite.
        UserError: A file is not the one the spec names, or a batch is larger than the data.
    """
    if folder.is_committed:
        yield Event("committed", spec.steps, spec.steps)
        return
    attempt = folder.claim(spec, dict(holder or {}))
    began = time.time()
    with execution_settings(execution):
        data = open_data(spec.train, spec.test, spec.validation, tuple(sorted(places.items())))
        encoder = open_encoder(spec.encoder, spec.test.name, places, execution)
        training: dict[str, Any] = {}
        if data.train is not None:
            trainer = Trainer(spec, encoder, data.train, execution)
            yield from train(trainer, attempt)
            training = trainer.summary()
        yield Event("evaluating", spec.steps, spec.steps)
        results = {"test": evaluate(data.test, encoder)}
        if data.validation is not None:
            results["validation"] = evaluate(data.validation, encoder)
    write_result(attempt, spec, execution, results, training, data.zero_shot)
    write_environment(attempt, execution, began, results)
    attempt.commit(sorted(path.name for path in attempt.path.iterdir() if path.is_file()))
    folder.forget_unfinished()
    yield Event("committed", spec.steps, spec.steps)


@dataclass(frozen=True)
class Data:
    """What a trial reads, and what is known of overlaps between training and test (law 8)."""

    train: TrainingSet | None
    test: Benchmark
    validation: Benchmark | None
    zero_shot: dict[str, Any]


@lru_cache(maxsize=2)
def open_data(
    train: DataRef | None,
    test: DataRef,
    validation: DataRef | None,
    places: tuple[tuple[str, str], ...],
) -> Data:
    """Load and check data once for all trials that an actor runs on them."""
    where = dict(places)
    benchmark = catalog.open_benchmark(test, where)
    training = None if train is None else catalog.open_training(train, where)
    zero_shot: dict[str, Any] = {"verdict": "not checkable", "same_source": False}
    if train is not None and training is not None:
        same = train.name == test.name and not catalog.is_embedded(test.name)
        zero_shot = contamination(training, benchmark).to_json() | {"same_source": same}
    return Data(
        train=training,
        test=benchmark,
        validation=None if validation is None else catalog.open_benchmark(validation, where),
        zero_shot=zero_shot,
    )


def train(trainer: Trainer, attempt: Attempt) -> Iterator[Event]:
    """Take all steps that are left, saving now and then, and when closed."""
    steps = trainer.steps
    if (found := latest_checkpoint(attempt.trial)) is not None:
        trainer.load_state(found)
    clock = Clock()
    yield Event("started", trainer.step, steps)
    try:
        while trainer.step < steps:
            loss = trainer.take_step()
            if clock.due() and attempt.is_live:
                clock.saved(save_checkpoint(attempt, trainer.state()))
            yield Event("stepped", trainer.step, steps, loss)
    except GeneratorExit:
        if attempt.is_live:
            save_checkpoint(attempt, trainer.state())
        raise
    attempt.write_json("history.json", {"points": trainer.history})


class Trainer:
    """The state that training moves: encoder, optimizer, step and history."""

    def __init__(
        self, spec: Spec, encoder: TextEncoder, data: TrainingSet, execution: Execution
    ) -> None:
        """Tokenise everything once and set up the optimizer."""
        assert spec.seed is not None
        assert spec.languages is not None
        assert spec.sampling is not None
        assert spec.batch_size is not None
        self.spec, self.encoder, self.execution = spec, encoder, execution
        self.seed, self.steps = spec.seed, spec.steps
        self.rows = len(data.questions)
        self.batches = Batches(
            self.rows,
            len(spec.languages),
            sampling=spec.sampling,
            alpha=spec.alpha,
            batch_size=spec.batch_size,
            seed=spec.seed,
        )
        self.query_tokens: list[contrastive.Tokens] = [
            _tokens(encoder.tokenize_queries, data.queries[x]) for x in spec.languages
        ]
        self.passage_tokens: list[contrastive.Tokens] = [
            _tokens(encoder.tokenize_passages, data.passages[x]) for x in spec.languages
        ]
        self.question_ids = torch.from_numpy(_numbered(data.questions))
        self.gold_ids = torch.from_numpy(_numbered(data.golds))
        self.dealt = np.arange(self.rows)
        if spec.shuffle_pairs:
            self.dealt = np.random.default_rng((spec.seed, 0x5F)).permutation(self.rows)
        self.optimizer = torch.optim.AdamW(
            _decay_groups(encoder, spec.weight_decay or 0.0), lr=spec.learning_rate or 0, fused=True
        )
        self.step = 0
        self.history: list[dict[str, float]] = []
        self._recent: list[tuple[float, float]] = []

    def take_step(self) -> float:
        """Take one optimizer step on batch `self.step` and return its loss.

        Raises:
            TrialFailedError: The loss is NaN or infinite.
        """
        spec, batch = self.spec, self.batches[self.step]
        passages = self.dealt[batch.rows]
        torch.manual_seed(int(np.random.SeedSequence((self.seed, self.step)).generate_state(1)[0]))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(spec, self.step)
        objective = partial(
            contrastive.info_nce,
            temperature=spec.temperature or 1.0,
            symmetric=bool(spec.symmetric),
            question_ids=self.question_ids[batch.rows],
            gold_ids=self.gold_ids[passages],
            mask_false_negatives=bool(spec.mask_false_negatives),
        )
        self.encoder.train()
        self.optimizer.zero_grad(set_to_none=True)
        outcome = contrastive.backward(
            self.encoder,
            _pick(self.query_tokens, batch.query_languages, batch.rows),
            _pick(self.passage_tokens, batch.passage_languages, passages),
            objective,
            self.execution.micro_batch_tokens,
        )
        loss = outcome.value.item()
        if not math.isfinite(loss):
            raise TrialFailedError("nan", f"the loss of step {self.step} is {loss}")
        if spec.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.encoder.parameters(), spec.max_grad_norm)
        self.optimizer.step()
        self.encoder.eval()
        self.step += 1
        self._note(loss, outcome.masked_fraction)
        return loss

    def _note(self, loss: float, masked: float) -> None:
        """Keep means over stretches of steps, about `HISTORY_POINTS` of them in a trial."""
        self._recent.append((loss, masked))
        stretch = max(1, self.steps // HISTORY_POINTS)
        if self.step % stretch == 0 or self.step == self.steps:
            means = np.mean(self._recent, axis=0)
            self.history.append(
                {"step": self.step, "train/loss": float(means[0]), "train/masked": float(means[1])}
            )
            self._recent = []

    def state(self) -> dict[str, Any]:
        """Everything a later attempt needs to go on as if nothing had happened."""
        return {
            "step": self.step,
            "encoder": self.encoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "recent": self._recent,
            "execution": self.execution.to_json(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.encoder.load_state_dict(state["encoder"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.history = state["step"], list(state["history"])
        self._recent = [tuple(pair) for pair in state["recent"]]

    def summary(self) -> dict[str, Any]:
        """What the result says of the training."""
        return {
            "steps": self.step,
            "examples": self.step * (self.spec.batch_size or 0),
            "rows": self.rows,
            "epochs": self.step * (self.spec.batch_size or 0) / self.rows,
            "final_loss": self.history[-1]["train/loss"],
            "masked_fraction": float(np.mean([p["train/masked"] for p in self.history])),
        }


def learning_rate(spec: Spec, step: int) -> float:
    """The rate of the step numbered `step` from 0: linear warm-up, then the spec's schedule."""
    peak, warmup = spec.learning_rate or 0.0, round((spec.warmup or 0.0) * spec.steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, spec.steps - warmup)
    if spec.schedule == "linear":
        return peak * (1 - done)
    if spec.schedule == "cosine":
        return peak * (1 + math.cos(math.pi * done)) / 2
    return peak


def write_result(
    attempt: Attempt,
    spec: Spec,
    execution: Execution,
    results: Mapping[str, Evaluation],
    training: Mapping[str, Any],
    zero_shot: Mapping[str, Any],
) -> None:
    """Write `result.json` and the ranks that every figure in it was computed from."""
    for role, result in results.items():
        save_ranks(result.ranks, attempt.path / f"ranks-{role}.npz")
    attempt.write_json(
        "result.json",
        {
            "digest": spec.digest,
            "metrics": results["test"].metrics,
            "validation": results["validation"].metrics if "validation" in results else {},
            "counts": {role: result.counts for role, result in results.items()},
            "zero_shot": dict(zero_shot),
            "training": dict(training),
            "execution": execution.to_json(),
        },
    )


def write_environment(
    attempt: Attempt, execution: Execution, began: float, results: Mapping[str, Evaluation]
) -> None:
    """Write what the result was made with and how long it took: an allow-list, no secrets."""
    import datasets
    import tokenizers
    import transformers

    modules = (torch, np, transformers, tokenizers, datasets)
    attempt.write_json(
        "environment.json",
        {
            "python": platform.python_version(),
            "platform": platform.platform(terse=True),
            "processor": platform.machine(),
            "versions": {module.__name__: module.__version__ for module in modules},
            "threads": execution.threads,
            "began": round(began, 3),
            "seconds": round(time.time() - began, 3),
            "timing": {role: result.timing for role, result in results.items()},
        },
    )


@contextmanager
def execution_settings(execution: Execution) -> Iterator[None]:
    """Set threads and determinism for one trial, and put both back after it."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(execution.threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)


def _pick(
    tokens: list[contrastive.Tokens], languages: Indices, rows: Indices
) -> contrastive.Tokens:
    """The token ids of each row in its language."""
    return [tokens[language][row] for language, row in zip(languages, rows, strict=True)]


def _tokens(
    tokenize: Callable[[Sequence[str]], contrastive.Tokens], column: Sequence[str | None]
) -> contrastive.Tokens:
    """Token ids of a column that lacks no row, each different text tokenised once."""
    texts = [text for text in column if text is not None]
    unique = list(dict.fromkeys(texts))
    ids = dict(zip(unique, tokenize(unique), strict=True))
    return [ids[text] for text in texts]


def _numbered(names: Sequence[str]) -> Indices:
    """Equal names get equal numbers."""
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64)


def _decay_groups(encoder: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Decay the matrices of linear layers; spare embeddings, biases and norms."""
    spared = {
        id(parameter)
        for module in encoder.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters()
    }
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for parameter in encoder.parameters():
        if parameter.requires_grad:
            groups[parameter.ndim >= 2 and id(parameter) not in spared].append(parameter)
    return [
        {"params": groups[True], "weight_decay": decay},
        {"params": groups[False], "weight_decay": 0.0},
    ]
