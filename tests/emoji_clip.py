"""A tiny CLIP from scratch for emoji and their names: towers, processor and tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

SIDE, PATCH = 36, 6
"""Pixels of a picture and of a patch, along a side."""

WORDS = 3000
"""Pieces of the tokenizer."""


def make_emoji_clip(folder: Path, names: Sequence[str], seed: int = 0) -> Path:
    """Write an untrained CLIP whose tokenizer knows these names and no others.

    Args:
        folder: Written to.
        names: Captions of the training part alone.
        seed: Of the weights.

    Returns:
        `folder`.
    """
    import transformers as hf

    torch.manual_seed(seed)
    tokenizer = _tokenizer(names)
    shape: dict[str, Any] = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
                             "intermediate_size": 192}  # fmt: skip
    text = shape | {"vocab_size": len(tokenizer), "max_position_embeddings": 32,
                    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 3}  # fmt: skip
    vision = shape | {"image_size": SIDE, "patch_size": PATCH}
    model = hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=96))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    hf.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(folder)
    return folder


def _tokenizer(names: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    specials = ["<s>", "<pad>", "<unk>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(sorted(names), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 3)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>",
        unk_token="<unk>", model_max_length=32,
    )  # fmt: skip
