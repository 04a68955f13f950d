"""The folders that are compared with sentence-transformers: each kind, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.checkpoints import WIDTH
from tests.sentence_folders import NORMALIZE, change, dense, layer_norm, make, write

Maker = Callable[[Path], Path]

LEGACY = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens",
          "lasttoken")  # fmt: skip


def legacy(*on: str) -> dict[str, bool]:
    """Pooling as it was written before version 5.4."""
    return {f"pooling_mode_{name}": name in on for name in LEGACY}


def prompts(**values: Any) -> dict[str, Any]:
    """Settings with these prompts."""
    return {"prompts": values, "default_prompt_name": None, "similarity_fn_name": "cosine"}


def without(folder: Path, *names: str, kind: str = "bert", **options: Any) -> Path:
    """A folder that lacks some files."""
    make(folder, kind, **options)
    for name in names:
        (folder / name).unlink()
    return folder


def pickled(folder: Path, kind: str = "bert") -> Path:
    """Weights in pytorch_model.bin, those of a dense layer too."""
    from safetensors.torch import load_file

    make(folder, kind, layers=[dense(WIDTH, 12)], seed=17)
    for place in (folder, folder / "2_Dense"):
        file = place / "model.safetensors"
        torch.save(load_file(file), place / "pytorch_model.bin")
        file.unlink()
    return folder


def merged(folder: Path) -> Path:
    """A low-rank adapter added to the weights, as peft's merge_and_unload does it."""
    from safetensors.torch import load_file, save_file

    make(folder)
    file = folder / "model.safetensors"
    weights = load_file(file)
    torch.manual_seed(7)
    for name in [name for name in weights if name.endswith(("query.weight", "value.weight"))]:
        down, up = torch.randn(4, WIDTH) / 2, torch.randn(WIDTH, 4) / 2
        weights[name] = weights[name] + (8 / 4) * (up @ down)
    save_file(weights, file, {"format": "pt"})
    return folder


def adapter(folder: Path, beside: bool) -> Path:
    """An adapter as peft saves it, beside weights or instead of them."""
    make(folder)
    content = {"peft_type": "LORA", "base_model_name_or_path": "nobody/base", "r": 4,
               "lora_alpha": 8, "target_modules": ["query"]}  # fmt: skip
    write(folder / "adapter_config.json", content)
    (folder / "model.safetensors").replace(folder / "adapter_model.safetensors")
    if beside:
        make(folder)
    return folder


def recurrent(folder: Path) -> Path:
    """A module of sentence-transformers that is no transformer."""
    make(folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[2]["type"] = "sentence_transformers.models.LSTM"
    write(folder / "modules.json", modules)
    return folder


def of_tokens(folder: Path) -> Path:
    """A dense layer over the vectors of tokens, before any pooling."""
    make(folder, layers=[dense(WIDTH, WIDTH)])
    change(folder / "2_Dense" / "config.json", {"module_input_name": "token_embeddings"})
    return folder


def newest(folder: Path) -> Path:
    """Settings and module names as version 6 writes them."""
    text = {"method": "forward", "method_output_name": "last_hidden_state"}
    settings = {"transformer_task": "feature-extraction", "modality_config": {"text": text},
                "module_output_name": "token_embeddings"}  # fmt: skip
    make(folder, transformer=settings, pooling={"embedding_dimension": WIDTH, "pooling_mode": "cls",
                                                "include_prompt": True})  # fmt: skip
    modules = json.loads((folder / "modules.json").read_text())
    names = ("base.modules.transformer.Transformer",
             "sentence_transformer.modules.pooling.Pooling",
             "base.modules.normalize.Normalize")  # fmt: skip
    for module, name in zip(modules, names, strict=True):
        module["type"] = f"sentence_transformers.{name}"
    write(folder / "modules.json", modules)
    pooled = folder / "1_Pooling" / "config.json"
    content = json.loads(pooled.read_text())
    del content["word_embedding_dimension"]
    write(pooled, content)
    return folder


def _folders() -> dict[str, Maker]:
    made: dict[str, Maker] = {}
    for name in LEGACY:
        layers = [dense(WIDTH, 12)]  # without which a mean and one by the root point the same way
        made[f"bert, pooling {name}"] = partial(make, pooling=legacy(name), layers=layers)
    for name in ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"):
        made[f"xlm-roberta, pooling {name}"] = partial(
            make, kind="xlm-roberta", pooling={"pooling_mode": name}, layers=layers
        )
    made |= {
        "no pooling switched on": partial(make, pooling=legacy(), seed=2),
        "all poolings joined": partial(make, pooling=legacy(*LEGACY)),
        "poolings joined in their own order": partial(
            make, pooling={"pooling_mode": ["max", "cls"]}, layers=[dense(2 * WIDTH, 10)]
        ),
    }
    kinds = ("electra", "albert", "roberta", "mpnet", "distilbert", "deberta-v2", "modernbert",
             "qwen2", "qwen3", "llama", "mistral", "gemma", "gemma3_text", "embedding-gemma", "t5",
             "t5-encoder", "mt5")  # fmt: skip
    made |= {f"architecture {kind}": partial(make, kind=kind) for kind in kinds}
    activations = ("linear.Identity", "activation.GELU", "activation.ReLU", "activation.PReLU",
                   "activation.SiLU", "activation.Softplus")  # fmt: skip
    made |= {
        f"dense {name}": partial(make, layers=[dense(WIDTH, 12, name)]) for name in activations
    }
    made |= {
        "dense and Normalize": partial(make, layers=[dense(WIDTH, 12), NORMALIZE], seed=16),
        "dense without bias": partial(make, layers=[dense(WIDTH, 12, bias=False)]),
        "two dense layers": partial(make, layers=[dense(WIDTH, 24), dense(24, 6), NORMALIZE]),
        "residual": partial(make, layers=[dense(WIDTH, WIDTH, use_residual=True)]),
        "residual of another length": partial(make, layers=[dense(WIDTH, 9, use_residual=True)]),
        "layer norm and dropout": partial(
            make, layers=[("Dropout", {"dropout": 0.5}, None), layer_norm(WIDTH)]
        ),
        "Normalize before dense": partial(make, layers=[NORMALIZE, dense(WIDTH, 12)]),
        "no Normalize": partial(make, layers=[], seed=3),
        "T5 with dense": partial(
            make, kind="t5", layers=[dense(WIDTH, 12, "linear.Identity", bias=False), NORMALIZE]
        ),
        "prompts": partial(make, settings=prompts(query="Query: ", document="Passage: ")),
        "several names for a document's prompt": partial(
            make, settings=prompts(query="Q ", passage="River ", document="Man ", corpus="Sea ")
        ),
        "prompt for queries alone, document null": partial(
            make, settings=prompts(query="Q ", document=None)
        ),
        "default prompt that encode_query does not use": partial(
            make, settings={"prompts": {"other": "Man "}, "default_prompt_name": "other"}
        ),
        "prompts that are cut, last token": partial(
            make, kind="qwen3", side="left", pooling={"pooling_mode": "lasttoken"},
            settings=prompts(query="Instruct: where does the river end?\nQuery:", document=""),
        ),
        "prompt left out, but empty": partial(
            make, pooling={"pooling_mode": "mean", "include_prompt": False}, seed=4,
            settings=prompts(query="", document=""),
        ),
        "lower casing": partial(make, transformer={"max_seq_length": 32, "do_lower_case": True}),
        "lower casing before other steps": partial(
            make, steps=True, transformer={"max_seq_length": 32, "do_lower_case": True}
        ),
        "no lower casing": partial(
            make, steps=True, transformer={"max_seq_length": 32, "do_lower_case": False}
        ),
        "truncated": partial(make, settings={"truncate_dim": 8}),
        "truncated after dense": partial(
            make, layers=[dense(WIDTH, 12)], settings={"truncate_dim": 5}
        ),
        "truncated beyond its length": partial(make, settings={"truncate_dim": 99}, seed=5),
        "truncated for the dot product": partial(
            make, seed=6, settings={"truncate_dim": 8, "similarity_fn_name": "dot"}
        ),
        "bfloat16": partial(make, half=torch.bfloat16),
        "float16": partial(make, half=torch.float16, kind="xlm-roberta", seed=18),
        "half of Qwen3": partial(make, half=torch.bfloat16, kind="qwen3", side="left"),
        "shards": partial(make, shards=True, seed=8),
        "pickled": pickled,
        "transformer in a folder": partial(make, at="0_Transformer", seed=9),
        "settings under another name": partial(
            make, kind="roberta", transformer_file="sentence_roberta_config.json",
            transformer={"max_seq_length": 9, "do_lower_case": True},
        ),
        "limits of queries and documents": partial(
            make, transformer={"max_seq_length": 32, "query_length": 6, "document_length": 11}
        ),
        "limit of the tokenizer": partial(
            make, transformer={}, tokenizer_config={"model_max_length": 14}
        ),
        "limit of the positions": partial(make, transformer={}, seed=10),
        "no limit at all": partial(make, kind="t5", transformer={}, seed=11),
        "limit beyond the positions of a rotary model": partial(
            make, kind="modernbert", transformer={"max_seq_length": 64}, seed=12
        ),
        "limit in the tokenizer's options": partial(
            make,
            transformer={"max_seq_length": 32, "tokenizer_args": {"model_max_length": 7}},
        ),
        "cut on the left": partial(
            make, tokenizer_config={"truncation_side": "left"}, transformer={"max_seq_length": 9}
        ),
        "padded left, last token": partial(
            make, kind="qwen3", side="left", pooling={"pooling_mode": "lasttoken"}
        ),
        "padded right, last token": partial(
            make, kind="qwen3", side="right", pooling={"pooling_mode": "lasttoken"}, seed=13
        ),
        "padded left, weighted mean": partial(
            make, kind="llama", side="left", pooling={"pooling_mode": "weightedmean"}
        ),
        "padded left, XLM-R": partial(make, kind="xlm-roberta", side="left", seed=14),
        "padded left, first token": partial(
            make, kind="gemma", side="left", pooling={"pooling_mode": "cls"}
        ),
        "ModernBERT, first token": partial(
            make, kind="modernbert", pooling={"pooling_mode": "cls"}
        ),
        "padding id null": partial(make, kind="qwen3", config={"pad_token_id": None}, seed=15),
        "merged adapter": merged,
        "as version 6 writes it": newest,
    }  # fmt: skip
    return made


FOLDERS = _folders()
"""Those that load, by name; their vectors all differ."""

REFUSED: dict[str, Maker] = {
    "adapter beside weights": partial(adapter, beside=True),
    "adapter instead of weights": partial(adapter, beside=False),
    "dot product of vectors of any length": partial(
        make, layers=[], settings={"similarity_fn_name": "dot"}
    ),
    "pooling without the prompt": partial(
        make,
        pooling={"pooling_mode": "mean", "include_prompt": False},
        settings=prompts(query="Query: "),
    ),
    "passage prompt without document prompt": partial(
        make, settings=prompts(query="Q ", passage="River ")
    ),
    "dense layer over tokens": of_tokens,
    "recurrent module": recurrent,
    "encoder with decoder": partial(make, kind="bart"),
}
