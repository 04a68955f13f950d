"""What one trial takes: its texts, over the rates of its device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from transformers import PretrainedConfig

from study.cost.accelerators import accelerator as find_accelerator
from study.cost.inputs_needed import found_in
from study.cost.speed import PROBE_ROWS, Speed, assumed, measured
from study.cost.texts import Evaluated, Reader, Trained
from study.cost.work import (
    FLOAT,
    Lengths,
    Memory,
    Step,
    encoding,
    evaluation_bytes,
    mean,
    trained,
    training_memory,
    training_step,
)
from trainables.data import catalog
from trainables.data.contamination import contamination
from trainables.encoders.embedded import is_embedded
from trainables.encoders.families import SEEING
from trainables.encoders.files.checkpoints import parts_of
from trainables.encoders.files.modules import load_config, read_config
from trainables.encoders.shapes import COUNTED, Shape, shape_of
from trainables.spec import DataRef, Execution, Spec

T = TypeVar("T")

BATCHES = 16
"""Batches drawn from the sample of texts, whose mean is a step."""

STEP_SECONDS = 0.003
"""Of a step beside the encoder, the loss and AdamW, at 64 rows on the CPU here, measured."""

APART = frozenset(SEEING) - {"clip", "clip_text_model"}
"""Kinds of text towers that `AutoModel` has no class for: probed as a BERT of their size."""

LOAD_BYTES = 0.5e9
"""Of a checkpoint, hashed and loaded in a second: assumed."""


@dataclass(frozen=True)
class Cost:
    """What one trial takes.

    Attributes:
        load: Seconds to open the encoder.
        train: Seconds of all steps.
        evaluate: Seconds of all evaluations, those on validation data included.
        memory: Bytes.
        step: Of training.
        basis: Whence texts and rates are known.
    """

    load: float
    train: float
    evaluate: float
    memory: Memory
    step: Step
    basis: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of all of it, once the data are open."""
        return self.load + self.train + self.evaluate


@dataclass
class Estimator:
    """Costs of trials; data are opened and rates measured once.

    Attributes:
        places: Digest to folder of what is at hand.
        execution: Of every trial.
        accelerator: Name; None for the CPU.
        opening: Seconds that reading and tokenising take, as each worker does once.
    """

    places: Mapping[str, str]
    execution: Execution
    accelerator: str | None
    opening: float = 0.0
    _known: dict[str, Any] = field(default_factory=dict)

    def memory(self, spec: Spec) -> Memory:
        """Bytes of one trial; no rate is measured for that."""
        shape, training = self._shape(spec), self._trained(spec)
        read = [self._evaluated(spec, ref) for ref, _ in evaluations(spec)]
        _, step, words = self._steps(spec, shape, training)
        return self._memory(spec, shape, step, words, read, training)

    def needs(self, spec: Spec) -> tuple[float, float]:
        """Operations of training and evaluations, and bytes at the peak, without any rate."""
        shape, training = self._shape(spec), self._trained(spec)
        _, step, _ = self._steps(spec, shape, training)
        operations = spec.steps * step.operations
        for ref, times in evaluations(spec):
            texts_of = self._evaluated(spec, ref)
            for texts in (texts_of.queries, texts_of.passages):
                if len(texts.tokens) and texts.count:
                    share = times * texts.count / len(texts.tokens)
                    operations += share * encoding(shape, texts.tokens, self.execution)
        memory = self.memory(spec)
        return operations, memory.cpu if self.execution.device == "cpu" else memory.device

    def _steps(
        self, spec: Spec, shape: Shape, training: Trained | None
    ) -> tuple[list[Lengths], Step, int]:
        """A few batches, the mean step over them, and how many words are trained."""
        batches = [] if training is None else drawn(training, spec)
        rows = spec.batch_size or 0
        steps = [training_step(shape, batch, rows, self.execution) for batch in batches]
        step = mean(steps) if steps else Step(0, 0, 0, 0, 0)
        return batches, step, min(shape.words, (training and training.words) or shape.words)

    def cost(self, spec: Spec) -> Cost:
        """Of one trial."""
        shape = self._shape(spec)
        read = [(ref, times, self._evaluated(spec, ref)) for ref, times in evaluations(spec)]
        training = self._trained(spec)
        batches, step, words = self._steps(spec, shape, training)
        speed = self._speed(spec, shape, batches, read[0][2])
        sources = [] if training is None or spec.train is None else [(spec.train, training.basis)]
        sources += [(ref, texts_of.basis) for ref, _, texts_of in read]
        counted = (
            []
            if shape.kind in COUNTED
            else [f"model type {shape.kind}, counted as a BERT of its size"]
        )
        return Cost(
            load=FLOAT * shape.parameters / LOAD_BYTES,
            train=spec.steps * step_seconds(shape, step, words, speed),
            evaluate=sum(
                times * self._evaluation_seconds(shape, texts_of, speed)
                for _, times, texts_of in read
            ),
            memory=self._memory(spec, shape, step, words, [x for *_, x in read], training),
            step=step,
            basis=(
                *dict.fromkeys(f"{ref.name}: {said}" for ref, said in sources),
                *counted,
                speed.basis,
            ),
        )

    def _shape(self, spec: Spec) -> Shape:
        """Of the encoder, from its files or the table."""
        return shape_of(spec.encoder.name, found_in(spec.encoder.digest, self.places))

    def _config(self, spec: Spec, shape: Shape, longest: int) -> PretrainedConfig:
        """The configuration whose dropout and activation a probe of such texts shares."""
        if is_embedded(spec.encoder.name):
            return shape.config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        folder = found_in(spec.encoder.digest, self.places)
        if folder is None:
            return shape.config()
        first = parts_of(folder)[0]
        apart = read_config(first, str(first))["model_type"] in APART
        if apart or shape.kind not in COUNTED:
            heads, room = math.gcd(shape.heads, shape.hidden), max(longest, shape.positions)
            bert = replace(shape, kind="bert", heads=heads, positions=room)
            return bert.config(type_vocab_size=max(1, shape.types))
        config: Any = load_config(first)
        text: PretrainedConfig = getattr(config, "text_config", config)
        return text

    def _speed(self, spec: Spec, shape: Shape, batches: list[Lengths], tested: Evaluated) -> Speed:
        """Rates for this shape at this batch size."""
        if self.accelerator is not None:
            entry = find_accelerator(self.accelerator)
            return assumed(self.accelerator, entry, self.execution.precision, shape.vector)
        batch = (batches[0], spec.batch_size or 0) if batches else None
        texts = np.concatenate([tested.queries.tokens, tested.passages.tokens])
        texts = texts[np.random.default_rng(0).permutation(len(texts))]
        rows = min(spec.batch_size or 0, PROBE_ROWS)
        longest = max(int(one.max()) for one in (texts, *batches))
        key = f"speed {shape} {rows} {spec.hard_negatives} {spec.train} {spec.test}"
        return self._once(
            key,
            lambda: measured(
                shape, self._config(spec, shape, longest), batch, texts, self.execution
            ),
        )

    def _reader(self, spec: Spec) -> Reader:
        make = lambda: Reader(spec.encoder, spec.test.name, self.places)  # noqa: E731
        return self._once(f"reader {spec.encoder!r} {spec.test.name}", make)

    def _at_hand(self, ref: DataRef) -> bool:
        return catalog.is_embedded(ref.name) or found_in(ref.digest, self.places) is not None

    def _benchmark(self, ref: DataRef) -> Any:
        return self._once(f"open {ref!r}", lambda: catalog.open_benchmark(ref, self.places), True)

    def _evaluated(self, spec: Spec, ref: DataRef) -> Evaluated:
        """Texts of a benchmark as the spec's encoder reads them."""
        reader = self._reader(spec)
        if not self._at_hand(ref):
            return reader.typical(ref)
        benchmark = self._benchmark(ref)
        key = f"evaluated {spec.encoder!r} {ref!r}"
        return self._once(key, lambda: reader.benchmark(benchmark))

    def _trained(self, spec: Spec) -> Trained | None:
        """Texts of the training data as the spec's encoder reads them; None without training."""
        ref = spec.train
        if ref is None:
            return None
        reader, languages = self._reader(spec), spec.languages or ()
        if not self._at_hand(ref):
            hard = spec.negatives is not None
            return reader.typical_training(ref, len(languages), negatives=hard)
        options = {"aligned": spec.rows is None, "negatives": spec.negatives is not None}
        data = self._once(
            f"open {ref!r} {options}",
            lambda: catalog.open_training(ref, self.places, **options),
            True,
        )
        if self._at_hand(spec.test):
            tested = self._benchmark(spec.test)
            self._once(f"overlap {ref!r} {spec.test!r}", lambda: contamination(data, tested), True)
        key = f"trained {spec.encoder!r} {ref!r} {languages} {options}"
        known = key in self._known
        trained_on = self._once(key, lambda: reader.training(data, languages))
        if not known:
            roles = (trained_on.queries, trained_on.passages, trained_on.negatives)
            self.opening += sum(texts.count * texts.seconds for texts in roles)
        return trained_on

    def _memory(
        self,
        spec: Spec,
        shape: Shape,
        step: Step,
        words: int,
        read: list[Evaluated],
        training: Trained | None,
    ) -> Memory:
        """Bytes at the peak, evaluations and texts included."""
        texts = [texts for each in read for texts in (each.queries, each.passages)]
        memory = Memory(parameters=FLOAT * shape.parameters)
        if training is not None:
            texts += [training.queries, training.passages, training.negatives]
            memory = training_memory(shape, words, step.held, self.execution)
        best = FLOAT * trained(shape, words) if training and spec.select == "best" else 0
        sizes = [(x.queries.count, x.passages.count) for x in read]
        return replace(
            memory,
            best=best,
            checkpoint=memory.checkpoint + best,
            data=sum(role.size for role in texts),
            evaluation=max(evaluation_bytes(shape, *size, self.execution) for size in sizes),
        )

    def _evaluation_seconds(self, shape: Shape, texts_of: Evaluated, speed: Speed) -> float:
        """Tokenising, encoding and ranking once."""
        seconds = texts_of.queries.count * texts_of.passages.count * speed.score
        for texts in (texts_of.queries, texts_of.passages):
            if len(texts.tokens) and texts.count:
                operations = encoding(shape, texts.tokens, self.execution)
                seconds += operations * texts.count / len(texts.tokens) / speed.encode
                seconds += texts.count * texts.seconds
        return seconds

    def _once(self, key: str, make: Callable[[], T], counted: bool = False) -> T:
        """What `make` made the first time; the seconds of what a worker does too are `counted`."""
        if key not in self._known:
            start = time.perf_counter()
            self._known[key] = make()
            self.opening += counted * (time.perf_counter() - start)
        known: T = self._known[key]
        return known


def evaluations(spec: Spec) -> list[tuple[DataRef, int]]:
    """The benchmarks that a trial evaluates, the tested one first, and how often each."""
    every = [(spec.test, 1)]
    if spec.validation is not None:
        every.append((spec.validation, 1 + spec.steps // (spec.evaluate_every or spec.steps + 1)))
    return every + [(ref, 1) for ref in spec.also or ()]


def drawn(training: Trained, spec: Spec) -> list[Lengths]:
    """Tokens of the queries, passages and hard negatives of a few batches."""
    rng, size = np.random.default_rng(0), spec.batch_size or 0
    extra = (spec.hard_negatives or 1) * size if spec.negatives is not None else 0
    roles = [(training.queries, size), (training.passages, size), (training.negatives, extra)]
    return [
        np.concatenate([rng.choice(texts.tokens, n) for texts, n in roles if len(texts.tokens)])
        for _ in range(BATCHES)
    ]


def step_seconds(shape: Shape, step: Step, words: int, speed: Speed) -> float:
    """Of one optimizer step; none where nothing is trained."""
    if not step.operations:
        return 0.0
    looked_up = words * shape.hidden * step.passes * speed.lookup
    moved = trained(shape, words) * speed.update
    return STEP_SECONDS + step.operations / speed.train + moved + looked_up
