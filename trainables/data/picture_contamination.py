"""Do the training data hold the pictures, or the captions, that an evaluation asks for?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from trainables.data.contamination import (
    Contamination,
    Finding,
    equal_ids,
    equal_texts,
    verdict,
)
from trainables.data.corpus import TrainingSet
from trainables.data.pictures import Picture, PictureBenchmark
from trainables.data.tables import cell_bytes


def picture_contamination(training: TrainingSet, benchmark: PictureBenchmark) -> Contamination:
    """Look for evaluation items in training data.

    Of pictures against pictures by id (photographs have one name in all sources), by the bytes of
    their files and by cluster; of captions, and of texts where training has no pictures, by text.
    A picture that was scaled or compressed again and renamed is not seen.

    Args:
        training: Pictures with captions, or texts alone.
        benchmark: Pictures with captions.
    """
    captions = [c.text for items in benchmark.captions.values() for c in items]
    texts = [*training.queries.values(), *training.passages.values()]
    trained = list(dict.fromkeys(text for column in texts for text in column if text))
    evaluated = list(dict.fromkeys(captions))
    ids = [picture.id for picture in training.pictures]
    clusters = sorted({picture.cluster for picture in benchmark.pictures})
    findings = (
        equal_ids("picture ids", ids, [picture.id for picture in benchmark.pictures]),
        equal_ids("picture clusters", training.clusters if ids else (), clusters),
        equal_pictures(training.pictures, benchmark.pictures),
        equal_texts("equal captions", trained, evaluated),
    )
    if not ids:
        return verdict(training, set(benchmark.languages), findings[3:])
    # pictures have no language, so they can be looked for whatever the captions are in
    found = verdict(training, {*benchmark.languages, *training.languages[:1]}, findings)
    blind = [*found.blind, "pictures that were scaled or compressed again under another name"]
    return Contamination(found.verdict, found.findings, tuple(blind))


def equal_pictures(trained: Sequence[Picture], evaluated: Sequence[Picture]) -> Finding:
    """Evaluated pictures whose files are equal to one that is trained on, byte by byte.

    Only files of equal sizes are read.
    """
    sizes = {_size(picture) for picture in evaluated}
    distinct = {picture.id: picture for picture in trained if _size(picture) in sizes}
    held = set(map(_digest, distinct.values()))
    near = {_size(picture) for picture in distinct.values()}
    found = [p.id for p in evaluated if _size(p) in near and _digest(p) in held]
    return Finding("equal pictures", len(found), len(evaluated), tuple(_first(found, 5)))


def _first(names: Iterable[str], most: int) -> list[str]:
    return [name[:80] for name, _ in zip(names, range(most), strict=False)]


def _size(picture: Picture) -> int:
    """Bytes of its file."""
    source = picture.source
    return source.stat().st_size if isinstance(source, Path) else len(_bytes(picture))


def _digest(picture: Picture) -> bytes:
    return hashlib.sha256(_bytes(picture)).digest()


def _bytes(picture: Picture) -> bytes:
    source = picture.source
    if isinstance(source, bytes):
        return source
    return source.read_bytes() if isinstance(source, Path) else cell_bytes(source)
