"""Data of a trial: training rows, benchmarks and the overlap between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trainables.data import catalog
from trainables.data.benchmark import Benchmark, TrainingSet
from trainables.data.contamination import Contamination, contamination
from trainables.data.pretraining import with_pretraining
from trainables.spec import DataRef, Spec


@dataclass(frozen=True)
class Data:
    """Data of a trial, and the overlap of its training data with each benchmark."""

    train: TrainingSet | None
    test: Benchmark
    validation: Benchmark | None
    overlap: Contamination | None
    also: tuple[tuple[Benchmark, Contamination | None], ...]


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
    """Load and check data, once for all trials on them that run in this process."""
    where = dict(places)
    benchmark = catalog.open_benchmark(test, where)
    training = None
    if train is not None:
        training = catalog.open_training(train, where, aligned=aligned, negatives=negatives)

    def shared(judged: Benchmark) -> Contamination | None:
        return None if training is None else contamination(training, judged)

    further = [catalog.open_benchmark(ref, where) for ref in also]
    return Data(
        train=training,
        test=benchmark,
        validation=None if validation is None else catalog.open_benchmark(validation, where),
        overlap=shared(benchmark),
        also=tuple((extra, shared(extra)) for extra in further),
    )


def zero_shot(spec: Spec, data: Data) -> dict[str, Any]:
    """State what may be claimed (law 8), given the trial's training and the encoder's pretraining.

    The claim is about the test benchmark, and under `also` about each further one.
    """

    def claim(name: str, overlap: Contamination | None) -> dict[str, Any]:
        same = spec.train is not None and spec.train.name == name
        whole = with_pretraining(overlap, spec.encoder.name, name)
        return whole.to_json() | {"same_source": same and not catalog.is_embedded(name)}

    further = {extra.name: claim(extra.name, overlap) for extra, overlap in data.also}
    return claim(spec.test.name, data.overlap) | ({"also": further} if further else {})
