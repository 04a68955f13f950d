"""Train only the word embeddings that the training texts use: exact, and much smaller.

Of multilingual-e5-small's 118 M parameters 96 M are word embeddings, most of them of words that a
study never meets. Their gradient is zero, and embeddings are spared weight decay, so AdamW leaves
them where they are; here it need not drag them along. Every text can still be embedded.
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
    """An embedding with a trainable row for each id in use and a frozen table for all others.

    `weight` holds the trainable rows alone: that is what the optimizer and checkpoints see.
    """

    def __init__(self, whole: nn.Embedding, used: Tensor) -> None:
        """Trim an embedding.

        Args:
            whole: The embedding to trim; its table is kept, frozen.
            used: (k,) ascending ids that training meets, the padding id among them.
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
        """Embed ids of the whole vocabulary: (..., d) from (...).

        Raises:
            IndexError: In training, an id that `used` lacks (on a GPU, an assertion of the device).
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
        """The embedding of the whole vocabulary, trained rows put back."""
        table = self.get_buffer("table").clone()
        table[self.get_buffer("used")] = self.weight.detach()
        rows, width = table.shape
        return nn.Embedding(rows, width, self.whole_padding, _weight=table)


def trim_vocabulary(encoder: TextEncoder, texts: Iterable[Tokens]) -> int:
    """Leave only the word embeddings of these texts to the optimizer.

    Make the optimizer after this call, and give embeddings no weight decay. Texts with other
    tokens are embedded as before. `encoder.save` writes the whole vocabulary.

    Args:
        encoder: Changed in place.
        texts: All token arrays that training will meet.

    Returns:
        Number of rows left to train.
    """
    model = encoder.model
    whole = model.get_input_embeddings()  # type: ignore[operator]
    if isinstance(whole, TrimmedEmbedding):
        whole = whole.whole()
    if type(whole) is not nn.Embedding:  # Gemma's scales its rows: it stays whole
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
    """Undo `trim_vocabulary`, keeping what was trained."""
    embedding = encoder.model.get_input_embeddings()  # type: ignore[operator]
    if isinstance(embedding, TrimmedEmbedding):
        encoder.model.set_input_embeddings(embedding.whole())  # type: ignore[operator]


@contextmanager
def whole_vocabulary(model: nn.Module) -> Iterator[None]:
    """Give a model its whole embedding for a while, as in a saved checkpoint."""
    embedding = model.get_input_embeddings()  # type: ignore[operator]
    if not isinstance(embedding, TrimmedEmbedding):
        yield
        return
    model.set_input_embeddings(embedding.whole())  # type: ignore[operator]
    try:
        yield
    finally:
        model.set_input_embeddings(embedding)  # type: ignore[operator]
