"""A checkpoint with the shape of multilingual-e5-small and random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from trainables.encoders.text import TextEncoder
from trainables.spec import EncoderRef

REF = EncoderRef(
    name="e5-shape", digest="", pooling="mean", max_query_tokens=256, max_passage_tokens=256
)
"""Mean pooling without prefixes, for both sides."""


def e5_small_shape(folder: Path, texts: list[str]) -> Path:
    """Write the checkpoint: 12 layers, hidden size 384, vocabulary of 250,037.

    Its tokenizer is trained on `texts` and uses only a part of the embedding's rows.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=30_000, special_tokens=specials, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        cls_token="<s>",
        pad_token="<pad>",
        sep_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=250_037,
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=1536,
        pad_token_id=1,
    )
    TextEncoder(BertModel(config, add_pooling_layer=False), fast, REF).save(folder)
    return folder
