"""Cost of one trial: seconds from its texts and the rates of its device, and peak memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from study.cost.counts import FLOAT, Counts, count_images, count_text
from study.cost.inputs_needed import local_folder
from study.cost.speed import Speed, data_sheet_speed, measure_speed
from study.cost.texts import Corpus, Library
from study.cost.work import Lengths, Step, encoding, evaluation_bytes, training_step
from trainables.data import catalog
from trainables.encoders.architectures import Architecture, architecture
from trainables.spec import DataRef, Execution, Spec

BATCHES = 16
"""Number of batches drawn from the sample of texts; a step is estimated as their mean."""

STEP_SECONDS = 0.003
"""Seconds of a step beside encoder, loss and AdamW: measured on a CPU with 64 rows."""

LOAD_BYTES = 0.5e9
"""Bytes of a checkpoint that are hashed and loaded per second: assumed."""

PROCESS_BYTES = 500_000_000
"""Memory of a process that has imported torch, transformers and datasets: measured."""

ALLOCATED = 1.2
"""Bytes allocated per byte of activations: 1.2 to 1.3, measured in trials of MiniLM."""


@dataclass(frozen=True)
class Memory:
    """Peak memory of a trial in bytes.

    Attributes:
        compute: Weights, gradients, moments and activations on the device that computes; on an
            accelerator without its driver's share, on the CPU with everything else.
        host: Host memory beside an accelerator; weights pass through it when loaded.
        checkpoint: Trained parameters and moments, also on disk; with `select: best`, a copy of
            the best encoder too.
    """

    compute: int
    host: int
    checkpoint: int


@dataclass(frozen=True)
class Cost:
    """Estimated cost of one trial.

    Attributes:
        operations: Operations of training and evaluations.
        memory: Peak memory.
        step: One training step.
        load: Seconds to open the encoder.
        train: Seconds of all steps.
        evaluate: Seconds of all evaluations, those on validation data included.
        basis: Sources of sizes and rates, as printed.
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
        """Seconds of the trial once its data are open."""
        return self.load + self.train + self.evaluate


@dataclass(frozen=True, eq=False)
class _Work:
    """Work of one trial, before any rate.

    Attributes:
        built: Architecture of the encoder.
        text: Size of the text tower.
        images: Size of the image tower; None without pictures or if unknown.
        data: Training data with 0, then each benchmark with its number of evaluations.
        batches: Tokens of each text of a few batches; empty if nothing is trained.
        words: Rows of the trimmed embedding table; 0 if nothing is trained.
        moved: Number of trained parameters.
        step: Mean training step.
        encoded: Operations of all evaluations.
    """

    built: Architecture
    text: Counts
    images: Counts | None
    data: list[tuple[DataRef, int, Corpus]]
    batches: list[Lengths]
    words: int
    moved: int
    step: Step
    encoded: float


@dataclass
class Estimator:
    """Estimator of trial costs that opens data and measures rates once.

    Attributes:
        places: Local folders of data and checkpoints, by digest.
        execution: Execution of every trial.
        accelerator: Key of `speed.ACCELERATORS`; None for the CPU.
        pictures: Seconds to compute vectors of pictures once a study, by digest of the encoder
            and data.
    """

    places: Mapping[str, str]
    execution: Execution
    accelerator: str | None
    pictures: dict[tuple[str, DataRef], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Create an empty library."""
        self.library = Library(self.places)

    def needs(self, spec: Spec) -> tuple[float, float]:
        """Return a trial's operations and its peak bytes of `compute`, without measuring rates."""
        cost = self.cost(spec, with_seconds=False)
        return cost.operations, cost.memory.compute

    def cost(self, spec: Spec, *, with_seconds: bool = True) -> Cost:
        """Estimate one trial; seconds of vectors that trials share are added to `pictures`.

        Args:
            spec: Spec of the trial.
            with_seconds: Whether to estimate seconds too, which needs measured rates.
        """
        work = self._work(spec)
        operations = spec.steps * work.step.operations + work.encoded
        cost = Cost(operations, self._memory(spec, work), work.step)
        return self._with_seconds(cost, spec, work) if with_seconds else cost

    def _work(self, spec: Spec) -> _Work:
        """Open the data of a trial and count its operations."""
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
        return _Work(built, text, images, data, batches, words, moved, step, encoded)

    def _memory(self, spec: Spec, work: _Work) -> Memory:
        """Add up the peak memory of a trial."""
        text, images, data = work.text, work.images, work.data
        weights = FLOAT * (
            text.parameters + work.words * text.word + (images.parameters if images else 0)
        )
        moved = FLOAT * work.moved
        best = moved if spec.select == "best" else 0
        passes = max(
            int(ALLOCATED * work.step.activations),
            *(evaluation_bytes(text, *x.sizes, self.execution) for _, n, x in data if n),
        )
        checkpoint, state = 3 * moved + best, weights + 3 * moved
        host = PROCESS_BYTES + best + sum(x.size for *_, corpus in data for x in corpus.roles)
        on_cpu = host + state + max(passes, checkpoint)
        compute = state + passes if self.execution.device == "cuda" else on_cpu
        return Memory(compute, host + max(weights, checkpoint), checkpoint)

    def _with_seconds(self, cost: Cost, spec: Spec, work: _Work) -> Cost:
        """Add seconds to a cost, and the sources of all sizes and rates."""
        text, data, speed = work.text, work.data, self._speed(spec, work)
        basis = [f"{ref.name}: {corpus.basis}" for ref, _, corpus in data]
        if any(corpus.pictures for *_, corpus in data):
            basis.append(f"{spec.encoder.name}: {self._pictures(spec, work, speed)}")
        if not text.is_counted:
            kind = work.built.config.model_type
            basis.append(f"model type {kind}: 2 operations a parameter and token, assumed")
        pairs = sum(n * corpus.sizes[0] * corpus.sizes[1] for _, n, corpus in data)
        tokenising = sum(n * x.count * x.seconds for _, n, corpus in data for x in corpus.roles)
        return replace(
            cost,
            load=FLOAT * text.parameters / LOAD_BYTES,
            train=spec.steps * step_seconds(work.step, work.moved, speed),
            evaluate=work.encoded / speed.encode + pairs * speed.score + tokenising,
            basis=(*dict.fromkeys(basis), speed.basis),
        )

    def _speed(self, spec: Spec, work: _Work) -> Speed:
        """Look up an accelerator's rates, or measure those of this CPU once for equal trials."""
        if self.accelerator is not None:
            return data_sheet_speed(self.accelerator, self.execution.precision, work.text.vector)
        texts = [role.tokens for role in work.data[-1][2].roles]
        lengths = work.batches[0] if work.batches else np.concatenate(texts)
        return self.library.once(
            (work.text, spec.batch_size or 0, spec.hard_negatives, spec.train, spec.test),
            lambda: measure_speed(work.built, work.text, lengths, self.execution),
        )

    def _counts(self, spec: Spec) -> tuple[Architecture, Counts, Counts | None]:
        """Return the encoder's architecture, its text tower, and for pictures its image tower."""
        name, folder = spec.encoder.name, local_folder(spec.encoder.digest, self.places)
        has_pictures = catalog.has_pictures(spec.test.name)

        def count() -> tuple[Architecture, Counts, Counts | None]:
            built = architecture(name, folder)
            images = count_images(built, self.execution) if has_pictures else None
            return built, count_text(built, self.execution), images

        return self.library.once((name, folder, has_pictures), count)

    def _encoding(self, text: Counts, live: Counts | None, corpus: Corpus) -> float:
        """Return the operations to embed a corpus once; pictures count with a `live` tower only."""
        total = corpus.pictures * live.forward(1, live.picture) if live else 0.0
        for texts in corpus.roles:
            if len(texts.tokens) and texts.count:
                sample = encoding(text, texts.tokens, self.execution)
                total += sample * texts.count / len(texts.tokens)
        return total

    def _pictures(self, spec: Spec, work: _Work, speed: Speed) -> str:
        """Record the seconds of picture vectors that a study computes once; say how they count."""
        if work.images is None:
            return "computing the vectors of pictures is not counted"
        if spec.image_tower == "live":
            return "pictures are computed in each step and evaluation"
        seconds = work.images.forward(1, work.images.picture) / speed.encode
        for ref, _, corpus in work.data:
            self.pictures[spec.encoder.digest, ref] = corpus.pictures * seconds
        return "vectors of pictures are computed once a study"


def evaluations(spec: Spec) -> list[tuple[DataRef, int]]:
    """List the benchmarks that a trial evaluates, the test first, and how often each."""
    times = [(spec.test, 1)]
    if spec.validation is not None:
        times.append((spec.validation, 1 + spec.steps // (spec.evaluate_every or spec.steps + 1)))
    return times + [(ref, 1) for ref in spec.also or ()]


def draw_batches(training: Corpus, spec: Spec) -> list[Lengths]:
    """Draw `BATCHES` batches: tokens of their queries, passages and hard negatives."""
    rng, size = np.random.default_rng(0), spec.batch_size or 0
    extra = (spec.hard_negatives or 1) * size if spec.negatives is not None else 0
    roles = zip(training.roles, (size, size, extra), strict=True)
    parts = [(texts.tokens, count) for texts, count in roles if len(texts.tokens)]
    return [np.concatenate([rng.choice(*part) for part in parts]) for _ in range(BATCHES)]


def step_seconds(step: Step, moved: int, speed: Speed) -> float:
    """Return the seconds of an optimizer step on `moved` parameters; 0 if nothing is trained."""
    if not step.operations:
        return 0.0
    return STEP_SECONDS + step.operations / speed.train + moved * speed.update
