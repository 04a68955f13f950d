"""Training, one optimizer step at a time."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.data.benchmark import TrainingSet
from trainables.encoders.text import TextEncoder
from trainables.encoders.vocabulary import trim_vocabulary
from trainables.failures import TrialFailedError
from trainables.spec import MIN_LEARNT_TEMPERATURE, Execution, Spec, library_versions
from trainables.storage.cache import Cache
from trainables.training import gradcache
from trainables.training.batch_items import tokens_in
from trainables.training.batching import select_rows
from trainables.training.info_nce import info_nce
from trainables.training.negatives import Candidates, Chosen, PictureCandidates, shown
from trainables.training.optimizer import decay_groups, learning_rate
from trainables.training.permutation import Indices
from trainables.training.positives import Positives
from trainables.training.selection import Selection
from trainables.training.tokens import Columns

if TYPE_CHECKING:
    from trainables.distributed.group import Group

HISTORY_POINTS = 50
"""Approximate number of loss-curve points kept in a trial's history."""


class Trainer:
    """State that training changes: encoder, optimizer, step and history."""

    def __init__(
        self,
        spec: Spec,
        encoder: TextEncoder,
        data: TrainingSet,
        execution: Execution,
        cache: Cache | None = None,
    ) -> None:
        """Tokenise all texts, trim the vocabulary to their tokens and create the optimizer.

        Args:
            spec: Complete description of the trial.
            encoder: Changed in place; `restore_vocabulary` undoes the trimming.
            data: Training data.
            execution: Device and memory layout.
            cache: Cache for token ids and pictures of all trials on this machine; None for memory.
        """
        assert spec.seed is not None
        assert spec.languages is not None
        self.spec, self.encoder, self.execution = spec, encoder, execution
        self.seed, self.steps = spec.seed, spec.steps
        self.row_ids, self.batches = select_rows(spec, data)
        self.rows = len(self.row_ids)
        ref = spec.encoder
        self.queries = Columns(
            [data.queries[x] for x in spec.languages],
            encoder.tokenize_queries,
            f"{ref.digest} {ref.max_query_tokens} {ref.query_prefix}",
            "query",
            cache,
        )
        self.passages: Candidates | PictureCandidates
        if data.pictures:
            self.passages = PictureCandidates(spec, data, self.queries, encoder, cache)
        else:
            self.passages = Candidates(spec, data, encoder.tokenize_passages, cache)
        self.has_images = bool(data.pictures)
        trim_vocabulary(encoder, [*self.queries, *self.passages.columns])
        self.passage_rows = self.row_ids
        if spec.shuffle_pairs:
            shuffled = np.random.default_rng((spec.seed, 0x5F)).permutation(self.rows)
            self.passage_rows = self.row_ids[shuffled]
        partners = np.arange(len(data.questions))
        partners[self.row_ids] = self.passage_rows
        self.positives = Positives(
            data.questions,
            self.queries.texts,
            self.passages.row_golds,
            self.passages.row_texts,
            partners,
            self.passages.other_golds,
        )
        start = torch.tensor(-math.log(spec.temperature or 1.0), device=encoder.device)
        self.log_scale = nn.Parameter(start, requires_grad=bool(spec.learn_temperature))
        self.optimizer = torch.optim.AdamW(
            decay_groups(encoder, self.log_scale, spec.weight_decay or 0.0),
            lr=spec.learning_rate or 0,
            fused=True,
        )
        self.selection = Selection(spec)
        self.group: Group | None = None
        self.step = self.tokens = 0
        self.history: list[dict[str, float]] = []
        self._recent: list[tuple[float, float]] = []
        self.earlier_versions: list[dict[str, str]] = []

    def join(self, group: Group) -> None:
        """Train with other processes from here on, all starting from the state of process 0.

        Raises:
            TrialFailedError: The processes hold different data or encoders.
        """
        self.group = group
        buffer = io.BytesIO()
        if self.step and not group.rank:
            # other ranks neither evaluate nor select
            torch.save({k: v for k, v in self.state().items() if k != "selection"}, buffer)
        state = group.share(buffer.getvalue())
        if state and group.rank:
            self.load_state(torch.load(io.BytesIO(state), weights_only=True, map_location="cpu"))
        self.check_processes()

    def check_processes(self) -> None:
        """Check that all processes hold the same data, encoder and temperature.

        Raises:
            TrialFailedError: Some processes differ from process 0.
        """
        assert self.group is not None
        data = [self.positives.questions, self.row_ids, self.passage_rows, self.queries.texts]
        if isinstance(self.passages, Candidates):
            data += [self.passages.columns.texts, self.passages.golds]
        parts = [*map(torch.from_numpy, data), *self.encoder.parameters(), self.log_scale]
        if unequal := self.group.unequal_processes(parts):
            raise TrialFailedError(
                "error",
                f"after step {self.step} ranks {unequal} hold other data or parameters than rank 0",
            )

    def take_step(self) -> float:
        """Take one optimizer step on batch `self.step` and return its loss.

        With a group, all its processes take the step that process 0 announces.

        Raises:
            TrialFailedError: The loss is NaN or infinite.
        """
        if self.group is not None:
            self.group.announce("step")
        spec, batch = self.spec, self.batches[self.step]
        rows, passage_rows = self.row_ids[batch.rows], self.passage_rows[batch.rows]
        languages = shown(batch, spec.pairs) if self.has_images else batch.passage_languages
        passages = self.passages.of(self.step, languages, passage_rows)
        temperature: float | Tensor = spec.temperature or 1.0
        if spec.learn_temperature:
            temperature = torch.exp(-self.log_scale)
        torch.manual_seed(self._dropout_key())
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(spec, self.step)
        objective = partial(
            info_nce,
            temperature=temperature,
            symmetric=bool(spec.symmetric),
            false_negatives=self._false_negatives(rows, passages),
            negatives=spec.negatives or "in_batch",
            owners=torch.from_numpy(passages.owners),
        )
        self.encoder.train()
        self.optimizer.zero_grad(set_to_none=True)
        queries = self.queries.pick(batch.query_languages, rows)
        outcome = gradcache.backward(
            self.encoder,
            queries,
            passages.tokens,
            objective,
            self.execution.micro_batch_tokens or self.encoder.held_tokens,
            self.group,
        )
        loss = outcome.value.item()
        if not math.isfinite(loss):
            raise TrialFailedError("nan", f"the loss of step {self.step} is {loss}")
        if self.group is not None:
            # every process computes the whole loss, and so the temperature's whole gradient
            self.group.sum_gradients(self.encoder.parameters(), alike=[self.log_scale])
        if spec.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.encoder.parameters(), spec.max_grad_norm)
        self.optimizer.step()
        if spec.learn_temperature:
            with torch.no_grad():
                self.log_scale.clamp_(max=-math.log(MIN_LEARNT_TEMPERATURE))
        self.encoder.eval()
        self.step += 1
        self.tokens += sum(tokens_in(row) for row in [*queries, *passages.tokens])
        self._record_step(loss, outcome.masked_fraction)
        return loss

    def _false_negatives(self, rows: Indices, passages: Chosen) -> Tensor | None:
        """Return the (2, F) pairs of row and passage to mask; None if the spec does not mask."""
        if not self.spec.mask_false_negatives:
            return None
        return torch.from_numpy(
            self.positives.false_negatives(rows, passages.golds, passages.texts)
        )

    def _dropout_key(self) -> int:
        """Return this step's dropout seed; processes embed different rows, each with its own."""
        rank = 0 if self.group is None else self.group.rank
        key = (self.seed, self.step, rank) if rank else (self.seed, self.step)
        return int(np.random.SeedSequence(key).generate_state(1)[0])

    def _record_step(self, loss: float, masked: float) -> None:
        """Record means over stretches of steps, about `HISTORY_POINTS` of them in a trial."""
        self._recent.append((loss, masked))
        stretch = max(1, self.steps // HISTORY_POINTS)
        if self.step % stretch == 0 or self.step == self.steps:
            self._close_stretch()

    def _close_stretch(self) -> None:
        """Close the current stretch of steps."""
        if self._recent:
            means = np.mean(self._recent, axis=0)
            self.history.append(
                {"step": self.step, "train/loss": float(means[0]), "train/masked": float(means[1])}
            )
            self._recent = []

    def state(self) -> dict[str, Any]:
        """Return everything that a later attempt needs to resume exactly."""
        return {
            "step": self.step,
            "tokens": self.tokens,
            "encoder": self.encoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "recent": self._recent,
            "log_scale": self.log_scale.item(),
            "selection": self.selection.state(),
            "execution": self.execution.to_json(),
            "versions": [*self.earlier_versions, library_versions()],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Resume from what `state` returned."""
        self.encoder.load_state_dict(state["encoder"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.history = state["step"], list(state["history"])
        self._recent = [tuple(pair) for pair in state["recent"]]
        # checkpoints of earlier versions of this code may lack the keys below
        now = library_versions()
        self.earlier_versions = [each for each in state.get("versions", []) if each != now]
        self.tokens = state.get("tokens", 0)
        self.log_scale.data.fill_(state.get("log_scale", self.log_scale.item()))
        if "selection" in state:
            self.selection.load_state(state["selection"])

    def poison(self) -> None:
        """Make a parameter NaN, as a diverging optimizer would (for planted faults)."""
        with torch.no_grad():
            next(self.encoder.parameters()).fill_(math.nan)

    def curve(self) -> list[dict[str, float]]:
        """Return the points of training and validation by step, once training has ended."""
        self._close_stretch()
        return sorted([*self.history, *self.selection.points], key=lambda point: point["step"])

    def check_finite(self) -> None:
        """Check that the last step left an encoder that can be evaluated, the same everywhere.

        Raises:
            TrialFailedError: A parameter is NaN or infinite, or processes differ.
        """
        parameters = [*self.encoder.named_parameters(), ("the temperature", self.log_scale)]
        for name, parameter in parameters:
            if not torch.isfinite(parameter).all():
                raise TrialFailedError("nan", f"{name} is not finite after step {self.step}")
        if self.group is not None:
            self.group.announce("check")
            self.check_processes()

    def summary(self) -> dict[str, Any]:
        """Summarise the training for the result."""
        temperature = {"temperature": math.exp(-self.log_scale.item())}
        return {
            "steps": self.step,
            "examples": self.step * (self.spec.batch_size or 0),
            "tokens": self.tokens,
            "rows": self.rows,
            "epochs": self.step * (self.spec.batch_size or 0) / self.rows,
            "final_loss": self.history[-1]["train/loss"],
            "masked_fraction": float(np.mean([p["train/masked"] for p in self.history])),
            **(temperature if self.spec.learn_temperature else {}),
            **self.selection.summary(self.step),
        }
