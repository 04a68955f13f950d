"""Tiny checkpoint folders as sentence-transformers and its users write them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.checkpoints import HEADS, INNER, LAYERS, WIDTH, tokenizer_of

POSITIONS = 40

MEAN = {"pooling_mode": "mean"}

Layer = tuple[str, Mapping[str, Any], nn.Module | None]
"""Kind, configuration and weights of a module after pooling."""


def architecture(kind: str, words: int, padding: int | None) -> Any:
    """A random transformer of a model type of transformers."""
    import transformers as hf

    plain: dict[str, Any] = {
        "vocab_size": words,
        "pad_token_id": padding,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
    }
    forward = plain | {"num_key_value_heads": 1, "head_dim": 8}
    t5 = {"vocab_size": words, "pad_token_id": padding, "d_model": WIDTH, "d_ff": INNER, "d_kv": 8,
          "num_layers": LAYERS, "num_heads": HEADS, "decoder_start_token_id": padding}  # fmt: skip
    distil = {"vocab_size": words, "pad_token_id": padding, "dim": WIDTH, "n_layers": LAYERS,
              "n_heads": HEADS, "hidden_dim": INNER,
              "max_position_embeddings": POSITIONS}  # fmt: skip
    offset = plain | {"max_position_embeddings": POSITIONS + 2}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "bert": ("Bert", plain),
        "electra": ("Electra", plain | {"embedding_size": WIDTH}),
        "albert": ("Albert", plain | {"embedding_size": 8}),
        "roberta": ("Roberta", offset),
        "xlm-roberta": ("XLMRoberta", offset),
        "mpnet": ("MPNet", offset),
        "distilbert": ("DistilBert", distil),
        "deberta-v2": ("DebertaV2", plain | {
            "relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c"],
        }),
        "modernbert": ("ModernBert", plain | {
            "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2,
            "local_attention": 8,
        }),
        "qwen2": ("Qwen2", plain | {"num_key_value_heads": 1}),
        "qwen3": ("Qwen3", forward),
        "llama": ("Llama", forward),
        "mistral": ("Mistral", forward | {"sliding_window": 8}),
        "gemma": ("Gemma", forward),
        "gemma3_text": ("Gemma3Text", forward | {"sliding_window": 8}),
        "embedding-gemma": ("Gemma3Text", forward | {
            "sliding_window": 8, "use_bidirectional_attention": True,
        }),
        "t5": ("T5", t5),
        "t5-encoder": ("T5", t5),
        "mt5": ("MT5", t5),
        "bart": ("Bart", {"vocab_size": words, "pad_token_id": padding, "d_model": WIDTH,
                          "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": INNER,
                          "decoder_ffn_dim": INNER, "encoder_attention_heads": HEADS,
                          "decoder_attention_heads": HEADS, "max_position_embeddings": 64}),
    }  # fmt: skip
    name, values = kinds[kind]
    config = getattr(hf, f"{name}Config")(**values)
    suffix = "EncoderModel" if kind == "t5-encoder" else "Model"
    return getattr(hf, name + suffix)(config)


def dense(inputs: int, outputs: int, activation: str = "activation.Tanh", **more: Any) -> Layer:
    """A dense layer whose weights follow a fixed seed."""
    torch.manual_seed(inputs * 100 + outputs)
    config = {"in_features": inputs, "out_features": outputs, "bias": True} | more
    config["activation_function"] = f"torch.nn.modules.{activation}"
    module = nn.Module()
    module.linear = nn.Linear(inputs, outputs, bias=config["bias"])
    if activation.endswith("PReLU"):
        module.activation_function = nn.PReLU(init=0.1)
    if more.get("use_residual") and inputs != outputs:
        module.residual = nn.Linear(inputs, outputs, bias=False)
    return "Dense", config, module


def layer_norm(size: int) -> Layer:
    """A norm with weights that are not ones and zeros."""
    torch.manual_seed(size)
    module = nn.Module()
    module.norm = nn.LayerNorm(size)
    nn.init.normal_(module.norm.weight, 1.0)
    nn.init.normal_(module.norm.bias)
    return "LayerNorm", {"dimension": size}, module


NORMALIZE: Layer = ("Normalize", {}, None)


def tokenizer(side: str = "right", lowers: bool = False) -> Any:
    """A cased tokenizer; `lowers` gives it a normaliser that is no lower casing of its own."""
    made = pickle.loads(_tokenizer())
    made.padding_side = side
    if lowers:
        from tokenizers import normalizers

        steps = [normalizers.NFKC(), normalizers.Replace("ß", "ss")]
        made.backend_tokenizer.normalizer = normalizers.Sequence(steps)
    return made


@lru_cache
def _tokenizer() -> bytes:
    """Trained once: each training of a Unigram orders its ids in another way."""
    return pickle.dumps(tokenizer_of(["<s>", "<pad>", "</s>", "<unk>"]))


def make(
    folder: Path,
    kind: str = "bert",
    *,
    pooling: Mapping[str, Any] = MEAN,
    layers: Sequence[Layer] = (NORMALIZE,),
    settings: Mapping[str, Any] | None = None,
    transformer: Mapping[str, Any] | None = None,
    transformer_file: str = "sentence_bert_config.json",
    at: str = "",
    side: str = "right",
    steps: bool = False,
    config: Mapping[str, Any] | None = None,
    tokenizer_config: Mapping[str, Any] | None = None,
    half: torch.dtype | None = None,
    shards: bool = False,
    seed: int = 0,
) -> Path:
    """Write a folder with random weights.

    Args:
        folder: Where.
        kind: As `architecture` knows it.
        pooling: Configuration of pooling.
        layers: What follows it.
        settings: `config_sentence_transformers.json`; None writes no such file.
        transformer: Its settings; a limit of 32 tokens by default.
        transformer_file: Where those stand.
        at: Sub-folder of the transformer.
        side: On which the tokenizer pads.
        steps: Give the tokenizer a normaliser.
        config: Values of `config.json` to replace.
        tokenizer_config: Values of `tokenizer_config.json` to replace.
        half: Type in which weights are stored.
        shards: Store weights in several files.
        seed: Of the weights.

    Returns:
        `folder`.
    """
    torch.manual_seed(seed)
    inside = folder / at
    inside.mkdir(parents=True, exist_ok=True)
    words = tokenizer(side, steps)
    model = architecture(kind, len(words), words.pad_token_id)
    with torch.no_grad():  # as made, weights are so small that all texts look alike
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
            elif "norm" in name.lower():
                parameter.add_(torch.randn_like(parameter) / 10)
    if half is not None:
        model = model.to(half)
    model.save_pretrained(inside, **({"max_shard_size": 4000} if shards else {}))
    words.save_pretrained(inside)
    change(inside / "config.json", config or {})
    change(inside / "tokenizer_config.json", tokenizer_config or {})
    limit = {"max_seq_length": 32} if transformer is None else transformer
    write(inside / transformer_file, limit)
    if settings is not None:
        write(folder / "config_sentence_transformers.json", settings)
    modules = [("Transformer", at), ("Pooling", "1_Pooling")]
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": WIDTH, **pooling})
    for number, (name, content, module) in enumerate(layers, start=2):
        path = f"{number}_{name}"
        modules.append((name, path))
        if content:
            write(folder / path / "config.json", content)
        if module is not None:
            from safetensors.torch import save_file

            save_file(module.state_dict(), folder / path / "model.safetensors")
    write(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
            for i, (name, path) in enumerate(modules)
        ],
    )
    return folder


def write(file: Path, content: object) -> None:
    """Write JSON, and the folder it is in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def change(file: Path, values: Mapping[str, Any]) -> None:
    """Replace values of a JSON object in a file."""
    write(file, json.loads(file.read_text(encoding="utf-8")) | dict(values))
