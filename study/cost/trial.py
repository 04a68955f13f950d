"""What one trial takes: its texts, over the rates of its device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from study.cost.counts import FLOAT, Counts, count_images, count_text
from study.cost.inputs_needed import found_in
from study.cost.speed import Speed, data_sheet_speed, measure_speed
from study.cost.texts import Corpus, Library
from study.cost.work import Lengths, Step, encoding, evaluation_bytes, training_step
from trainables.data import catalog
from trainables.encoders.architectures import Architecture, architecture
from trainables.spec import DataRef, Execution, Spec

BATCHES = 16
"""Batches draw_batches from the sample of texts, whose mean is a step."""

STEP_SECONDS = 0.003
"""Of a step beside the encoder, the loss and AdamW, at 64 rows on the CPU here, measured."""

LOAD_BYTES = 0.5e9
"""Of a checkpoint, hashed and loaded in a second: assumed."""

PROCESS_BYTES = 500_000_000
"""Of a process that has imported torch, transformers and datasets, measured."""

ALLOCATED = 1.2
"""What the allocator takes for each byte of activations: 1.2 to 1.3 in trials of MiniLM here."""


@dataclass(frozen=True)
class Memory:
    """Bytes of a trial at its peak.

    Attributes:
        compute: Where it computes: weights, gradients, moments and activations of training or
            evaluation; on an accelerator without its driver's share, on the CPU with all else.
        host: Beside an accelerator: weights pass through it when they are loaded.
        checkpoint: What is trained and its moments, also on disk; where `select` is `best`, a
            copy of the best encoder too.
    """

    compute: int
    host: int
    checkpoint: int


@dataclass(frozen=True)
class Cost:
    """What one trial takes.

    Attributes:
        operations: Of training and evaluations.
        memory: Bytes.
        step: Of training.
        load: Seconds to open the encoder.
        train: Seconds of all steps.
        evaluate: Seconds of all evaluations, those on validation data included.
        basis: Whence texts and rates are known.
    """

    operations: float
    memory: Memory
    step: Step
    load: float = 0.0
    train: float = 0.0
    evaluate: float = 0.0
    basis: tuple[str, ...] = ()

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
        accelerator: Key of `speed.ACCELERATORS`; None for the CPU.
        pictures: Seconds to compute the vectors of pictures that a study computes once, by image
            tower and data.
    """

    places: Mapping[str, str]
    execution: Execution
    accelerator: str | None
    pictures: dict[tuple[str, DataRef], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open nothing yet."""
        self.library = Library(self.places)

    def needs(self, spec: Spec) -> tuple[float, float]:
        """Operations of training and evaluations, and bytes at the peak, without any rate."""
        cost = self.cost(spec, with_seconds=False)
        return cost.operations, cost.memory.compute

    def cost(self, spec: Spec, *, with_seconds: bool = True) -> Cost:
        """Of one trial; what is computed once for several is added to `pictures`.

        Args:
            spec: Of the trial.
            with_seconds: Whether seconds are estimated too, for which rates are measured.
        """
        built, text, images = self._counts(spec)
        live = images if spec.image_tower == "live" else None
        data = [(ref, n, self.library.of_benchmark(spec, ref)) for ref, n in evaluations(spec)]
        batches, words, moved, rows = [], 0, 0, spec.batch_size or 0
        if spec.train is not None:
            training = self.library.of_training(spec, spec.train)
            data.insert(0, (spec.train, 0, training))
            batches = draw_batches(training, spec)
            words = min(text.words, training.words or text.words)
            moved = text.trainable(words) + (live.parameters if live else 0)
        step = Step.mean([training_step(text, x, rows, self.execution, live) for x in batches])
        encoded = sum(n * self._encoding(text, live, corpus) for _, n, corpus in data)
        weights = text.parameters + words * text.word + (images.parameters if images else 0)
        memory = self._memory(
            weights=FLOAT * weights,
            moved=FLOAT * moved,
            passes=max(
                int(ALLOCATED * step.activations),
                *(evaluation_bytes(text, *x.sizes, self.execution) for _, n, x in data if n),
            ),
            best=FLOAT * moved if spec.select == "best" else 0,
            data=sum(texts.size for *_, corpus in data for texts in corpus.roles),
        )
        cost = Cost(spec.steps * step.operations + encoded, memory, step)
        if not with_seconds:
            return cost
        if self.accelerator is not None:
            speed = data_sheet_speed(self.accelerator, self.execution.precision, text.vector)
        else:
            texts = [each.tokens for each in data[-1][2].roles]
            lengths = batches[0] if batches else np.concatenate(texts)
            speed = self.library.once(
                (text, rows, spec.hard_negatives, spec.train, spec.test),
                lambda: measure_speed(built, text, lengths, self.execution),
            )
        basis = [f"{ref.name}: {corpus.basis}" for ref, _, corpus in data]
        if any(corpus.pictures for *_, corpus in data):
            basis.append(f"{spec.encoder.name}: {self._pictures(spec, images, data, speed)}")
        if not text.is_counted:
            kind = built.config.model_type
            basis.append(f"model type {kind}: 2 operations a parameter and token, assumed")
        pairs = sum(n * corpus.sizes[0] * corpus.sizes[1] for _, n, corpus in data)
        tokenising = sum(n * x.count * x.seconds for _, n, corpus in data for x in corpus.roles)
        return replace(
            cost,
            load=FLOAT * text.parameters / LOAD_BYTES,
            train=spec.steps * step_seconds(step, moved, speed),
            evaluate=encoded / speed.encode + pairs * speed.score + tokenising,
            basis=(*dict.fromkeys(basis), speed.basis),
        )

    def _counts(self, spec: Spec) -> tuple[Architecture, Counts, Counts | None]:
        """How the encoder is built, its text tower, and its image tower where data have any."""
        name, folder = spec.encoder.name, found_in(spec.encoder.digest, self.places)
        seeing = catalog.has_pictures(spec.test.name)

        def count() -> tuple[Architecture, Counts, Counts | None]:
            built = architecture(name, folder)
            images = count_images(built, self.execution) if seeing else None
            return built, count_text(built, self.execution), images

        return self.library.once((name, folder, seeing), count)

    def _encoding(self, text: Counts, live: Counts | None, corpus: Corpus) -> float:
        """Operations of embedding a benchmark once; of pictures only where training moves them."""
        total = corpus.pictures * live.forward(1, live.picture) if live else 0.0
        for texts in corpus.roles:
            if len(texts.tokens) and texts.count:
                sample = encoding(text, texts.tokens, self.execution)
                total += sample * texts.count / len(texts.tokens)
        return total

    def _memory(self, *, weights: int, moved: int, passes: int, best: int, data: int) -> Memory:
        """The peak, by bytes of weights, of trained ones, of passes, of the best copy, of data."""
        checkpoint, state = 3 * moved + best, weights + 3 * moved
        host = PROCESS_BYTES + data + best
        on_cpu = host + state + max(passes, checkpoint)
        compute = state + passes if self.execution.device == "cuda" else on_cpu
        return Memory(compute, host + max(weights, checkpoint), checkpoint)

    def _pictures(
        self,
        spec: Spec,
        images: Counts | None,
        data: list[tuple[DataRef, int, Corpus]],
        speed: Speed,
    ) -> str:
        """Note what pictures take that a study embeds once, and say how they are counted."""
        if images is None:
            return "computing the vectors of pictures is not counted"
        if spec.image_tower == "live":
            return "pictures are computed in each step and evaluation"
        each = images.forward(1, images.picture) / speed.encode
        for ref, _, corpus in data:
            self.pictures[spec.encoder.digest, ref] = corpus.pictures * each
        return "vectors of pictures are computed once a study"


def evaluations(spec: Spec) -> list[tuple[DataRef, int]]:
    """The benchmarks that a trial evaluates, the tested one first, and how often each."""
    every = [(spec.test, 1)]
    if spec.validation is not None:
        every.append((spec.validation, 1 + spec.steps // (spec.evaluate_every or spec.steps + 1)))
    return every + [(ref, 1) for ref in spec.also or ()]


def draw_batches(training: Corpus, spec: Spec) -> list[Lengths]:
    """Tokens of the queries, passages and hard negatives of a few batches."""
    rng, size = np.random.default_rng(0), spec.batch_size or 0
    extra = (spec.hard_negatives or 1) * size if spec.negatives is not None else 0
    roles = zip(training.roles, (size, size, extra), strict=True)
    parts = [(texts.tokens, count) for texts, count in roles if len(texts.tokens)]
    return [np.concatenate([rng.choice(*part) for part in parts]) for _ in range(BATCHES)]


def step_seconds(step: Step, moved: int, speed: Speed) -> float:
    """Of one optimizer step that moves so many parameters; none where nothing is trained."""
    if not step.operations:
        return 0.0
    return STEP_SECONDS + step.operations / speed.train + moved * speed.update
