"""Folders as others save them: what is read, what is refused, and with which file and key."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints import WIDTH
from tests.sentence_folders import (
    NORMALIZE,
    POSITIONS,
    change,
    dense,
    layer_norm,
    make,
    write,
)
from trainables.encoders.architectures import architecture, known_values
from trainables.encoders.families import checkpoint_digest, encoder_ref, find_checkpoint
from trainables.encoders.files import packaged
from trainables.encoders.files.modules import read_layout
from trainables.encoders.files.packaged import Packaged
from trainables.encoders.registry import absent, reference
from trainables.encoders.text import TextEncoder, pool
from trainables.encoders.vocabulary import trim_vocabulary
from trainables.errors import DataError, UserError
from trainables.storage import atomic as storage
from trainables.storage.paths import files_under
from trainables.training.gradcache import backward
from trainables.training.info_nce import info_nce

TEXTS = ["A man is eating food.", "The RIVER ends in the sea.", "fox"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of file."""
    layers = [dense(WIDTH, 12), layer_norm(12), ("Dropout", {"dropout": 0.1}, None), NORMALIZE]
    settings = {"prompts": {"query": "q "}, "truncate_dim": 8}
    return make(tmp_path_factory.mktemp("whole") / "whole", layers=layers, settings=settings)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(whole, tmp_path / "folder"))


def refused(call: Callable[[], object]) -> DataError:
    with pytest.raises(DataError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("kind", ["convbert", "fnet", "mobilebert", "nystromformer"])
def test_models_that_read_padding_are_refused(folder: Path, kind: str) -> None:
    file = folder / "config.json"
    change(file, {"model_type": kind})
    error = refused(lambda: encoder_ref(folder))
    assert (error.file, error.key) == (str(file), "model_type")


def test_pooling_by_hand() -> None:
    states = torch.tensor([[[1.0, -4.0], [3.0, 2.0], [9.0, 9.0]], [[5.0, 5.0]] * 3])
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    expected = {
        "cls": [1.0, -4.0],
        "last": [3.0, 2.0],
        "max": [3.0, 2.0],
        "mean": [2.0, -1.0],
        "mean_sqrt_len_tokens": [4 / math.sqrt(2), -2 / math.sqrt(2)],
        "weightedmean": [(1 + 2 * 3) / 3, (-4 + 2 * 2) / 3],
        "max+cls": [3.0, 2.0, 1.0, -4.0],
    }
    for mode, vector in expected.items():
        torch.testing.assert_close(pool(states, mask, mode)[0], torch.tensor(vector))
        assert not pool(states, mask, mode)[1].any()  # a text without tokens


def test_lower_casing_comes_before_tokens(tmp_path: Path) -> None:
    lower = {"max_seq_length": 32, "do_lower_case": True}
    plain = TextEncoder.load(make(tmp_path / "plain", steps=True))
    lowered = TextEncoder.load(make(tmp_path / "lower", steps=True, transformer=lower))
    ids = [row.tolist() for row in lowered.tokenize_queries(TEXTS)]
    assert ids != [row.tolist() for row in plain.tokenize_queries(TEXTS)]
    assert ids == [row.tolist() for row in plain.tokenize_queries([t.lower() for t in TEXTS])]


def test_truncated_vectors_are_the_first_numbers_and_of_length_one(tmp_path: Path) -> None:
    whole = TextEncoder.load(make(tmp_path / "whole")).encode_queries(TEXTS, "en")
    cut = TextEncoder.load(make(tmp_path / "cut", settings={"truncate_dim": 5}))
    expected = whole[:, :5] / np.linalg.norm(whole[:, :5], axis=1, keepdims=True)
    np.testing.assert_allclose(cut.encode_queries(TEXTS, "en"), expected, atol=1e-6)
    assert cut.encode_queries([], "en").shape == (0, 5)


@pytest.mark.parametrize(
    ("prompts", "query", "passage"),
    [
        ({"query": "Q ", "passage": "P ", "document": "D "}, "Q ", "D "),
        ({"corpus": "C ", "document": ""}, "", ""),
        ({"query": None, "document": "D "}, "", "D "),
        ({"search_query": "S "}, "", ""),
        (None, "", ""),
    ],
)
def test_prompts_are_those_of_encode_query_and_encode_document(
    prompts: Mapping[str, Any] | None, query: str, passage: str, folder: Path
) -> None:
    write(folder / "config_sentence_transformers.json", {"prompts": prompts})
    ref = encoder_ref(folder)
    assert (ref.query_prefix, ref.passage_prefix) == (query, passage)


def test_a_prompt_that_nobody_reads_is_a_question_for_the_user(folder: Path) -> None:
    file = folder / "config_sentence_transformers.json"
    write(file, {"prompts": {"query": "Q ", "passage": "P "}})
    error = refused(lambda: encoder_ref(folder))
    assert (error.file, error.key) == (str(file), "prompts.passage")
    assert reference(str(folder), "jsonl", {"passage_prefix": "P "})[0].passage_prefix == "P "


def test_an_explicit_empty_prompt_replaces_that_of_the_family(folder: Path) -> None:
    file = folder / "config_sentence_transformers.json"
    write(file, {})
    assert encoder_ref(folder, "multilingual-e5-tiny").query_prefix == "query: "
    for prompts in ({"query": "", "document": ""}, {"other": "o "}):
        write(file, {"prompts": prompts})
        ref = encoder_ref(folder, "multilingual-e5-tiny")
        assert (ref.query_prefix, ref.passage_prefix) == ("", "")


BROKEN: list[tuple[str, dict[str, Any], str | None]] = [
    ("1_Pooling/config.json", {"pooling_mode": "median"}, "pooling_mode"),
    ("1_Pooling/config.json", {"pooling_mode": ["mean", 3]}, "pooling_mode"),
    ("1_Pooling/config.json", {"include_prompt": "no"}, "include_prompt"),
    ("1_Pooling/config.json", {"pooling_mode_sum_tokens": True}, "pooling_mode_sum_tokens"),
    ("2_Dense/config.json", {"in_features": "16"}, "in_features"),
    ("2_Dense/config.json", {"out_features": None}, "out_features"),
    ("2_Dense/config.json", {"bias": 1}, "bias"),
    ("2_Dense/config.json", {"activation_function": "os.system"}, "activation_function"),
    ("2_Dense/config.json", {"activation_function": "torch.hub.load"}, "activation_function"),
    ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "module_input_name"),
    ("2_Dense/config.json", {"module_output_name": "other"}, "module_output_name"),
    ("3_LayerNorm/config.json", {"dimension": 0}, "dimension"),
    ("4_Dropout/config.json", {"dropout": 2}, "dropout"),
    ("sentence_bert_config.json", {"max_seq_length": "512"}, "max_seq_length"),
    ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length"),
    ("sentence_bert_config.json", {"do_lower_case": "yes"}, "do_lower_case"),
    ("sentence_bert_config.json", {"tokenizer_name_or_path": "../other"}, "tokenizer_name_or_path"),
    ("sentence_bert_config.json", {"tokenizer_args": {"do_lower_case": True}}, "tokenizer_args"),
    ("sentence_bert_config.json", {"config_kwargs": {"is_causal": False}}, "config_kwargs"),
    ("sentence_bert_config.json", {"query_expansion": {"length": 32}}, "query_expansion"),
    ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task"),
    ("sentence_bert_config.json", {"modality_config": {"message": {}}}, "modality_config"),
    ("config_sentence_transformers.json", {"prompts": ["q"]}, "prompts"),
    ("config_sentence_transformers.json", {"prompts": {"query": 3}}, "prompts.query"),
    ("config_sentence_transformers.json", {"default_prompt_name": "x"}, "default_prompt_name"),
    ("config_sentence_transformers.json", {"truncate_dim": 0}, "truncate_dim"),
    ("config_sentence_transformers.json", {"truncate_dim": "8"}, "truncate_dim"),
    ("config_sentence_transformers.json", {"similarity_fn_name": "manhattan"},
     "similarity_fn_name"),
    ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "model_type"),
    ("tokenizer_config.json", {"fast_tokenizer_files": ["../tokenizer.4.0.json"]},
     "fast_tokenizer_files"),
    ("config.json", {"model_type": 3}, "model_type"),
    ("config.json", {"model_type": None}, "model_type"),
    ("config.json", {"attn_implementation": "nobody/kernel"}, "attn_implementation"),
    ("config.json", {"max_position_embeddings": "40"}, "max_position_embeddings"),
    ("config.json", {"quantization_config": {"bits": 4}}, "quantization_config"),
    ("config.json", {"transformers_weights": "../other.safetensors"}, "transformers_weights"),
    ("config.json", {"model_type": "new", "auto_map": {"AutoConfig": "x.C"}}, "auto_map"),
    ("config.json", {"model_type": "bart"}, "model_type"),
    ("config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers"),
    ("config.json", {"model_type": "xglm-of-tomorrow"}, None),
    ("config.json", {"vocab_size": "many"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "key"), BROKEN)
def test_a_value_that_cannot_be_read_is_refused_when_planning(
    name: str, values: dict[str, Any], key: str | None, folder: Path
) -> None:
    change(folder / name, values)
    error = refused(lambda: reference(str(folder), "jsonl", {}))
    assert (error.file, error.key) == (str(folder / name), key)


@pytest.mark.parametrize("content", [b"[{", b'{"a": "\xff"}', b"3", b"[" * 100_000])
@pytest.mark.parametrize(
    "name",
    ["modules.json", "config.json", "sentence_bert_config.json", "1_Pooling/config.json",
     "2_Dense/config.json", "config_sentence_transformers.json", "tokenizer_config.json",
     "encoder.json"],
)  # fmt: skip
def test_what_is_no_json_is_refused_when_planning(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)
    assert refused(lambda: reference(str(folder), "jsonl", {})).file == str(folder / name)


MODULES: list[tuple[int, dict[str, Any], str]] = [
    (0, {"type": None}, "type"),
    (1, {"path": 3}, "path"),
    (1, {"path": "../1_Pooling"}, "path"),
    (1, {"path": "/etc"}, "path"),
    (1, {"path": "C:\\pooling"}, "path"),
    (1, {"path": ".hidden"}, "path"),
    (2, {"path": "onnx"}, "path"),
    (2, {"name": "1"}, "name"),
    (2, {"type": "sentence_transformers.models.CNN"}, "type"),
    (2, {"type": "custom_st.Dense"}, "type"),
    (2, {"type": "os.system"}, "type"),
]


@pytest.mark.parametrize(("number", "values", "key"), MODULES)
def test_modules_from_elsewhere_or_unknown_are_refused(
    number: int, values: dict[str, Any], key: str, folder: Path
) -> None:
    file = folder / "modules.json"
    modules = json.loads(file.read_text())
    modules[number] |= values
    write(file, modules)
    error = refused(lambda: find_checkpoint(folder) and reference(str(folder), "jsonl", {}))
    assert (error.file, error.key) == (str(file), key)


@pytest.mark.parametrize("name", ["1_Pooling/config.json", "2_Dense/config.json", "modules.json"])
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    assert refused(lambda: encoder_ref(folder)).file == str(folder / name)


@pytest.mark.parametrize(
    "shard", ["../model.safetensors", "/x", ".s.safetensors", "no.safetensors"]
)
def test_shards_lie_in_the_folder(shard: str, folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    write(index, {"metadata": {}, "weight_map": {"embeddings.x": shard}})
    error = refused(lambda: encoder_ref(folder))
    assert (error.file, error.key) == (str(index), "weight_map")


def test_no_code_of_a_checkpoint_is_run_and_nobody_is_asked(folder: Path) -> None:
    change(folder / "config.json", {"model_type": "new", "auto_map": {"AutoConfig": "code.C"}})
    (folder / "code.py").write_text("raise SystemExit('ran')\nclass C: pass\n")
    call = f"from trainables.encoders.text import TextEncoder; TextEncoder.load({str(folder)!r})"
    ran = subprocess.run(
        [sys.executable, "-c", call],
        input="y\n" * 9,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert "DataError" in ran.stderr
    assert "[y/N]" not in ran.stdout + ran.stderr


def test_adapters_are_refused_and_merged_weights_load(folder: Path) -> None:
    file = folder / "adapter_config.json"
    write(file, {"peft_type": "LORA", "base_model_name_or_path": "nobody/base"})
    assert refused(lambda: encoder_ref(folder)).file == str(file)
    config = (folder / "config.json").rename(folder / "aside")  # which peft does not save
    assert refused(lambda: find_checkpoint(folder)).file == str(file)
    config.rename(folder / "config.json")
    file.unlink()
    weights = load_file(folder / "model.safetensors")
    name = "encoder.layer.0.attention.self.query.lora_A.default.weight"
    save_file(weights | {name: torch.zeros(4, WIDTH)}, folder / "model.safetensors")
    assert refused(lambda: TextEncoder.load(folder)).key == name
    save_file(weights, folder / "model.safetensors")
    assert TextEncoder.load(folder).encode_queries(TEXTS, "en").shape == (3, 8)


@pytest.mark.parametrize("name", ["model.safetensors", "2_Dense/model.safetensors"])
def test_broken_weights_are_refused(name: str, folder: Path) -> None:
    file = folder / name
    whole = file.read_bytes()
    nothing = (2).to_bytes(8, "little") + b"{}"
    for content in (b"", whole[:50], whole[:-9], b"\xff" * 8 + whole[8:], nothing):
        file.write_bytes(content)
        refused(lambda: TextEncoder.load(folder))
    weights = {key: value * torch.nan for key, value in load_file_of(whole, file).items()}
    save_file(weights, file)
    refused(lambda: TextEncoder.load(folder))
    file.unlink()
    refused(lambda: TextEncoder.load(folder))


def load_file_of(content: bytes, file: Path) -> dict[str, torch.Tensor]:
    """The weights of a file with this content."""
    file.write_bytes(content)
    return load_file(file)


def test_layers_that_do_not_fit_are_refused(folder: Path) -> None:
    change(folder / "2_Dense" / "config.json", {"in_features": 5})
    error = refused(lambda: TextEncoder.load(folder))
    assert (error.file, error.key) == (str(folder / "2_Dense" / "config.json"), "in_features")
    change(folder / "2_Dense" / "config.json", {"in_features": WIDTH, "out_features": 5})
    assert refused(lambda: TextEncoder.load(folder)).file == str(folder / "2_Dense")
    needy = {"out_features": 12, "activation_function": "torch.nn.modules.linear.Linear"}
    change(folder / "2_Dense" / "config.json", needy)
    assert refused(lambda: TextEncoder.load(folder)).key == "activation_function"


def test_a_tokenizer_that_is_not_the_models_is_refused(folder: Path) -> None:
    encoder = TextEncoder.load(folder)
    encoder.tokenizer.add_tokens(["river"])
    with pytest.raises(UserError):
        encoder.tokenize_queries(["the river"])
    change(folder / "tokenizer_config.json", {"pad_token": None})
    file = folder / "tokenizer_config.json"
    assert refused(lambda: TextEncoder.load(folder)).file == str(file)


@pytest.mark.parametrize("role", ["query", "passage"])
def test_no_more_tokens_than_there_are_positions(role: str, folder: Path) -> None:
    key = f"max_{role}_tokens"
    assert refused(lambda: reference(str(folder), "jsonl", {key: POSITIONS + 1})).key == key
    assert getattr(reference(str(folder), "jsonl", {key: POSITIONS})[0], key) == POSITIONS
    write(folder / "encoder.json", {key: POSITIONS + 1})
    error = refused(lambda: encoder_ref(folder))
    assert (error.file, error.key) == (str(folder / "encoder.json"), key)
    with pytest.raises(UserError):
        reference("embedded/small", "synthetic", {key: 5000})
    with pytest.raises(UserError):
        absent("FacebookAI/xlm-roberta-base", {key: 513})
    assert getattr(absent("FacebookAI/xlm-roberta-base", {key: 512}), key) == 512


def test_limits_of_files(tmp_path: Path) -> None:
    def limit(name: str, kind: str, **options: Any) -> int:
        return encoder_ref(make(tmp_path / name, kind, **options)).max_passage_tokens

    assert limit("table", "bert", transformer={"max_seq_length": 64}) == POSITIONS
    assert limit("offset", "xlm-roberta", transformer={"max_seq_length": 64}) == POSITIONS
    assert limit("rotary", "qwen3", transformer={"max_seq_length": 64}) == 64
    assert limit("none", "qwen3", transformer={}) == POSITIONS
    null = {"pad_token_id": None}
    assert limit("null", "qwen3", transformer={"max_seq_length": 64}, config=null) == 64
    assert limit("said", "t5", transformer={}, tokenizer_config={"model_max_length": 77}) == 77
    both = {"max_seq_length": 30, "query_length": 5, "document_length": 20}
    ref = encoder_ref(make(tmp_path / "both", transformer=both))
    assert (ref.max_query_tokens, ref.max_passage_tokens) == (5, 20)


def test_a_transformer_in_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = make(tmp_path / "folder", at="0_Transformer", layers=[dense(WIDTH, 12)])
    assert not (folder / "config.json").exists()
    assert read_layout(folder).transformer == folder / "0_Transformer"
    built = architecture("x", str(folder))
    assert (built.text.hidden_size, built.dense) == (WIDTH, 12)
    flat = make(tmp_path / "flat", layers=[dense(WIDTH, 12)])
    first, second = (TextEncoder.load(x).encode_queries(TEXTS, "en") for x in (folder, flat))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("kind", ["t5", "modernbert", "qwen3", "albert", "embedding-gemma"])
def test_sizes_of_any_architecture_are_known(kind: str, tmp_path: Path) -> None:
    config = architecture(kind, str(make(tmp_path / kind, kind))).text
    assert (config.hidden_size, config.num_hidden_layers) == (WIDTH, 2)


@pytest.mark.parametrize("kind", ["t5", "modernbert", "qwen3", "embedding-gemma", "mpnet"])
def test_any_architecture_is_trained_and_saved(kind: str, tmp_path: Path) -> None:
    encoder = TextEncoder.load(make(tmp_path / "made", kind, layers=[dense(WIDTH, 12)]))
    queries, passages = encoder.tokenize_queries(TEXTS), encoder.tokenize_passages(TEXTS)
    before, other = encoder.encode(queries), encoder.encode_queries(["Река"], "ru")
    trim_vocabulary(encoder, [queries, passages])
    np.testing.assert_allclose(encoder.encode(queries), before, atol=1e-6)
    np.testing.assert_allclose(encoder.encode_queries(["Река"], "ru"), other, atol=1e-6)
    encoder.recompute_layers()
    encoder.train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-2)
    objective = partial(info_nce, temperature=0.05, symmetric=False)
    backward(encoder, queries, passages, objective, encoder.held_tokens)
    optimizer.step()
    after = encoder.encode(queries)
    assert np.abs(after - before).max() > 1e-3
    encoder.save(tmp_path / "saved")
    again = TextEncoder.load(tmp_path / "saved").encode(queries)
    np.testing.assert_allclose(again, after, atol=1e-6)


def test_a_raw_model_that_reads_forward_ends_with_its_last_token(tmp_path: Path) -> None:
    folder = make(tmp_path / "raw", "qwen3")
    for name in ("modules.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    assert encoder_ref(folder).pooling == "mean"
    change(folder / "config.json", {"architectures": ["Qwen3ForCausalLM"]})
    assert encoder_ref(folder).pooling == "last"


@pytest.mark.parametrize("pooling", ["cls", "weightedmean", "mean_sqrt_len_tokens", ["max", "cls"]])
def test_what_is_saved_is_read_again(pooling: object, tmp_path: Path) -> None:
    layers = [
        dense(2 * WIDTH if isinstance(pooling, list) else WIDTH, 12, "activation.GELU", bias=False),
        layer_norm(12),
        NORMALIZE,
        dense(12, 9, "activation.PReLU", use_residual=True),
    ]
    folder = make(
        tmp_path / "made",
        pooling={"pooling_mode": pooling},
        layers=layers,
        settings={"prompts": {"query": "Q ", "document": "D "}, "truncate_dim": 7},
        transformer={"max_seq_length": 32, "do_lower_case": True, "query_length": 8},
    )
    encoder = TextEncoder.load(folder)
    encoder.save(tmp_path / "saved")
    again = TextEncoder.load(tmp_path / "saved")
    for role in ("encode_queries", "encode_passages"):
        first, second = (getattr(one, role)(TEXTS, "en") for one in (encoder, again))
        assert first.shape == (3, 7)
        np.testing.assert_allclose(first, second, atol=1e-7)
    (tmp_path / "saved" / "encoder.json").unlink()  # as sentence-transformers reads it
    same = {"name", "digest"}
    ref = encoder_ref(tmp_path / "saved")
    assert ref.model_dump(exclude=same) == encoder.ref.model_dump(exclude=same)


def test_a_tokenizer_that_cuts_the_beginning_says_no_reach(folder: Path) -> None:
    change(folder / "tokenizer_config.json", {"truncation_side": "left"})
    write(folder / "sentence_bert_config.json", {"max_seq_length": 5})
    encoder = TextEncoder.load(folder)
    [ids] = encoder.tokenize_passages(["The quick brown fox jumps"])
    whole = encoder.tokenizer("The quick brown fox jumps")["input_ids"]
    assert ids[1:-1].tolist() == whole[-4:-1]
    with pytest.raises(UserError):
        encoder.passage_reach(TEXTS)


def test_links_are_hashed_as_they_are_loaded(folder: Path, tmp_path: Path) -> None:
    ordinary = storage.tree_digest(
        {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    )
    assert checkpoint_digest(folder) == ordinary
    (folder / "2_Dense").rename(tmp_path / "elsewhere")
    (folder / "2_Dense").symlink_to(tmp_path / "elsewhere")
    assert checkpoint_digest(folder) == ordinary
    (folder / "2_Dense" / "loop").symlink_to(folder)
    assert checkpoint_digest(folder) == ordinary
    assert "2_Dense/model.safetensors" in files_under(folder)
    vectors = TextEncoder.load(folder).encode_queries(TEXTS, "en")
    file = tmp_path / "elsewhere" / "model.safetensors"
    save_file({key: value + 1 for key, value in load_file(file).items()}, file)
    assert checkpoint_digest(folder) != ordinary
    assert not np.allclose(TextEncoder.load(folder).encode_queries(TEXTS, "en"), vectors)


def test_a_packaged_encoder_goes_by_its_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny_package").mkdir()
    (tmp_path / "tiny_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    folder.rename(tmp_path / "tiny_package" / "model")
    hub_id = "sentence-transformers/all-MiniLM-L6-v2"
    tiny = {"tiny": Packaged(hub_id, "tiny_package", "model")}
    monkeypatch.setattr(packaged, "PACKAGED", tiny)
    with pytest.raises(UserError) as missing:
        reference("tiny", "jsonl", {})
    assert not isinstance(missing.value, DataError)
    monkeypatch.syspath_prepend(str(tmp_path))
    ref, place = reference("tiny", "jsonl", {})
    assert (ref.name, place) == ("tiny", str(tmp_path / "tiny_package" / "model"))
    assert TextEncoder.load("tiny").ref == ref
    assert known_values("all-MiniLM-L6-v2") == known_values(hub_id)
