"""Vocabulary trimming: train only the word embeddings that training texts use, exactly.

Of multilingual-e5-small's 118 M parameters, 96 M are word embeddings, most of which a study never
uses. Their gradient is zero and they have no weight decay, so AdamW does not change them; without
them, training takes less memory and time. Every text can still be embedded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from trainables.encoders.padding import Tokens

if TYPE_CHECKING:
    from trainables.encoders.text import TextEncoder


class TrimmedEmbedding(nn.Embedding):
    """Embedding with a trainable row for each id in use, and a frozen table for all others.

    `weight` holds only the trainable rows, so these are what optimizer and checkpoints see.
    """

    def __init__(self, whole: nn.Embedding, used: Tensor) -> None:
        """Trim an embedding.

        Args:
            whole: Embedding to trim; its table is kept, frozen.
            used: (k,) ascending ids that occur in training, with the padding id.
        """
        place = torch.full((whole.num_embeddings,), -1, dtype=torch.int64, device=used.device)
        place[used] = torch.arange(len(used), device=used.device)
        padding = None if whole.padding_idx is None else int(place[whole.padding_idx])
        table = whole.weight.detach()
        super().__init__(
            len(used), whole.embedding_dim, padding, _weight=table[used].clone(), _freeze=False
        )
        self.register_buffer("used", used, persistent=False)
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("table", table, persistent=False)
        self.whole_padding = whole.padding_idx

    def forward(self, ids: Tensor) -> Tensor:
        """Embed ids of the whole vocabulary, of any shape (...), as (..., d).

        Raises:
            IndexError: In training, an id that `used` lacks (on a GPU, a device-side assertion).
        """
        place = self.get_buffer("place")[ids]
        if self.training:
            return F.embedding(place, self.weight, self.padding_idx)
        vectors = F.embedding(place.clamp(min=0), self.weight, self.padding_idx)
        frozen = place < 0
        if not frozen.any():
            return vectors
        return torch.where(frozen[..., None], F.embedding(ids, self.get_buffer("table")), vectors)

    def whole(self) -> nn.Embedding:
        """Return the embedding of the whole vocabulary, with the trained rows put back."""
        table = self.get_buffer("table").clone()
        table[self.get_buffer("used")] = self.weight.detach()
        rows, width = table.shape
        return nn.Embedding(rows, width, self.whole_padding, _weight=table)


def trim_vocabulary(encoder: TextEncoder, texts: Iterable[Tokens]) -> int:
    """Leave only the word embeddings of these texts to the optimizer.

    Create the optimizer after this call, and give embeddings no weight decay. Texts with other
    tokens are embedded as before. `encoder.save` writes the whole vocabulary.

    Args:
        encoder: Changed in place.
        texts: All token arrays that occur in training.

    Returns:
        Number of trainable rows.
    """
    model = encoder.model
    whole = model.get_input_embeddings()  # type: ignore[operator]
    if isinstance(whole, TrimmedEmbedding):
        whole = whole.whole()
    if type(whole) is not nn.Embedding:  # Gemma's subclass scales its rows: it stays whole
        return int(whole.num_embeddings)
    occurring = np.zeros(whole.num_embeddings, dtype=bool)
    occurring[encoder.tokenizer.pad_token_id] = True
    if whole.padding_idx is not None:
        occurring[whole.padding_idx] = True
    for tokens in texts:
        if len(tokens):
            occurring[np.concatenate(list(tokens))] = True
    used = torch.from_numpy(np.flatnonzero(occurring)).to(encoder.device)
    model.set_input_embeddings(TrimmedEmbedding(whole, used))  # type: ignore[operator]
    return len(used)


def restore_vocabulary(encoder: TextEncoder) -> None:
    """Undo `trim_vocabulary`, keeping the trained rows."""
    embedding = encoder.model.get_input_embeddings()  # type: ignore[operator]
    if isinstance(embedding, TrimmedEmbedding):
        encoder.model.set_input_embeddings(embedding.whole())  # type: ignore[operator]


@contextmanager
def whole_vocabulary(model: nn.Module) -> Iterator[None]:
    """Give a model its whole embedding within the context, as in a saved checkpoint."""
    embedding = model.get_input_embeddings()  # type: ignore[operator]
    if not isinstance(embedding, TrimmedEmbedding):
        yield
        return
    model.set_input_embeddings(embedding.whole())  # type: ignore[operator]
    try:
        yield
    finally:
        model.set_input_embeddings(embedding)  # type: ignore[operator]
