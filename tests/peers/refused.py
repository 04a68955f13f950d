"""Checkpoint folders that are refused by name, though a text could be encoded, and why.

Written before the code that refuses. Everything else in `tests.peers.folders` loads, to the same
vectors as in sentence-transformers.
"""

from __future__ import annotations

REFUSED = {
    "adapter beside weights": (
        "adapter_config.json: which weights are meant is not said, and sentence-transformers "
        "itself needs peft for it; merge_and_unload and save"
    ),
    "adapter instead of weights": (
        "its base model lies outside of the folder, where no digest covers it"
    ),
    "dot product of vectors of any length": (
        "training and evaluation here compare vectors of length 1; without a Normalize the dot "
        "product ranks otherwise"
    ),
    "pooling without the prompt": (
        "how many tokens are the prompt's is not known where tokens are cached and trained on"
    ),
    "passage prompt without document prompt": (
        "encode_document is documented to take the prompt `passage`, and in version 6.2 takes "
        "none: two readings, so the user says which (passage_prefix)"
    ),
    "dense layer over tokens": "a multi-vector model, whose scores are not those of one vector",
    "recurrent module": "LSTM, CNN, word embeddings and their like are not transformers",
    "encoder with decoder": "what BART's decoder says of a text is no embedding that was trained",
}
