"""Pictures with captions as rows of a contrastive batch, in the shape of all training data."""

from __future__ import annotations

from collections.abc import Mapping

from trainables.data import catalog
from trainables.data.benchmark import TrainingSet
from trainables.data.catalog import open_picture_training
from trainables.data.pictures import PictureTraining
from trainables.errors import UserError
from trainables.spec import DataRef


def training_set(training: PictureTraining) -> TrainingSet:
    """Captions as queries and as passages, the pictures beside them.

    Row r's gold is its picture, so that all rows of a picture are false negatives of each other.

    Raises:
        UserError: The pictures are not at hand.
    """
    training.refuse_if_incomplete()
    captions = {language: list(training.captions[language]) for language in training.languages}
    return TrainingSet(
        name=training.name,
        questions=list(training.rows),
        golds=[picture.id for picture in training.pictures],
        clusters=list(training.clusters),
        queries=captions,
        passages=captions,
        pictures=list(training.pictures),
    )


def open_rows(
    ref: DataRef, places: Mapping[str, str], *, aligned: bool = True, negatives: bool = False
) -> TrainingSet:
    """Load the very training data that `ref` names, with its pictures where it has any.

    Raises:
        UserError: As `catalog.open_training`, or hard negatives are asked of pictures.
    """
    if not catalog.has_pictures(ref.name):
        return catalog.open_training(ref, places, aligned=aligned, negatives=negatives)
    if negatives:
        raise UserError(
            f"{ref.name} has pictures and no hard negatives; use --set negatives=in_batch"
        )
    return training_set(open_picture_training(ref, places, aligned=aligned))
