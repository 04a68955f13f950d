"""What a trial reads: training rows and benchmarks, and what they share."""

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
    """What a trial reads, and what its training was found to share with each benchmark."""

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
    """Load and check data once for all trials that an actor runs on them."""
    where = dict(places)
    benchmark = catalog.open_benchmark(test, where)
    training = None
    if train is not None:
        training = catalog.open_training(train, where, aligned=aligned, negatives=negatives)

    def shared(judged: Benchmark) -> Contamination | None:
        if training is None:
            return None
        return contamination(training, judged)

    further = [catalog.open_benchmark(ref, where) for ref in also]
    return Data(
        train=training,
        test=benchmark,
        validation=None if validation is None else catalog.open_benchmark(validation, where),
        overlap=shared(benchmark),
        also=tuple((each, shared(each)) for each in further),
    )


def zero_shot(spec: Spec, data: Data) -> dict[str, Any]:
    """What may be claimed (law 8): of the trial's own training and the encoder's before it.

    On the test benchmark, and under `also` on each further one.
    """

    def claim(name: str, overlap: Contamination | None) -> dict[str, Any]:
        same = spec.train is not None and spec.train.name == name
        whole = with_pretraining(overlap, spec.encoder.name, name)
        return whole.to_json() | {"same_source": same and not catalog.is_embedded(name)}

    further = {each.name: claim(each.name, overlap) for each, overlap in data.also}
    return claim(spec.test.name, data.overlap) | ({"also": further} if further else {})
