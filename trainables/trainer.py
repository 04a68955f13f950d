"""The state that training moves, one optimizer step at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables import contrastive
from trainables.batching import Batches
from trainables.cache import Cache
from trainables.data.corpus import TrainingSet
from trainables.encoders.text import TextEncoder
from trainables.encoders.vocabulary import trim_vocabulary
from trainables.failures import TrialFailedError
from trainables.info_nce import info_nce
from trainables.orders import Indices
from trainables.spec import Execution, Spec
from trainables.tokens import Columns

HISTORY_POINTS = 50
"""Points of the loss curve kept in a trial's history."""


class Trainer:
    """The state that training moves: encoder, optimizer, step and history."""

    def __init__(
        self,
        spec: Spec,
        encoder: TextEncoder,
        data: TrainingSet,
        execution: Execution,
        cache: Cache | None = None,
    ) -> None:
        """Tokenise everything once, leave aside the words that nothing has, set up the optimizer.

        Args:
            spec: What the trial is.
            encoder: Changed in place; `restore_vocabulary` gives it all its words back.
            data: What it is trained on.
            execution: Device and memory layout.
            cache: Where token ids are kept for all trials on this machine; None for memory.
        """
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
        ref = spec.encoder
        self.queries = Columns(
            [_present(data.queries[x]) for x in spec.languages],
            encoder.tokenize_queries,
            f"{ref.digest} {ref.max_query_tokens} {ref.query_prefix}",
            "query",
            cache,
        )
        self.passages = Columns(
            [_present(data.passages[x]) for x in spec.languages],
            encoder.tokenize_passages,
            f"{ref.digest} {ref.max_passage_tokens} {ref.passage_prefix}",
            "passage",
            cache,
        )
        trim_vocabulary(encoder, [*self.queries, *self.passages])
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
            info_nce,
            temperature=spec.temperature or 1.0,
            symmetric=bool(spec.symmetric),
            question_ids=self.question_ids[batch.rows],
            gold_ids=self.gold_ids[passages],
            text_ids=torch.from_numpy(self.passages.texts[batch.passage_languages, passages]),
            mask_false_negatives=bool(spec.mask_false_negatives),
        )
        self.encoder.train()
        self.optimizer.zero_grad(set_to_none=True)
        outcome = contrastive.backward(
            self.encoder,
            self.queries.pick(batch.query_languages, batch.rows),
            self.passages.pick(batch.passage_languages, passages),
            objective,
            self.execution.micro_batch_tokens or self.encoder.held_tokens,
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

    def poison(self) -> None:
        """Make a parameter NaN, as a diverging optimizer would (for planted faults)."""
        with torch.no_grad():
            next(self.encoder.parameters()).fill_(math.nan)

    def check_finite(self) -> None:
        """Make sure that the last step left an encoder that can be evaluated.

        Raises:
            TrialFailedError: A parameter is NaN or infinite.
        """
        for name, parameter in self.encoder.named_parameters():
            if not torch.isfinite(parameter).all():
                raise TrialFailedError("nan", f"{name} is not finite after step {self.step}")

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


def _present(column: Sequence[str | None]) -> list[str]:
    """A column that lacks no row."""
    return [text for text in column if text is not None]


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
