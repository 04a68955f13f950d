"""Pictures with captions by name, as `catalog` loads texts.

`load_picture_benchmark(...).benchmark("t2i")` and `.benchmark("i2t")` are what evaluations read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainables.data.catalog import request_for, source, table, untrained, verified
from trainables.data.pictures import PictureBenchmark, PictureTraining
from trainables.errors import UserError
from trainables.spec import DataRef


def names() -> list[str]:
    """All names that `load_picture_benchmark` knows."""
    return sorted(name for name, found in table().items() if found.pictures is not None)


def load_picture_benchmark(
    name: str,
    path: str | Path | None = None,
    languages: Sequence[str] | None = None,
    *,
    part: str | None = None,
    skip_malformed: bool = False,
) -> PictureBenchmark:
    """Load pictures and their captions to evaluate on; no picture is decoded yet.

    Args:
        name: One of `names()`.
        path: The folder with the source's own files, or one that holds it under the source's
            name; not for `scenes`.
        languages: BCP-47 codes to keep; all the source has by default.
        part: One of the source's parts.
        skip_malformed: Leave out malformed rows and pictures that are missing or damaged, and
            count them in `dropped`.

    Raises:
        UserError: An unknown name, language or part, files that are not as they should be, or a
            picture that is missing or damaged. Where no picture is there at all, `refusal` of
            what is returned says so: it can be counted, not evaluated.
    """
    found = source(name)
    if found.pictures is None:
        raise UserError(f"{name} has no pictures; those that have are {', '.join(names())}")
    return found.pictures(request_for(found, path, languages, part, None, skip_malformed))


def load_picture_training(
    name: str,
    path: str | Path | None = None,
    languages: Sequence[str] | None = None,
    *,
    part: str | None = None,
    skip_malformed: bool = False,
    aligned: bool = True,
) -> PictureTraining:
    """Load pictures and their captions to train on; arguments and errors as above.

    Args:
        name: Of a source that can be trained on.
        path: As above, like those that follow.
        languages: BCP-47 codes.
        part: A part that may be trained on.
        skip_malformed: Leave out what is malformed.
        aligned: Keep the rows that exist in all of `languages`, so that every arm sees the same
            pictures; otherwise all rows, with gaps.
    """
    found = source(name)
    if found.picture_training is None:
        raise UserError(
            f"{name} has no pictures; those that have are {', '.join(names())}"
            if found.pictures is None
            else untrained(found)
        )
    request = request_for(found, path, languages, part, None, skip_malformed, training=True)
    training = found.picture_training(request)
    return training.restrict(languages or training.languages, aligned=aligned)


def open_picture_benchmark(ref: DataRef, places: Mapping[str, str]) -> PictureBenchmark:
    """Load the very pictures and captions that `ref` names (`catalog.reference` makes it).

    Args:
        ref: What to load.
        places: Digest to folder, for data that lie in files.

    Raises:
        UserError: The files, of captions or of pictures, are not those that `ref` was made from.
    """
    return load_picture_benchmark(
        ref.name,
        verified(ref, places, training=False),
        ref.languages,
        part=ref.part,
        skip_malformed=bool(ref.skip_malformed),
    )


def open_picture_training(
    ref: DataRef, places: Mapping[str, str], *, aligned: bool = True
) -> PictureTraining:
    """Load the very training data that `ref` names; errors and arguments as above."""
    return load_picture_training(
        ref.name,
        verified(ref, places, training=True),
        ref.languages,
        part=ref.part,
        skip_malformed=bool(ref.skip_malformed),
        aligned=aligned,
    )
