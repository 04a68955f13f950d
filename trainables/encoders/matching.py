"""BLIP-2's image-text matching: a text and a picture read together (Li et al. 2023)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.data.pictures import Picture
from trainables.encoders.encoder import Embeddings
from trainables.encoders.families import find_checkpoint
from trainables.encoders.formats import load_part
from trainables.encoders.image_text import ImageTextEncoder
from trainables.encoders.modules import read_config
from trainables.errors import UserError

PAIRS_AT_ONCE = 32
KEPT = 256
"""Pictures whose patches stay in memory: of BLIP-2's ViT-g 1.4 MB each."""


class Blip2Matcher:
    """The logit that a text and a picture match, of a `Blip2ForImageTextRetrieval` checkpoint.

    It is for evaluation only and is never trained.
    """

    def __init__(self, model: Any, encoder: ImageTextEncoder) -> None:
        """Put the parts together; `load` reads them.

        Args:
            model: With the head of image-text matching.
            encoder: Of the same checkpoint: how texts are tokenised and pictures preprocessed.
        """
        self.model, self.encoder = model.to(encoder.device), encoder
        self._patches: OrderedDict[str, Tensor] = OrderedDict()

    @classmethod
    def load(cls, source: str | Path, encoder: ImageTextEncoder | None = None) -> Blip2Matcher:
        """Read a checkpoint.

        Args:
            source: A folder or a hub id in the hub's local cache.
            encoder: Of the same checkpoint, if it is open already.

        Raises:
            UserError: No such checkpoint, or one without the head.
        """
        folder = find_checkpoint(source)
        if (kind := read_config(folder, str(source))["model_type"]) != "blip-2":
            raise UserError(f"{source}: a {kind} matches no pairs; name a BLIP-2 ITM checkpoint")
        model = load_part(folder, "Blip2ForImageTextRetrieval", "text_config")
        return cls(model, encoder or ImageTextEncoder.load(source))

    def match(self, texts: Sequence[str], pictures: Sequence[Picture]) -> Embeddings:
        """Return (n,) float32 logits, mean over the query tokens, that text i fits picture i."""
        tokens = self.encoder.tokenize_queries(texts)
        found = []
        with torch.inference_mode():
            for begin in range(0, len(texts), PAIRS_AT_ONCE):
                chosen = slice(begin, begin + PAIRS_AT_ONCE)
                states = torch.stack([self._seen(picture) for picture in pictures[chosen]])
                found.append(self._logits(tokens[chosen], states).float().cpu().numpy())
        return np.concatenate(found) if found else np.empty(0, np.float32)

    def _logits(self, tokens: Sequence[Any], states: Tensor) -> Tensor:
        """As `Blip2ForImageTextRetrieval`, from what its vision model made of the pictures."""
        model, device = self.model, states.device
        width = max(map(len, tokens))
        ids = torch.full((len(tokens), width), self.encoder.tokenizer.pad_token_id, device=device)
        queries = model.query_tokens.expand(len(tokens), -1, -1)
        mask = torch.zeros(len(tokens), queries.shape[1] + width, dtype=torch.long, device=device)
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = torch.from_numpy(one)
            mask[row, : queries.shape[1] + len(one)] = 1
        read = model.qformer(
            query_embeds=model.embeddings(input_ids=ids, query_embeds=queries),
            query_length=queries.shape[1],
            attention_mask=mask,
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long, device=device),
        ).last_hidden_state
        logits: Tensor = model.itm_head(read[:, : queries.shape[1]])[..., 1].mean(1)
        return logits

    def _seen(self, picture: Picture) -> Tensor:
        """(patches, hidden) of a picture, the last of them kept."""
        if picture.id not in self._patches:
            tower: Any = self.encoder.images
            pixels = {
                name: torch.from_numpy(np.array(rows)).to(self.encoder.device)
                for name, rows in tower.prepare([picture]).items()
            }
            scaled = tower.scaled(pixels["pixel_values"])
            self._patches[picture.id] = self.model.vision_model(pixel_values=scaled)[0][0]
            if len(self._patches) > KEPT:
                self._patches.popitem(last=False)
        self._patches.move_to_end(picture.id)
        return self._patches[picture.id]
