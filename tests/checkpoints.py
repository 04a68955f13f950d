"""Tiny random checkpoints of real architectures, with a tokenizer trained in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SENTENCES = [
    "A man is eating food.",
    "The quick brown fox jumps over the lazy dog.",
    "Query: where does the river end? Passage: it ends in the sea.",
    "Ein Mann isst Brot. Der Fluss endet im Meer.",
    "Человек ест хлеб. Река впадает в море.",
]


def tokenizer_of(specials: list[str], order: str = "first pad last unknown") -> Any:
    """A Unigram tokenizer trained on a few sentences; special tokens get ids in `order`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    roles = dict(zip(order.split(), specials, strict=True))
    first, pad, last, unknown = (roles[role] for role in ("first", "pad", "last", "unknown"))
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


KINDS = ("bert", "xlm-roberta", "labse", "clip", "distilbert-clip")
"""`labse` is a BERT with a dense layer after its first token, `distilbert-clip` the multilingual
text tower that sentence-transformers publishes for CLIP's images."""

WIDTH, LAYERS, HEADS, INNER = 16, 2, 2, 32

DENSE_WIDTH = 12
"""Of vectors after a projection or dense layer."""


def make_checkpoint(kind: str, folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint of one of `KINDS` with random weights, as its makers' files are.

    Returns:
        `folder`.
    """
    torch.manual_seed(seed)
    bert = kind in ("bert", "labse", "distilbert-clip")
    if kind == "clip":
        # an end of text with id 2 is transformers' sign of a checkpoint from before it knew better
        tokenizer = tokenizer_of(["<s>", "<pad>", "<unk>", "</s>"], "first pad unknown last")
    else:
        tokenizer = tokenizer_of(
            ["[CLS]", "[PAD]", "[SEP]", "[UNK]"] if bert else ["<s>", "<pad>", "</s>", "<unk>"]
        )
    model = _model(kind, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if kind in ("labse", "distilbert-clip"):
        _sentence_transformers(folder, "cls" if kind == "labse" else "mean")
    return folder


def _model(kind: str, tokenizer: Any) -> Any:
    """The transformer, of 40 positions."""
    import transformers as hf

    size: dict[str, Any] = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    shape: dict[str, Any] = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
    }
    if kind in ("bert", "labse"):
        return hf.BertModel(hf.BertConfig(**shape, **size, max_position_embeddings=40))
    if kind == "xlm-roberta":
        return hf.XLMRobertaModel(hf.XLMRobertaConfig(**shape, **size, max_position_embeddings=42))
    if kind == "distilbert-clip":
        config = hf.DistilBertConfig(
            **size, dim=WIDTH, n_layers=LAYERS, n_heads=HEADS, hidden_dim=INNER,
            max_position_embeddings=40,
        )  # fmt: skip
        return hf.DistilBertModel(config)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = shape | size | ends | {"max_position_embeddings": 77}
    vision = shape | {"image_size": 8, "patch_size": 4}
    return hf.CLIPModel(
        hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=DENSE_WIDTH)
    )


def _sentence_transformers(folder: Path, pooling: str) -> None:
    """The modules after the transformer: pooling and a dense layer."""
    from trainables.encoders.files.formats import Dense, save_layers

    names = ["Transformer", "Pooling", "Dense"]
    modules = [
        {"type": f"sentence_transformers.models.{name}", "path": f"{i}_{name}" if i else ""}
        for i, name in enumerate(names)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{name}": name.startswith(pooling) for name in
             ("cls_token", "mean_tokens")}  # fmt: skip
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    activation = torch.nn.Tanh() if pooling == "cls" else None
    save_layers(torch.nn.Sequential(Dense(WIDTH, DENSE_WIDTH, activation=activation)), folder)


SEEING = ("clip", "metaclip-2", "siglip", "siglip-2", "blip-2")
"""Kinds of checkpoints with two towers; `siglip-2` is the one of any size and shape of picture."""


def make_seeing(kind: str, folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint of one of `SEEING` with random weights and its processor.

    Returns:
        `folder`.
    """
    import transformers as hf

    torch.manual_seed(seed)
    specials = ["<s>", "<pad>", "<unk>", "</s>"]
    tokenizer = tokenizer_of(specials, "first pad unknown last")
    processors: dict[str, Any] = {
        "siglip": hf.SiglipImageProcessorPil(size={"height": 8, "width": 8}),
        "siglip-2": hf.Siglip2ImageProcessorPil(patch_size=4, max_num_patches=9),
        "blip-2": hf.BlipImageProcessorPil(size={"height": 8, "width": 8}),
    }
    crop = hf.CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    model = _seeing(kind, tokenizer)
    with torch.no_grad():  # as made, weights are so small that all pictures look alike
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processors.get(kind, crop).save_pretrained(folder)
    return folder


def _seeing(kind: str, tokenizer: Any) -> Any:
    """A model with two towers."""
    import transformers as hf

    size: dict[str, Any] = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    shape: dict[str, Any] = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
    }
    vision: dict[str, Any] = shape | {"image_size": 8, "patch_size": 4}
    if kind == "clip":
        return _model("clip", tokenizer)
    if kind == "metaclip-2":
        text = shape | size | ends | {"max_position_embeddings": 77}
        config = hf.MetaClip2Config(
            text_config=text, vision_config=vision, projection_dim=DENSE_WIDTH
        )
        return hf.MetaClip2Model(config)
    if kind.startswith("siglip"):
        text = shape | size | ends | {"max_position_embeddings": 64, "projection_size": WIDTH}
        if kind == "siglip":
            return hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=vision))
        vision = shape | {"patch_size": 4, "num_patches": 9}
        return hf.Siglip2Model(hf.Siglip2Config(text_config=text, vision_config=vision))
    qformer = shape | size | {"max_position_embeddings": 40, "encoder_hidden_size": WIDTH,
                              "use_qformer_text_input": True,
                              "cross_attention_frequency": 1}  # fmt: skip
    text = {"model_type": "opt", "vocab_size": len(tokenizer), "hidden_size": WIDTH,
            "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 16,
            "word_embed_proj_dim": WIDTH}  # fmt: skip
    return hf.Blip2ForImageTextRetrieval(
        hf.Blip2Config(
            vision_config=vision, qformer_config=qformer, text_config=text,
            num_query_tokens=4, image_text_hidden_size=DENSE_WIDTH, image_token_index=None,
        )
    )  # fmt: skip


M_CLIP_WIDTH = 64
"""Of its transformer's vectors: as many as in one head of all published ones."""


def make_m_clip(folder: Path, seed: int = 0, base: str = "xlm-roberta-large") -> Path:
    """Write a text tower as M-CLIP publishes them: no description of the transformer.

    Returns:
        `folder`.
    """
    import transformers as hf

    torch.manual_seed(seed)
    tokenizer = tokenizer_of(["<s>", "<pad>", "</s>", "<unk>"])
    size: dict[str, Any] = {
        "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id,
        "hidden_size": M_CLIP_WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 1,
        "intermediate_size": INNER, "max_position_embeddings": 514,
    }  # fmt: skip
    tower: Any
    if base.startswith("xlm"):
        tower = hf.XLMRobertaModel(hf.XLMRobertaConfig(**size, layer_norm_eps=1e-5))
    else:
        tower = hf.BertModel(hf.BertConfig(**size))
    layer = torch.nn.Linear(M_CLIP_WIDTH, DENSE_WIDTH)
    state = {f"transformer.{name}": value for name, value in tower.state_dict().items()}
    state |= {f"LinearTransformation.{name}": value for name, value in layer.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "pytorch_model.bin")
    sizes = {"numDims": DENSE_WIDTH, "transformerDimensions": M_CLIP_WIDTH}
    config = {"model_type": "M-CLIP", "modelBase": base} | sizes
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(folder)
    return folder
